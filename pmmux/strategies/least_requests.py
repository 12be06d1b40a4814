"""The one with the fewest routed so far, among the matches of the highest tier there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client, PriorityTier


@implementer(IRoutingStrategy)
class LeastRequests:
    """See the module. In the fallback tier the first in the configuration is taken."""

    name = "least-requests"

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """Looks at every candidate."""
        best: Member | None = None
        async for member in candidates:
            if (
                best is None
                or member.tier < best.tier
                or (
                    member.tier == best.tier
                    and member.tier != PriorityTier.FALLBACK
                    and member.routed < best.routed
                )
            ):
                best = member
        return best


make_strategy = LeastRequests
