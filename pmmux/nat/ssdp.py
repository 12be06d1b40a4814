"""
Looking for the gateway's UPnP device.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol

from pmmux.nat.mapping import DriverContext, NATUnreachable
from pmmux.wire import ssdp
from pmmux.wire.ssdp import SearchAnswer
from pmmux.wire.upnp import pin_url

SEARCH_AT_SECONDS = (0.0, 0.5, 1.5)
_HOPS = 2


class GatewaySearch(DatagramProtocol):
    """
    Sends searches from a port of its own; port 1900 is shared, and another program may get the answers.

    Only answers of the gateway's whose location is on the gateway count.

    @param server_port: where the gateway is asked besides the multicast group.
    """

    noisy = False

    def __init__(self, context: DriverContext, server_port: int = ssdp.PORT) -> None:
        self._context = context
        self._server_port = server_port
        self._found: Deferred[SearchAnswer] | None = None
        self._refused = 0

    async def find(self) -> tuple[str, SearchAnswer]:
        """
        Search until the gateway has answered.

        @return: the pinned address of its description, and the answer.
        @raises NATUnreachable: it has not.
        """
        reactor, address = self._context.reactor, self._context.link.address
        found: Deferred[SearchAnswer] = Deferred()
        self._found = found
        try:
            port = reactor.listenMulticast(0, self, interface=address, maxPacketSize=ssdp.LARGEST_OCTETS + 1)
        except CannotListenError as error:
            raise NATUnreachable(f"cannot send from {address}: {error.socketError}") from None
        timers = [reactor.callLater(seconds, self._search) for seconds in SEARCH_AT_SECONDS]
        timers.append(reactor.callLater(self._context.timeout_seconds, self._give_up))
        try:
            answer = await found
        finally:
            self._found = None
            for timer in timers:
                if timer.active():
                    timer.cancel()
            await maybeDeferred(port.stopListening)
        return pin_url(answer.location, self._context.link.gateway), answer

    def startProtocol(self) -> None:
        """Twisted opened the socket."""
        transport: Any = self.transport
        with contextlib.suppress(OSError):
            transport.setOutgoingInterface(self._context.link.address)
        transport.setTTL(_HOPS)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Twisted has a datagram for us."""
        gateway = self._context.link.gateway
        if addr[0] != gateway or self._found is None:
            return
        answer = ssdp.decode(datagram)
        if not isinstance(answer, SearchAnswer):
            return
        if not pin_url(answer.location, gateway):
            self._refused += 1
            return
        found, self._found = self._found, None
        found.callback(answer)

    def _search(self) -> None:
        assert self.transport is not None
        for target in ssdp.SEARCH_TARGETS:
            for host, port in ((ssdp.GROUP, ssdp.PORT), (self._context.link.gateway, self._server_port)):
                # No route for multicast, say: as if it was lost.
                with contextlib.suppress(OSError):
                    self.transport.write(ssdp.encode_search(target), (host, port))

    def _give_up(self) -> None:
        found, self._found = self._found, None
        if found is not None:
            text = f"no UPnP device answers on {self._context.link.gateway}"
            if self._refused:
                text += ", but one whose description is somewhere else, which is refused"
            found.errback(NATUnreachable(text))
