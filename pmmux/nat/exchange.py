"""
Questions and answers with a gateway over UDP, for PCP and NAT-PMP.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from pmmux.nat.mapping import DriverContext, NATRefused, NATUnreachable

FIRST_RETRANSMISSION_SECONDS = 0.25
_JITTER_SHARE = 0.05

T = TypeVar("T")


class GatewayExchange(DatagramProtocol):
    """
    One UDP socket to one gateway, and one question at a time on it.

    NAT-PMP has no transaction identifiers, hence one at a time. The socket is not connected: on epoll
    an ICMP error would close a connected one, and C{connectionRefused} is never called.
    """

    noisy = False

    def __init__(self, context: DriverContext, server_port: int) -> None:
        self._context = context
        self._server = (context.link.gateway.partition("%")[0], server_port)
        self._destination = _find_destination(context.link.gateway, server_port)
        self._lock = DeferredLock()
        self._port: Any = None
        self._waiter: Deferred[Any] | None = None
        self._read: Callable[[bytes], Any] | None = None
        self._timers: dict[str, Any] = {}
        self._closed = False

    async def ask(self, question: bytes, read: Callable[[bytes], T | None]) -> T:
        """
        Send a question, again and again until it is answered.

        @param read: from a datagram of the gateway's to the answer; C{None} where it is another's,
            or broken. May raise L{NATRefused}.
        @see: RFC 6886, section 3.1, for the times.
        """
        await self._lock.acquire()
        waiter: Deferred[T] = Deferred()
        try:
            self._open()
            self._waiter, self._read = waiter, read
            self._timers["deadline"] = self._context.reactor.callLater(
                self._context.timeout_seconds, self._give_up, f"no answer from {self._server[0]}"
            )
            self._send(question, FIRST_RETRANSMISSION_SECONDS)
            return await waiter
        finally:
            self._waiter = self._read = None
            self._stop_timers()
            self._lock.release()

    def close(self) -> Deferred[None]:
        """End the question under way. @return: fires when the socket is gone."""
        self._closed = True
        port, self._port = self._port, None
        done: Deferred[None] = maybeDeferred(port.stopListening) if port else maybeDeferred(lambda: None)
        self._give_up("closed")
        return done

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Twisted has a datagram for us; only the gateway's are looked at."""
        if self._waiter is None or self._read is None:
            return
        # A link-local sender may come with its scope or without.
        if (addr[0].partition("%")[0], addr[1]) != self._server:
            return
        try:
            answer = self._read(datagram)
        except NATRefused as refusal:
            self._finish(Failure(refusal))  # type: ignore[no-untyped-call]
        else:
            if answer is not None:
                self._finish(answer)

    def stopProtocol(self) -> None:
        """Twisted closed the socket, maybe by itself."""
        self._port = None
        self._give_up("the socket was closed")

    def _open(self) -> None:
        if self._closed:
            raise NATUnreachable("closed")
        if self._port is not None:
            return
        address = self._context.link.address
        try:
            self._port = self._context.reactor.listenUDP(0, self, interface=address)
        except CannotListenError as error:
            raise NATUnreachable(f"cannot send from {address}: {error.socketError}") from None

    def _send(self, question: bytes, delay_seconds: float) -> None:
        if self._port is None:
            return
        assert self.transport is not None
        # Unreachable, no buffers, not permitted: as if it was lost on the way.
        with contextlib.suppress(OSError):
            self.transport.write(question, self._destination)
        jitter = 1 + self._context.chance.uniform(-_JITTER_SHARE, _JITTER_SHARE)
        self._timers["again"] = self._context.reactor.callLater(
            delay_seconds * jitter, self._send, question, delay_seconds * 2
        )

    def _give_up(self, reason: str) -> None:
        self._finish(Failure(NATUnreachable(reason)))  # type: ignore[no-untyped-call]

    def _finish(self, result: Any) -> None:
        waiter, self._waiter = self._waiter, None
        self._stop_timers()
        if waiter is not None:
            waiter.callback(result)

    def _stop_timers(self) -> None:
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            if timer.active():
                timer.cancel()


def _find_destination(gateway: str, server_port: int) -> Any:
    host, _, scope = gateway.partition("%")
    if not scope:
        return (host, server_port)
    # In the short form Python would leave the scope out of a link-local address.
    try:
        return (host, server_port, 0, socket.if_nametoindex(scope))
    except OSError:
        return (host, server_port)
