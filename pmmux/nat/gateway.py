"""
What PCP and NAT-PMP have in common: one server on the gateway, whose answers tell how long it has known us.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from pmmux.nat.epoch import EpochWatch
from pmmux.nat.exchange import GatewayExchange
from pmmux.nat.mapping import DriverContext, GatewayFacts, Grant


class GatewayClient:
    """The part of an L{pmmux.nat.interfaces.INATClient} that is the same for both."""

    one_mapping_per_local_port = True

    def __init__(self, context: DriverContext, server_port: int) -> None:
        self._context = context
        self._exchange = GatewayExchange(context, server_port)
        self._epoch = EpochWatch()

    async def probe(self) -> GatewayFacts:
        """@see: L{INATClient.probe}"""
        return await self.poll(())

    async def poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        """@see: L{INATClient.poll}"""
        raise NotImplementedError

    async def find_holder(self, transport: str, external_port: int) -> str:
        """Neither tells. @see: L{INATClient.find_holder}"""
        return ""

    def close(self) -> Deferred[None]:
        """@see: L{INATClient.close}"""
        return self._exchange.close()

    def _shows_loss(self, epoch_seconds: int) -> bool:
        return self._epoch.shows_loss(epoch_seconds, self._context.reactor.seconds())

    def _tell_loss(self, epoch_seconds: int) -> None:
        if self._shows_loss(epoch_seconds):
            self._context.lost()
