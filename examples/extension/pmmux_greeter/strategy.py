"""A routing strategy: of the matches, the one that comes last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client


@implementer(IRoutingStrategy)
class LastAvailable:
    """Looks at every candidate."""

    name = "last-available"

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """The last of them."""
        last = None
        async for member in candidates:
            last = member
        return last
