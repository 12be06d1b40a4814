"""Doubles for one stream: the transport below it, and protocols on it. Part of L{pmmux.test.doubles}."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITCPTransport)
class ClientTransport(StringTransport):
    """
    The transport below a client's stream, driven by the test.

    It tells its protocol of the loss of the connection in a later turn of the clock, as real ones do.

    @ivar protocol: what is connected to it.
    @ivar is_reading: whether it is not paused.
    @ivar aborted: whether it was closed with a reset.
    @ivar write_ended: whether our direction was ended.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clock = clock
        self.protocol: Any = None
        self.aborted = False
        self.write_ended = False
        self.connected = True
        self.no_delay = False
        self.keep_alive = False

    @property
    def is_reading(self) -> bool:
        """Whether it is not paused."""
        return self.producerState == "producing"

    def connect(self, protocol: Any) -> None:
        """Connect C{protocol}."""
        self.protocol = protocol
        protocol.makeConnection(self)

    def deliver(self, *chunks: bytes) -> None:
        """The client says each of C{chunks}; C{b""} is the end of its data."""
        for chunk in chunks:
            if chunk:
                self.protocol.dataReceived(chunk)
            else:
                self.end()

    def end(self) -> None:
        """The client's data ends."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.lose(ConnectionDone())

    def lose(self, reason: Exception | None = None) -> None:
        """The connection is lost, now."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionLost() if reason is None else reason))  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """Closed by us."""
        self.disconnecting = True
        if self.connected:
            self.clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        """Reset by us."""
        self.aborted = True
        if self.connected:
            self.clock.callLater(0, self.lose, ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """Our direction ends."""
        self.write_ended = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def getTcpNoDelay(self) -> bool:
        """See L{ITCPTransport}."""
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        """See L{ITCPTransport}."""
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self.keep_alive = enabled


class RecordingProtocol(Protocol):
    """
    Remembers what it is told.

    @ivar told: C{"made"}, C{("data", octets)} with neighbours joined, C{"read ended"}, C{"write ended"}
        and C{("lost", name of the reason)}.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connectionMade(self) -> None:
        """Remember it."""
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        if self.told and self.told[-1][0] == "data":
            data = self.told.pop()[1] + data
        self.told.append(("data", data))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Remember it."""
        self.told.append(("lost", "" if reason is None else type(reason.value).__name__))

    @property
    def received(self) -> bytes:
        """All data."""
        return b"".join(each[1] for each in self.told if each[0] == "data")


@implementer(IHalfCloseableProtocol)
class HalfCloseableProtocol(RecordingProtocol):
    """The same, for which the end of one direction is not the end of the other."""

    def readConnectionLost(self) -> None:
        """Remember it."""
        self.told.append("read ended")

    def writeConnectionLost(self) -> None:
        """Remember it."""
        self.told.append("write ended")
