"""The one with the fewest open connections for its weight, in the highest tier; equals take turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client
from pmmux.strategies.tiers import highest_tier, load


@implementer(IRoutingStrategy)
class LeastConnections:
    """See the module. All that it keeps is a counter."""

    name = "least-connections"

    def __init__(self) -> None:
        self._turn = 0

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """Looks at every candidate."""
        members = await highest_tier(candidates)
        if not members:
            return None
        lowest = min(map(load, members))
        equals = [member for member in members if load(member) == lowest]
        self._turn += 1
        return equals[self._turn % len(equals)]


make_strategy = LeastConnections
