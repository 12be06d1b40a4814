"""
A reactor for tests of real sockets: nothing happens but in its C{turn}, and its time is a clock's.

It runs both data paths, so that one suite can be run over both.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

# How long one turn waits for the kernel where nothing is ready; loopback needs none of it.
_PATIENCE_MILLISECONDS = 3
# Only what never happens takes as long: a busy machine is to be waited for.
_TURNS_LIMIT = 1_000_000
_IDLE_TURNS_LIMIT = 3_000


@implementer(IReactorFDSet, IReactorTime)
class TinyReactor(Clock):
    """
    A reactor without a loop: descriptors are looked at by L{turn}, and time passes by C{advance}.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.readers: dict[int, Any] = {}
        self.writers: dict[int, Any] = {}
        self.nameResolver: Any = None

    def addReader(self, reader: Any) -> None:
        """See L{IReactorFDSet}."""
        self.readers[reader.fileno()] = reader

    def addWriter(self, writer: Any) -> None:
        """See L{IReactorFDSet}."""
        self.writers[writer.fileno()] = writer

    def removeReader(self, reader: Any) -> None:
        """See L{IReactorFDSet}."""
        self.readers = {fd: each for fd, each in self.readers.items() if each is not reader}

    def removeWriter(self, writer: Any) -> None:
        """See L{IReactorFDSet}."""
        self.writers = {fd: each for fd, each in self.writers.items() if each is not writer}

    def removeAll(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        found = {*self.readers.values(), *self.writers.values()}
        self.readers, self.writers = {}, {}
        return list(found)

    def getReaders(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        return list(self.readers.values())

    def getWriters(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        return list(self.writers.values())

    def turn(self) -> bool:
        """
        Call what is due, and read and write what is ready.

        @return: whether there was anything to do.
        """
        due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
        self.advance(0)
        poll = select.poll()
        for descriptor in {*self.readers, *self.writers}:
            events = select.POLLIN if descriptor in self.readers else 0
            poll.register(descriptor, events | (select.POLLOUT if descriptor in self.writers else 0))
        ready = poll.poll(0 if due else _PATIENCE_MILLISECONDS)
        for descriptor, events in ready:
            if events & ~select.POLLOUT and descriptor in self.readers:
                self._do(self.readers[descriptor], is_read=True)
            if events & ~select.POLLIN and descriptor in self.writers:
                self._do(self.writers[descriptor], is_read=False)
        return due or bool(ready)

    def run_until(self, condition: Callable[[], object]) -> None:
        """
        Turn until C{condition} holds.

        @raises AssertionError: it does not come to hold.
        """
        idle = 0
        for _ in range(_TURNS_LIMIT):
            if condition():
                return
            idle = 0 if self.turn() else idle + 1
            if idle > _IDLE_TURNS_LIMIT:
                break
        raise AssertionError("what the test waits for does not happen")

    def settle(self) -> None:
        """Turn until nothing happens any more."""
        for _ in range(_TURNS_LIMIT):
            if not self.turn():
                return
        raise AssertionError("it does not come to rest")

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """See C{IReactorTCP}."""
        connector = tcp.Connector(host, port, factory, timeout, bindAddress, self)  # type: ignore[no-untyped-call]
        connector.connect()  # type: ignore[no-untyped-call]
        return connector

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: int = 0) -> Any:
        """See C{IReactorUNIX}."""
        connector = unix.Connector(address, factory, timeout, self, checkPID)  # type: ignore[no-untyped-call]
        connector.connect()  # type: ignore[no-untyped-call]
        return connector

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See C{IReactorSocket}."""
        if addressFamily == socket.AF_UNIX:
            return unix.Server._fromConnectedSocket(fileDescriptor, factory, self)
        return tcp.Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)

    def _do(self, selectable: Any, is_read: bool) -> None:
        why = selectable.doRead() if is_read else selectable.doWrite()
        if not why:
            return
        self.removeReader(selectable)
        reason = Failure(why if isinstance(why, Exception) else why())  # type: ignore[no-untyped-call]
        is_end = is_read and reason.check(ConnectionDone)  # type: ignore[no-untyped-call]
        if is_end and IHalfCloseableDescriptor.providedBy(selectable):
            selectable.readConnectionLost(reason)
            return
        self.removeWriter(selectable)
        selectable.connectionLost(reason)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking TCP sockets on loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for each in (near, far):
        each.setblocking(False)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def read_available(sock: socket.socket) -> bytes | None:
    """
    What C{sock} has to read now.

    @return: octets; C{b""} at the end of the data; C{None} where there is nothing yet.
    @raises ConnectionResetError: it was reset.
    """
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None
