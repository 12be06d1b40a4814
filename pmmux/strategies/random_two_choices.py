"""Of two drawn at random by weight, the one with fewer connections for its weight, in the highest tier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client
from pmmux.strategies.tiers import highest_tier, load


@implementer(IRoutingStrategy)
class RandomTwoChoices:
    """
    See the module. For many processes or machines that share backends without sharing counts:
    unlike the least loaded as each sees it, the two drawn differ from one to the next.
    """

    name = "random-two-choices"

    def __init__(self, random: Random | None = None) -> None:
        """@param random: one of its own where absent."""
        self._random = random or Random()

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """Looks at every candidate."""
        members = await highest_tier(candidates)
        if len(members) <= 1:
            return members[0] if members else None
        first = self._draw(members)
        members.remove(first)
        second = self._draw(members)
        return second if load(second) < load(first) else first

    def _draw(self, members: list[Member]) -> Member:
        return self._random.choices(members, [member.weight for member in members])[0]


make_strategy = RandomTwoChoices
