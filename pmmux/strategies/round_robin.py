"""Each in turn, as often as its weight says, in the highest tier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from weakref import WeakKeyDictionary

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client
from pmmux.strategies.tiers import highest_tier


@implementer(IRoutingStrategy)
class RoundRobin:
    """
    See the module. Smooth: of weights 2, 1, 1 the turns are a b c a, not a a b c.

    At each choice every candidate is credited its weight, and the one with the most credit pays for
    all. What it keeps is one number for each member that lives.
    """

    name = "round-robin"

    def __init__(self) -> None:
        self._credits: WeakKeyDictionary[Member, float] = WeakKeyDictionary()

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """Looks at every candidate."""
        members = await highest_tier(candidates)
        if len(members) <= 1:
            return members[0] if members else None
        credits = self._credits
        best = members[0]
        best_credit = float("-inf")
        total = 0.0
        for member in members:
            credit = credits[member] = credits.get(member, 0.0) + member.weight
            total += member.weight
            if credit > best_credit:
                best, best_credit = member, credit
        credits[best] = best_credit - total
        return best


make_strategy = RoundRobin
