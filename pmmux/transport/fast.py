"""The data path on a poller of its own: raw sockets, edge-triggered, one shared buffer."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.preview import PreviewTransport
from pmmux.transport.buffer import BUFFER_OCTETS, SharedBuffer
from pmmux.transport.flow import Flow
from pmmux.transport.interfaces import IDataPath
from pmmux.transport.poller import READING_AND_WRITING, Poller
from pmmux.transport.relaying import Relay, RelayLimits
from pmmux.transport.sealed import SealedFlow
from pmmux.transport.sealing import PIECE_OCTETS, make_sealing
from pmmux.transport.splicing import Pipe, PipePool
from pmmux.transport.stream import Stream
from pmmux.transport.timeouts import ProgressWheel, TimeoutQueue

# What an upstream says before the relay has begun is held up to here.
UPSTREAM_PREVIEW_OCTETS = 65536
# Plain numbers: an enumeration is converted at each call.
_FAMILIES = {"ipv4": int(socket.AF_INET), "ipv6": int(socket.AF_INET6), "unix": int(socket.AF_UNIX)}
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_TCP, _NODELAY = int(socket.IPPROTO_TCP), int(socket.TCP_NODELAY)
_SOCKET, _KEEPALIVE = int(socket.SOL_SOCKET), int(socket.SO_KEEPALIVE)
_STREAM = int(socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))
# A target that could not be connected to at once is not tried at once again for so long.
SLOW_TARGET_SECONDS = 30.0
SLOW_TARGETS_LIMIT = 1000


class _Connecting:
    """A socket that is being connected, in the poller."""

    __slots__ = ("_poller", "descriptor", "is_late", "settled")

    def __init__(self, poller: Poller, descriptor: int) -> None:
        self._poller = poller
        self.descriptor = descriptor
        self.is_late = False
        self.settled: Deferred[None] = Deferred()
        poller.add(descriptor, self, READING_AND_WRITING)

    def ready(self, events: int) -> None:
        """It is connected, or refused: the socket knows."""
        if not self.settled.called:
            self.settled.callback(None)

    def broken(self) -> None:
        """Whoever waited is told by the exception itself."""

    def expire(self) -> None:
        """It took too long."""
        self.is_late = True
        self.ready(0)


@implementer(IDataPath)
class FastDataPath:
    """See L{IDataPath}."""

    def __init__(
        self,
        reactor: Any,
        limits: RelayLimits,
        congestion_control: str = "",
        splices: bool = True,
        buffer_octets: int = BUFFER_OCTETS,
    ) -> None:
        """
        @param limits: those of every relay of this data path.
        @param congestion_control: the algorithm for our sockets; empty for the system's.
        @param splices: whether flows that have proved bulk are spliced.
        @param buffer_octets: the size of the one buffer that everything is read into.
        """
        self._reactor = reactor
        self.poller = Poller(reactor)
        self.buffer = SharedBuffer(buffer_octets)
        self.piece_octets = min(PIECE_OCTETS, buffer_octets)
        self.sealing = make_sealing(self.buffer)
        self.wheel = ProgressWheel(reactor)
        self.pipes = PipePool() if splices and hasattr(os, "splice") else None
        self.limits = limits
        self._congestion_control = congestion_control.encode("ascii")
        self._slow: dict[Address, float] = {}
        self._connect_timeouts: dict[float, TimeoutQueue] = {}

    def accept(self, descriptor: Any, build: Callable[[], Any], is_registered: bool = False) -> None:
        """
        Take over an accepted socket.

        @param is_registered: whether the poller knows it already.
        """
        Stream(self._reactor, self.poller, self.buffer, descriptor, is_registered).start(build())

    def connect_now(self, target: Address, octets: bytes) -> tuple[Any, int] | None:
        """
        Connect without waiting, and send C{octets}.

        @return: the socket, and how many octets the system took; C{None} where it fails or takes time:
            then nothing was sent.
        """
        if self._slow and self._slow.get(target, 0.0) > self._reactor.seconds():
            return None
        try:
            sock = self._open(target.family)
        except OSError:
            # There is no descriptor for it: the other way says so.
            return None
        code = sock.connect_ex((target.host, target.port))
        if code in (0, errno.EINPROGRESS):
            try:
                return sock, sock.send(octets, _SEND)
            except OSError as error:
                code = error.errno
        sock.close()
        if code == errno.EAGAIN:
            if len(self._slow) >= SLOW_TARGETS_LIMIT:
                self._slow.clear()
            self._slow[target] = self._reactor.seconds() + SLOW_TARGET_SECONDS
        return None

    def relay_now(
        self,
        client: Any,
        client_is_registered: bool,
        upstream: Any,
        octets: bytes,
        sent: int,
        owner: Any,
    ) -> Flow:
        """
        Relay between two sockets.

        @param octets: what was read from the client before.
        @param sent: how many of them the upstream has got.
        @param owner: an L{pmmux.transport.interfaces.IRelayOwner}.
        """
        flow = Flow(self, client, upstream, owner)
        flow.client.octets = len(octets)
        if sent < len(octets):
            flow.upstream.pending = octets[sent:]
        flow.begin(flow.client, b"", False, client_is_registered)
        flow.begin(flow.upstream, b"", False, False)
        return flow

    def relay_sealed_now(
        self,
        client: Any,
        client_is_registered: bool,
        seal: Any,
        holds_more: bool,
        upstream: Any,
        octets: bytes,
        sent: int,
        owner: Any,
    ) -> Flow:
        """
        As L{relay_now}, with TLS on the client's side.

        @param seal: OpenSSL's connection, which is complete.
        @param holds_more: whether it, or the socket, may have octets besides C{octets}.
        """
        flow = SealedFlow(self, client, seal, upstream, None, owner)
        flow.client.octets = len(octets)
        if sent < len(octets):
            flow.upstream.pending = octets[sent:]
        flow.begin(flow.upstream, b"", False, False)
        flow.begin_sealed(client_is_registered, holds_more)
        return flow

    def _open(self, family: str) -> Any:
        # Not socket.socket: what that adds in Python costs more than the system call.
        sock = socket.SocketType(_FAMILIES[family], _STREAM, 0)
        try:
            if family != "unix":
                sock.setsockopt(_TCP, _NODELAY, 1)
                sock.setsockopt(_SOCKET, _KEEPALIVE, 1)
                if self._congestion_control:
                    sock.setsockopt(_TCP, socket.TCP_CONGESTION, self._congestion_control)
        except BaseException:  # the socket must not outlive any of them
            sock.close()
            raise
        return sock

    async def connect(self, target: Address, timeout_seconds: float) -> PreviewTransport:
        """Connect to one address; on this machine that needs no waiting."""
        try:
            sock = self._open(target.family)
        except OSError as error:
            raise UpstreamError(str(target), error.strerror or str(error)) from None
        try:
            code = sock.connect_ex(target.host if target.family == "unix" else (target.host, target.port))
            if code == errno.EINPROGRESS:
                code = _send_nothing(sock)
            has_waited = code == errno.EAGAIN and target.family != "unix"
            if has_waited:
                code = await self._wait(sock, timeout_seconds)
            if code:
                raise UpstreamError(str(target), _explain(code, timeout_seconds))
        except BaseException:  # also where the waiting is cancelled
            sock.close()
            raise
        upstream = PreviewTransport(UPSTREAM_PREVIEW_OCTETS, PreviewTransport.pause)
        Stream(self._reactor, self.poller, self.buffer, sock, has_waited).connect(upstream)
        return upstream

    def relay(
        self,
        client: PreviewTransport,
        upstream: PreviewTransport,
        limits: RelayLimits,
        owner: Any,
    ) -> Flow | Relay:
        """Move octets both ways until both sides ended."""
        below, above = client.transport, upstream.transport
        if not (getattr(below, "is_plain", False) and getattr(above, "is_plain", False)):
            return Relay(client, upstream, limits, self.wheel, owner)
        from_client, client_ended = client.take()
        from_upstream, upstream_ended = upstream.take()
        client_seal, upstream_seal = below.seal, above.seal
        client_sock, client_registered = below.detach()
        upstream_sock, upstream_registered = above.detach()
        flow: Flow
        if client_seal is None and upstream_seal is None:
            flow = Flow(self, client_sock, upstream_sock, owner)
        else:
            flow = SealedFlow(self, client_sock, client_seal, upstream_sock, upstream_seal, owner)
        flow.begin(flow.client, from_client, client_ended, client_registered)
        flow.begin(flow.upstream, from_upstream, upstream_ended, upstream_registered)
        return flow

    def close(self) -> None:
        """Stop polling; everything must have been closed."""
        self.poller.close()
        if self.pipes is not None:
            self.pipes.close()

    def take_pipe(self) -> Pipe | None:
        """For a bulk flow: an empty pipe, where there is one to be had."""
        return None if self.pipes is None else self.pipes.take()

    def give_back(self, pipe: Pipe) -> None:
        """For a bulk flow: it needs the pipe no more."""
        if self.pipes is not None:
            self.pipes.give_back(pipe)

    async def _wait(self, sock: socket.socket, timeout_seconds: float) -> int:
        connecting = _Connecting(self.poller, sock.fileno())
        queue = self._connect_timeouts.get(timeout_seconds)
        if queue is None:
            queue = self._connect_timeouts[timeout_seconds] = TimeoutQueue(self._reactor, timeout_seconds)
        timeout = queue.add(connecting.expire)
        try:
            await connecting.settled
        except BaseException:  # cancelled
            self.poller.forget(connecting.descriptor)
            raise
        finally:
            queue.cancel(timeout)
        if connecting.is_late:
            self.poller.forget(connecting.descriptor)
            return errno.ETIMEDOUT
        code: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.poller.forget(connecting.descriptor)
        return code


def _send_nothing(sock: socket.socket) -> int:
    # Tells whether something could be sent: 0 where it is connected, EAGAIN while it is not.
    try:
        sock.send(b"", _SEND)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _explain(code: int, timeout_seconds: float) -> str:
    if code == errno.ETIMEDOUT:
        return f"not connected within {timeout_seconds:g} s"
    return os.strerror(code).lower() if code == errno.ECONNREFUSED else os.strerror(code)
