"""A stream socket in the poller that speaks Twisted's ITCPTransport to a Protocol."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.transport.buffer import SharedBuffer
from pmmux.transport.poller import (
    ERROR,
    HANG_UP,
    IN,
    OUT,
    READ_HANG_UP,
    READING,
    READING_AND_WRITING,
    Poller,
)

READS_PER_TURN = 4
# Plain numbers: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
# A producer is paused while more than this is waiting to be written.
WRITE_HIGH_OCTETS = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@implementer(ITCPTransport, IPushProducer, IConsumer)
class Stream:
    """
    See the module. C{protocol} is told what Twisted's own transports tell theirs, in the same order.

    The loss of the connection is told in a later turn of the reactor than the call that caused it.

    @cvar seal: for whoever takes the socket over: there is no TLS on it.
    """

    seal: None = None

    __slots__ = (
        "_buffer",
        "_closing",
        "_ended",
        "_lost",
        "_paused",
        "_producer",
        "_producer_paused",
        "_reactor",
        "_registered",
        "_streaming",
        "_write_ended",
        "_write_ending",
        "_written",
        "disconnecting",
        "poller",
        "protocol",
        "sock",
    )

    def __init__(
        self,
        reactor: Any,
        poller: Poller,
        buffer: SharedBuffer,
        sock: socket.socket,
        is_registered: bool = False,
    ) -> None:
        """
        @param sock: connected.
        @param is_registered: whether the poller knows it already, with some other owner.
        """
        self._reactor = reactor
        self.poller = poller
        self._buffer = buffer
        self.sock = sock
        self.protocol: Any = None
        self.disconnecting = False
        self._registered = is_registered
        if is_registered:
            poller.give(sock.fileno(), self)
        self._paused = False
        self._ended = False
        self._lost = False
        self._closing: Failure | None = None
        self._write_ending = False
        self._write_ended = False
        self._written: list[bytes] = []
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    def start(self, protocol: Any) -> None:
        """Connect C{protocol}, and tell it of what arrives."""
        self.protocol = protocol
        protocol.makeConnection(self)
        if self.protocol is None or self._lost:
            return
        if self._registered:
            # Its former owner may have been told already of what is there, and of its end.
            self._poll_again()
        else:
            self.register()

    def connect(self, protocol: Any) -> None:
        """Connect C{protocol}, which is told nothing until it resumes the reading."""
        self.protocol = protocol
        protocol.makeConnection(self)

    @property
    def is_plain(self) -> bool:
        """Whether nothing stands between its socket and whoever would take that over."""
        return not (self._written or self._lost or self.disconnecting or self._write_ending)

    def register(self) -> None:
        """Be told of what arrives, if it is not so already."""
        if not self._registered and not self._lost:
            self._registered = True
            self.poller.add(self.sock.fileno(), self, READING)

    def detach(self) -> tuple[socket.socket, bool]:
        """
        Give the socket up, with nothing waiting to be written.

        @return: the socket, and whether the poller knows it; its owner is to be replaced there.
        """
        self.protocol = None
        self._lost = True
        return self.sock, self._registered

    # What the poller calls.

    def ready(self, events: int) -> None:
        """Write what waits, read what is there."""
        if events & OUT and self._written:
            self._flush()
        if not self._lost and events & (IN | READ_HANG_UP | HANG_UP | ERROR):
            self._read(events)

    def broken(self) -> None:
        """A bug, of the protocol most likely."""
        self.abortConnection()

    def _read(self, events: int) -> None:
        if self._ended:
            if events & ERROR:
                self._lose(ConnectionLost())
            return
        buffer = self._buffer
        for _ in range(READS_PER_TURN):
            if self._paused or self._lost or self.disconnecting:
                return
            try:
                count = self.sock.recv_into(buffer.octets, 0, _RECEIVE)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(ConnectionLost(error.strerror))
                return
            if count == 0:
                self._read_ended()
                return
            self.protocol.dataReceived(bytes(buffer.view[:count]))
        if not self._lost and self.protocol is not None:
            self._poll_again()

    def _read_ended(self) -> None:
        self._ended = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lose(ConnectionDone())

    # Writing.

    def write(self, data: bytes) -> None:
        """Write at once what the system takes, and the rest when it takes more."""
        if self._lost or self._closing is not None or self._write_ending or not data:
            return
        if not self._written:
            try:
                sent = self.sock.send(data, _SEND)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lose(ConnectionLost(error.strerror))
                return
            if sent == len(data):
                if self._producer is not None and not self._streaming:
                    # It is asked for the next piece when this one is written: not from within.
                    self._reactor.callLater(0, self._pull)
                return
            data = bytes(memoryview(data)[sent:])
            self._written.append(data)
            self.register()
            self._poll_again()
        else:
            self._written.append(data)
        self._pause_producer()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write several at once."""
        self.write(b"".join(data))

    def _pause_producer(self) -> None:
        waiting = sum(map(len, self._written))
        if self._producer is not None and self._streaming and waiting > WRITE_HIGH_OCTETS:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _flush(self) -> None:
        data = self._written[0] if len(self._written) == 1 else b"".join(self._written)
        try:
            sent = self.sock.send(data, _SEND)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(ConnectionLost(error.strerror))
            return
        self._written = [data[sent:]] if sent < len(data) else []
        if not self._written:
            self._drained()

    def _drained(self) -> None:
        if self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._lose(ConnectionDone())
        elif self._write_ending:
            self._end_writing()

    def _pull(self) -> None:
        if not self._lost and not self._written and self._producer is not None and not self._streaming:
            self._producer.resumeProducing()

    def _end_writing(self) -> None:
        if self._write_ended:
            return
        self._write_ended = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lose(ConnectionLost(error.strerror))
            return
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    # Closing.

    def loseConnection(self) -> None:
        """Write what waits, then close."""
        if self._lost or self.disconnecting:
            return
        self.disconnecting = True
        # A streaming producer is not waited for, as Twisted's own transports do not.
        if not self._written and (self._producer is None or self._streaming):
            self._lose(ConnectionDone())

    def loseWriteConnection(self) -> None:
        """Write what waits, then end our direction only."""
        if self._lost or self._write_ending:
            return
        self._write_ending = True
        if not self._written:
            self._end_writing()

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        if not self._lost and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._lose(ConnectionAborted())

    def _lose(self, reason: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        self._written = []
        self._closing = Failure(reason)  # type: ignore[no-untyped-call]
        descriptor = self.sock.fileno()
        if descriptor >= 0:
            self.poller.forget(descriptor)
            self.sock.close()
        self._reactor.callLater(0, self._tell_lost)

    def _tell_lost(self) -> None:
        protocol, self.protocol = self.protocol, None
        self._producer = None
        if protocol is not None:
            protocol.connectionLost(self._closing)

    # Producers and consumers.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See L{twisted.internet.interfaces.IConsumer}."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        if self._lost:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """No more comes from the producer."""
        self._producer = None
        if not self._written and not self._lost:
            if self.disconnecting:
                self._lose(ConnectionDone())
            elif self._write_ending:
                self._end_writing()

    def pauseProducing(self) -> None:
        """Read no more."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Read again."""
        if self._paused and not self._lost:
            self._paused = False
            if self._registered:
                self._poll_again()
            else:
                self.register()

    def stopProducing(self) -> None:
        """The consumer has gone."""
        self.loseConnection()

    def _poll_again(self) -> None:
        # What was told while reading was paused is not told again by itself.
        self.poller.again(self.sock.fileno(), READING_AND_WRITING if self._written else READING)

    # What the socket knows.

    def getHost(self) -> Any:
        """Our address."""
        return _twisted_address(self.sock.getsockname(), self.sock.family)

    def getPeer(self) -> Any:
        """The other side's address."""
        try:
            return _twisted_address(self.sock.getpeername(), self.sock.family)
        except OSError:
            return _twisted_address(("0.0.0.0", 0), socket.AF_INET)

    def getTcpNoDelay(self) -> bool:
        """Whether small writes go out at once."""
        return bool(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Let small writes go out at once, or not."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the system probes a silent peer."""
        return bool(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the system probe a silent peer, or not."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


def _twisted_address(name: Any, family: int) -> Any:
    if family == socket.AF_INET:
        return IPv4Address("TCP", *name)
    if family == socket.AF_INET6:
        return IPv6Address("TCP", *name)
    return UNIXAddress(name or None)
