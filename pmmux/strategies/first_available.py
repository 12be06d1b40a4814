"""The first match in the order of the configuration; neither tiers nor load count."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client


@implementer(IRoutingStrategy)
class FirstAvailable:
    """
    See the module.

    @cvar takes_first: promises that the first candidate is chosen, whatever follows; the router may
        then choose without asking.
    """

    name = "first-available"
    takes_first = True

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """The first candidate; no further one is looked at."""
        async for member in candidates:
            return member
        return None


make_strategy = FirstAvailable
