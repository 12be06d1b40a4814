"""The data path on Twisted's own transports: works on any reactor and system."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.preview import PreviewTransport
from pmmux.transport.interfaces import IDataPath
from pmmux.transport.relaying import Relay, RelayLimits
from pmmux.transport.timeouts import ProgressWheel

# What an upstream says before the relay has begun is held up to here.
UPSTREAM_PREVIEW_OCTETS = 65536


class _OneProtocol(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Any]) -> None:
        self.buildProtocol = lambda _address: build()  # type: ignore[method-assign, assignment]


def _tune(stream: PreviewTransport) -> None:
    # Unix sockets have neither.
    if hasattr(stream.transport, "setTcpNoDelay"):
        stream.transport.setTcpNoDelay(True)
        stream.transport.setTcpKeepAlive(True)


def _open_spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Somebody else has taken it; there will be one again when that is over.
        return None


@implementer(IDataPath)
class PortableDataPath:
    """See L{IDataPath}."""

    def __init__(self, reactor: Any, congestion_control: str = "") -> None:
        """@param congestion_control: the algorithm for connections to upstreams; empty for the system's."""
        self._reactor = reactor
        self._congestion_control = congestion_control.encode("ascii", "replace")
        self._wheel = ProgressWheel(reactor)
        self._spare = _open_spare()

    def accept(self, descriptor: socket.socket, build: Callable[[], Any]) -> None:
        """
        Take over an accepted socket.

        @raises OSError: it has gone already.
        """
        # The reactor takes a duplicate of its own: where descriptors have run out there is the spare one,
        # so that who was accepted is served, and whoever comes next waits in the backlog.
        if self._spare is not None:
            os.close(self._spare)
        try:
            descriptor.setblocking(False)
            self._reactor.adoptStreamConnection(descriptor.fileno(), descriptor.family, _OneProtocol(build))
        finally:
            descriptor.close()
            self._spare = _open_spare()

    async def connect(self, target: Address, timeout_seconds: float) -> PreviewTransport:
        """Connect to one address."""
        stream = PreviewTransport(UPSTREAM_PREVIEW_OCTETS, _tune)
        try:
            await self._endpoint(target, timeout_seconds).connect(_OneProtocol(lambda: stream))
        except error.ConnectingCancelledError:
            raise CancelledError() from None
        except error.TimeoutError:
            raise UpstreamError(str(target), f"not connected within {timeout_seconds:g} s") from None
        except error.ConnectError as failed:
            raise UpstreamError(str(target), _reason(failed)) from None
        if self._congestion_control and target.family != "unix":
            sock = stream.transport.getHandle()
            # The listeners have told if the system does not have it.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._congestion_control)
        return stream

    def relay(
        self,
        client: PreviewTransport,
        upstream: PreviewTransport,
        limits: RelayLimits,
        owner: Any,
    ) -> Relay:
        """Move octets both ways until both sides ended."""
        return Relay(client, upstream, limits, self._wheel, owner)

    def _endpoint(self, target: Address, timeout_seconds: float) -> Any:
        if target.family == "unix":
            return UNIXClientEndpoint(self._reactor, target.host, timeout_seconds)  # type: ignore[no-untyped-call]
        kind = TCP6ClientEndpoint if target.family == "ipv6" else TCP4ClientEndpoint
        return kind(self._reactor, target.host, target.port, timeout_seconds)


def _reason(failed: error.ConnectError) -> str:
    if isinstance(failed, error.ConnectionRefusedError):
        return "connection refused"
    cause = failed.osError
    if isinstance(cause, int):
        return os.strerror(cause)
    return str(getattr(cause, "strerror", None) or cause or failed)
