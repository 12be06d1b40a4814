"""
What a driver's dealings with one gateway are; L{pmmux.interfaces.INATDriver} opens them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from pmmux.interfaces import INATDriver
from pmmux.nat.mapping import GatewayFacts, Grant, MappingRequest

__all__ = ["INATClient", "INATDriver"]

# mypy-zope reads these as the signatures of their implementers.


class INATClient(Interface):
    """
    A driver's dealings with one gateway.

    Its coroutine functions may be called at the same time, and it serialises what its protocol cannot
    tell apart; each ends by itself, within the context's time-out for each message exchanged. When one
    is cancelled, what it asked for may have happened all the same: the caller deletes it. All raise
    L{pmmux.nat.mapping.NATUnreachable} where nobody answers, and
    L{pmmux.nat.mapping.NATRefused} for anything the gateway says instead of yes, rubbish included.
    """

    name = Attribute("The driver's name.")
    one_mapping_per_local_port = Attribute(
        "Whether a second mapping to the same local port would replace the first."
    )
    polls_cheaply = Attribute("Whether to poll it also while no mapping is its own.")

    def probe() -> Coroutine[Deferred[Any], Any, GatewayFacts]:
        """
        Ask whether the gateway speaks this protocol, changing nothing; called once, first.

        @return: L{pmmux.nat.mapping.GatewayFacts}
        """

    def poll(grants: Sequence[Grant]) -> Coroutine[Deferred[Any], Any, GatewayFacts]:
        """
        Ask whether the gateway still knows us; called every minute or so, and after a hint.

        @param grants: a sequence of L{pmmux.nat.mapping.Grant} that it made.
        @return: L{pmmux.nat.mapping.GatewayFacts}
        """

    def map(request: MappingRequest) -> Coroutine[Deferred[Any], Any, Grant]:
        """
        Make a mapping, or renew it. One that belongs to someone else is refused, not replaced.

        @param request: L{pmmux.nat.mapping.MappingRequest}
        @return: L{pmmux.nat.mapping.Grant}; its port may be another than the one asked for.
        """

    def unmap(grant: Grant) -> Coroutine[Deferred[Any], Any, None]:
        """
        Delete a mapping; one that is not there, or is someone else's, is left as it is.

        @param grant: L{pmmux.nat.mapping.Grant}, maybe of an earlier process.
        """

    def find_holder(transport: str, external_port: int) -> Coroutine[Deferred[Any], Any, str]:
        """@return: in words who has this port on the gateway; empty where that is not known."""

    def close() -> Deferred[None]:
        """
        End everything under way, which raises L{pmmux.nat.mapping.NATUnreachable} in whoever waits.

        @return: a Deferred that fires when no socket and no timer is left.
        """
