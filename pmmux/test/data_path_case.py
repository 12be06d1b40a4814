"""What tests of data paths share: sockets on loopback, a reactor driven by hand, one case for each path."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pmmux.model import Address
from pmmux.preview import Preview, PreviewTransport
from pmmux.test.tiny_reactor import TinyReactor, read_available, tcp_pair
from pmmux.transport.fast import FastDataPath
from pmmux.transport.portable import PortableDataPath
from pmmux.transport.relaying import RelayLimits

LIMITS = RelayLimits(60.0, 10.0)
# Nobody has to wait for loopback so long; a test that would hang fails.
PATIENCE_SECONDS = 2.0


class DataPathCase(SynchronousTestCase):
    """Cleans up, and looks whether anything was left."""

    is_fast = True

    def setUp(self) -> None:
        self.reactor = TinyReactor()
        self.path: Any = (
            FastDataPath(self.reactor, LIMITS) if self.is_fast else PortableDataPath(self.reactor)
        )
        self.sockets: list[socket.socket] = []

    def tearDown(self) -> None:
        for each in self.sockets:
            each.close()
        self.reactor.settle()
        if self.is_fast:
            self.assertEqual(self.path.poller.owners, {}, "the poller still has an owner")
            self.path.close()
        self.assertEqual(self.reactor.getReaders() + self.reactor.getWriters(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [], "a timer was left")

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The peer's socket, and ours."""
        theirs, ours = tcp_pair()
        self.sockets.append(theirs)
        return theirs, ours

    def connect_protocol(self, protocol: Any, sockets: tuple[Any, Any] | None = None) -> Any:
        """Let the data path accept for C{protocol}. @return: the peer's socket."""
        theirs, ours = sockets or self.pair()
        self.path.accept(ours, lambda: protocol)
        return theirs

    def make_stream(self, preview: Preview | None = None) -> tuple[PreviewTransport, socket.socket]:
        """An accepted client's stream, and the client's socket."""
        stream = PreviewTransport(32768, lambda opened: None, preview=preview)
        return stream, self.connect_protocol(stream)

    def listen(self, family: int = socket.AF_INET) -> tuple[socket.socket, Address]:
        """A listening socket, and where it listens."""
        listening = socket.socket(family)
        listening.settimeout(PATIENCE_SECONDS)
        self.sockets.append(listening)
        if family == socket.AF_UNIX:
            path = self.mktemp()
            listening.bind(path)
            where = Address(path, 0, "unix")
        else:
            listening.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
            name = listening.getsockname()
            where = Address(name[0], name[1], "ipv4" if family == socket.AF_INET else "ipv6")
        listening.listen(5)
        return listening, where

    def accept(self, listening: socket.socket) -> socket.socket:
        """What somebody has connected to C{listening}."""
        accepted, _ = listening.accept()
        accepted.setblocking(False)
        self.sockets.append(accepted)
        return accepted

    def result(self, waiting: Deferred[Any]) -> Any:
        """What C{waiting} comes to."""
        if not waiting.called:
            self.reactor.run_until(lambda: waiting.called)
        return self.successResultOf(waiting)

    def read(self, sock: socket.socket, size: int) -> bytes:
        """C{size} octets from C{sock}."""
        found = b""

        def enough() -> bool:
            nonlocal found
            found += read_available(sock) or b""
            return len(found) >= size

        self.reactor.run_until(enough)
        return found

    def read_to_end(self, sock: socket.socket) -> bytes:
        """What comes from C{sock} until its end. @raises ConnectionResetError: it was reset."""
        found: list[bytes] = []

        def ended() -> bool:
            while octets := read_available(sock):
                found.append(octets)
            return octets == b""

        self.reactor.run_until(ended)
        return b"".join(found)

    def assert_reset(self, sock: socket.socket) -> None:
        """C{sock} is reset by us."""

        def was_reset() -> bool:
            try:
                while octets := read_available(sock):
                    pass
            except ConnectionResetError:
                return True
            self.assertIsNone(octets, "it was closed in order")
            return False

        self.reactor.run_until(was_reset)

    def assert_broken(self, sock: socket.socket) -> None:
        """The same where C{sock} has read our end before: only writing shows it then."""
        broken = (errno.EPIPE, errno.ECONNRESET)
        self.reactor.run_until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in broken)


def fill(write: Callable[[bytes], int]) -> bytes:
    """Write until it would block. @return: what was taken."""
    block = bytes(range(256)) * 64
    taken = b""
    while True:
        try:
            taken += block[: write(block)]
        except BlockingIOError:
            return taken
