"""
A TLS stream: a transport to whoever speaks the plaintext, on the transport that carries the rest.

OpenSSL works in memory: it is fed with what the stream below has read, in large pieces, and what it
writes leaves in large pieces. So it needs no socket, and the ClientHello that was previewed is simply
the first of its food.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.preview import PreviewTransport
from pmmux.tls.faults import HandshakeFailed, explain
from pmmux.transport.sealing import RECORD_OCTETS, RECORD_OVERHEAD_OCTETS

# What is given on at a time.
DELIVERY_OCTETS = 16 * RECORD_OCTETS
_HANDSHAKE_READ_OCTETS = 65536
LEAST_SEALED_OCTETS = 4096


@implementer(ITCPTransport)
class TLSStream:
    """
    Below it is a L{PreviewTransport}, whose transport it uses; above it is a Protocol.

    The end of one direction (close_notify) is not the end of the other. An end of the TCP stream that
    was not announced by close_notify counts as the end of the data, as most clients leave it out.

    @ivar connection: OpenSSL's L{SSL.Connection}; C{None} once the connection is lost.
    @ivar handshake: fires with this when the handshake is complete; fails with L{HandshakeFailed}.
    """

    def __init__(self, connection: SSL.Connection, below: PreviewTransport) -> None:
        """@param connection: without a socket, and in accept or connect state."""
        self.connection: Any = connection
        self.below = below
        self.lower: Any = below.transport
        self.protocol: Any = None
        self.disconnecting = False
        self.handshake: Deferred[TLSStream] = Deferred(self._cancelled)
        self.is_open = False
        self._settled = False
        self._paused = False
        self._pumping = False
        self._lower_ended = False
        self._read_ended = False
        self._shut_down = False
        self._lost: Failure | None = None
        self._producer: Any = None
        self._streaming = False

    def start(self) -> Deferred[TLSStream]:
        """Take over the stream below, and shake hands. @return: L{handshake}."""
        octets, ended = self.below.release(self)
        self._lower_ended = ended
        if self.below.lost is not None:
            self._fail(HandshakeFailed("the connection ended", True))
            return self.handshake
        if octets:
            self.connection.bio_write(octets)
        self._shake()
        if not self._settled:
            self.below.resume()
        return self.handshake

    def adopt(self, unsent: bytes) -> TLSStream:
        """
        In the place of L{start}, where the hands have been shaken on the bare socket.

        @param unsent: what the socket has not taken of that.
        @return: this.
        """
        self.below.release(self)
        self.is_open = self._settled = True
        self.lower.write(unsent)
        self._flush(LEAST_SEALED_OCTETS)
        return self

    def connect(self, protocol: Any) -> None:
        """Connect C{protocol} to the plaintext; what has been read already follows at once."""
        self.protocol = protocol
        protocol.makeConnection(self)
        if self._lost is not None:
            protocol.connectionLost(self._lost)
        else:
            self._pump()

    # Giving the socket up to whoever moves octets without a protocol.

    @property
    def is_plain(self) -> bool:
        """Whether nothing but TLS stands between the socket and whoever would take that over."""
        lower = self.lower
        is_ours = getattr(lower, "seal", self) is None and lower.is_plain
        return is_ours and self.is_open and not self._shut_down and self._producer is None

    @property
    def seal(self) -> Any:
        """OpenSSL's connection."""
        return self.connection

    def detach(self) -> tuple[Any, bool]:
        """As L{pmmux.transport.stream.Stream.detach}; C{seal} goes with the socket."""
        self.protocol = None
        self.connection = None
        detached: tuple[Any, bool] = self.lower.detach()
        return detached

    # What the stream below calls.

    def dataReceived(self, data: bytes) -> None:
        """Feed OpenSSL."""
        if self.is_open:
            self.connection.bio_write(data)
            self._pump()
        elif not self._settled:
            self.connection.bio_write(data)
            self._shake()

    def readConnectionLost(self) -> None:
        """Nothing more comes."""
        self._lower_ended = True
        if self.is_open:
            self._pump()
        elif not self._settled:
            self._fail(HandshakeFailed("the connection ended", True))

    def writeConnectionLost(self) -> None:
        """All is written, and the end too."""
        protocol = self.protocol
        if protocol is not None and IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """It is gone."""
        if self._read_ended and self._shut_down and reason.check(ConnectionLost):  # type: ignore[no-untyped-call]
            # Both directions had ended: it has closed without waiting for our close_notify.
            reason = Failure(ConnectionDone())  # type: ignore[no-untyped-call]
        self._lost = reason
        self.below.lost = reason
        self._producer = None
        if not self._settled:
            self._fail(HandshakeFailed("the connection ended", True))
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)
        else:
            self.below.closed(reason)
        # OpenSSL's memory is not to wait until the garbage collector finds who holds whom.
        self.connection = None

    # The handshake.

    def _shake(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self._flush(_HANDSHAKE_READ_OCTETS)
            if self._lower_ended:
                self._fail(HandshakeFailed("the connection ended", True))
            return
        except Exception as error:  # OpenSSL's, and what callbacks raised in it
            # The alert that says why.
            self._flush(_HANDSHAKE_READ_OCTETS)
            self._fail(HandshakeFailed(explain(error)))
            return
        self._flush(_HANDSHAKE_READ_OCTETS)
        self.is_open = self._settled = True
        # Until somebody has taken the plaintext, no more of it is needed.
        self.handshake.callback(self)

    def _fail(self, error: HandshakeFailed) -> None:
        if not self._settled:
            self._settled = True
            self.handshake.errback(Failure(error))  # type: ignore[no-untyped-call]

    def _cancelled(self, _handshake: Deferred[TLSStream]) -> None:
        self._settled = True

    # Reading.

    def _pump(self) -> None:
        if self._pumping or self.protocol is None:
            return
        self._pumping = True
        try:
            while not self._paused and not self._read_ended and self._lost is None and self._deliver():
                pass
        finally:
            self._pumping = False

    def _deliver(self) -> bool:
        """Give the next octets on. @return: whether there may be more."""
        receive = self.connection.recv
        found: list[bytes] = []
        size = 0
        fault: Exception | None = None
        ended = False
        try:
            while size < DELIVERY_OCTETS:
                octets = receive(RECORD_OCTETS)
                found.append(octets)
                size += len(octets)
        except SSL.WantReadError:
            ended = self._lower_ended
        except SSL.ZeroReturnError:
            ended = True
        except SSL.Error as error:
            fault = error
        if found:
            self.protocol.dataReceived(found[0] if len(found) == 1 else b"".join(found))
        if fault is not None:
            # A record that was tampered with, or an alert: both sides are to know that it broke.
            self._flush(LEAST_SEALED_OCTETS)
            self.abortConnection()
            return False
        if ended:
            if self._paused and found:
                # Told when the reading goes on: the next look finds the same.
                return False
            self._end_reading()
            return False
        return size >= DELIVERY_OCTETS

    def _end_reading(self) -> None:
        self._read_ended = True
        protocol = self.protocol
        if protocol is None:
            return
        if IHalfCloseableProtocol.providedBy(protocol):
            protocol.readConnectionLost()
        else:
            self.loseConnection()

    def pauseProducing(self) -> None:
        """Read no more."""
        self._paused = True
        self.below.pause()

    def resumeProducing(self) -> None:
        """Read again, what is decrypted already first."""
        self._paused = False
        self._pump()
        if not self._paused:
            self.below.resume()

    def stopProducing(self) -> None:
        """The consumer has gone."""
        self.loseConnection()

    # Writing.

    def write(self, data: bytes) -> None:
        """Encrypt and write."""
        if not data or self._shut_down or self._lost is not None:
            return
        try:
            self._encrypt(data)
        except SSL.Error:
            self.abortConnection()

    def _encrypt(self, data: bytes) -> None:
        send = self.connection.send
        total = len(data)
        sent = send(data)
        if sent < total:
            view = memoryview(data)
            while sent < total:
                sent += send(view[sent:])
        records = total // RECORD_OCTETS + 1
        self._flush(max(LEAST_SEALED_OCTETS, total + records * RECORD_OVERHEAD_OCTETS))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write several at once."""
        self.write(b"".join(data))

    def _flush(self, limit_octets: int) -> None:
        if self._lost is not None:
            return
        read = self.connection.bio_read
        try:
            while True:
                octets = read(limit_octets)
                self.lower.write(octets)
                if len(octets) < limit_octets:
                    return
        except SSL.WantReadError:
            return

    def _say_goodbye(self) -> None:
        """Announce the end of our data, once (RFC 8446 section 6.1)."""
        if self._shut_down:
            return
        self._shut_down = True
        if self.is_open and self._lost is None:
            try:
                self.connection.shutdown()
            except SSL.Error:
                return
            self._flush(LEAST_SEALED_OCTETS)

    def loseWriteConnection(self) -> None:
        """Write what waits, then end our direction only."""
        self._say_goodbye()
        self.lower.loseWriteConnection()

    def loseConnection(self) -> None:
        """Write what waits, then close."""
        self.disconnecting = True
        if self._producer is not None:
            if not self._streaming:
                # It is asked for more until it is done; the end follows then.
                return
            # One that writes whenever it likes may never be done: it is not waited for.
            self._producer = None
            self.lower.unregisterProducer()
        self._say_goodbye()
        self.lower.loseConnection()

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        self._shut_down = True
        self.lower.abortConnection()

    # Nothing waits to be written here: the transport below tells the producer itself.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See L{twisted.internet.interfaces.IConsumer}."""
        self._producer = producer
        self._streaming = streaming
        self.lower.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """No more comes from the producer."""
        if self._producer is None:
            return
        self._producer = None
        if self.disconnecting:
            self._say_goodbye()
        self.lower.unregisterProducer()
        if self.disconnecting:
            self.lower.loseConnection()

    # What the transport below knows.

    def getHost(self) -> Any:
        """Our address."""
        return self.lower.getHost()

    def getPeer(self) -> Any:
        """The other side's address."""
        return self.lower.getPeer()

    def getTcpNoDelay(self) -> bool:
        """Whether small writes go out at once."""
        return bool(self.lower.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Let small writes go out at once, or not."""
        self.lower.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the system probes a silent peer."""
        return bool(self.lower.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the system probe a silent peer, or not."""
        self.lower.setTcpKeepAlive(enabled)


async def shake_hands(
    connection: SSL.Connection, below: PreviewTransport, limit_octets: int, opened: Callable[..., None]
) -> tuple[TLSStream, PreviewTransport]:
    """
    Shake hands on the stream C{below}, which is used up.

    @param limit_octets: how much of the plaintext may be previewed.
    @param opened: called with the plaintext's stream when it is connected.
    @return: the TLS stream, and the plaintext's, from which it can be taken over again.
    @raises HandshakeFailed: C{below} is to be closed.
    """
    stream = TLSStream(connection, below)
    await stream.start()
    plain = PreviewTransport(limit_octets, opened)
    plain.closed = below.closed
    stream.connect(plain)
    return stream, plain
