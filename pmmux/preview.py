"""
The preview: what a client said first, held so that anyone may look at it and nobody consumes it,
and replayed once to whoever takes the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

CONNECTION_DONE = Failure(ConnectionDone())  # type: ignore[no-untyped-call]


class Preview:
    """
    The first octets of a stream, and whether more of them may come.

    Readers see at most C{limit_octets}, however the octets were cut on arrival; what came beyond
    stays for the replay.
    """

    __slots__ = ("_chunks", "_octets", "_size", "_waiter", "_wanted", "ended", "final", "limit_octets")

    def __init__(self, limit_octets: int) -> None:
        """@param limit_octets: how many octets readers may see, at least 1."""
        self.limit_octets = limit_octets
        self.ended = False
        self.final = False
        self._chunks: list[bytes] = []
        self._octets = b""
        self._size = 0
        self._waiter: Deferred[None] | None = None
        self._wanted = 0

    @property
    def octets(self) -> bytes:
        """What readers may see now, from the first octet on."""
        if self._chunks:
            self._octets = b"".join((self._octets, *self._chunks))
            self._chunks.clear()
        return self._octets if self._size <= self.limit_octets else self._octets[: self.limit_octets]

    @property
    def held(self) -> int:
        """How many octets are held, those beyond the limit too."""
        return self._size

    @property
    def size(self) -> int:
        """How many octets readers may see now."""
        return min(self._size, self.limit_octets)

    def feed(self, data: bytes) -> None:
        """Take octets that arrived. At the limit the preview becomes final."""
        if self._size == 0:
            self._octets = data
        else:
            self._chunks.append(data)
        self._size += len(data)
        if self._size >= self.limit_octets:
            self.final = True
        if self._waiter is not None and (self.final or self._size >= self._wanted):
            self._wake()

    def end(self) -> None:
        """The client's data ended: no octet will follow."""
        self.ended = True
        self.finish()

    def finish(self) -> None:
        """Count the preview as complete: verdicts on it are final."""
        if not self.final:
            self.final = True
            self._wake()

    def changed(self, octets_wanted: int = 0) -> Deferred[None]:
        """
        Wait for more. One waiter at a time; cancelling is harmless.

        @param octets_wanted: do not wake for less than this many octets in all.
        @return: fires when there is more, or when the preview has become final.
        """
        self._wanted = octets_wanted
        self._waiter = Deferred(self._forget)
        return self._waiter

    def discard(self, count: int) -> None:
        """
        Drop the first C{count} octets: a negotiator consumed them. A limit or a detect time-out that
        had made the preview final does so no more; the end of the data still does.
        """
        whole = self.take()
        self.final = self.ended
        if len(whole) > count:
            self.feed(whole[count:])

    def take(self) -> bytes:
        """Every octet held, beyond the limit too; afterwards none is held."""
        whole = b"".join((self._octets, *self._chunks)) if self._chunks else self._octets
        self._chunks.clear()
        self._octets = b""
        self._size = 0
        return whole

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _forget(self, _waiter: Deferred[None]) -> None:
        self._waiter = None


class CountedTransport:
    """A transport as its protocol sees it, that counts the octets written."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.octets_written = 0
        directlyProvides(self, providedBy(transport))

    def write(self, data: bytes) -> None:
        """Write and count."""
        self.octets_written += len(data)
        self._transport.write(data)

    def writeSequence(self, chunks: Any) -> None:
        """Write and count."""
        self.write(b"".join(chunks))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As asked, where there is such a thing: Twisted's HTTP server sets it on unix sockets too."""
        with suppress(OSError):
            self._transport.setTcpNoDelay(enabled)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@implementer(IProtocol, IHalfCloseableProtocol)
class PreviewTransport:
    """
    The client's stream until somebody takes it: a Protocol on the transport below, which buffers
    into a L{Preview} and stops reading at its limit.

    @ivar transport: the ITCPTransport below, from C{makeConnection} on.
    @ivar lost: why the connection was lost, or C{None} while it stands.
    @ivar octets_read: all octets that arrived, also those after the hand-over.
    """

    transport: Any

    def __init__(
        self,
        limit_octets: int,
        opened: Callable[[PreviewTransport], None],
        closed: Callable[[Failure], None] = lambda reason: None,
        preview: Preview | None = None,
    ) -> None:
        """
        @param limit_octets: the L{Preview}'s limit.
        @param preview: what has been read before there was a stream; a new one where there is none.
        @param opened: called when the stream is connected.
        @param closed: called once when it is lost; after the taker was told.
        """
        self.preview = preview if preview is not None else Preview(limit_octets)
        self.lost: Failure | None = None
        self.octets_read = 0 if preview is None else preview.held
        self.closed = closed
        self._opened = opened
        self._paused = False
        self._taker: Any = None
        self._counted: CountedTransport | None = None
        self._awaited: Callable[[], None] | None = None

    @property
    def octets_written(self) -> int:
        """What the protocol that took the stream has written so far."""
        return 0 if self._counted is None else self._counted.octets_written

    # What the transport below calls.

    def makeConnection(self, transport: Any) -> None:
        """The stream is connected, to an ITCPTransport."""
        self.transport = transport
        if self.preview.final:
            self.pause()
        self.connectionMade()

    def connectionMade(self) -> None:
        """Tell the pipeline."""
        self._opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Octets arrived: show them, and read no more at the limit."""
        self.octets_read += len(data)
        self.preview.feed(data)
        if self.preview.final:
            self.pause()
        self._begin()

    def readConnectionLost(self) -> None:
        """The client's data ended; what we write still reaches it."""
        self.preview.end()
        self._begin()

    def writeConnectionLost(self) -> None:
        """Our data ended; nothing was written yet, so nothing follows from it."""

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        """The stream is gone."""
        self.lost = reason
        self.preview.end()
        self._begin()
        self.closed(reason)

    # What the pipeline above calls.

    def begin_with_octets(self, begin: Callable[[], None] | None) -> None:
        """Call C{begin}, once, when the client has said something or has ended; C{None} for no more."""
        self._awaited = begin

    def _begin(self) -> None:
        begin, self._awaited = self._awaited, None
        if begin is not None:
            begin()

    def pause(self) -> None:
        """Read no more until the stream is taken or resumed."""
        if not self._paused and self.lost is None:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._paused and self.lost is None:
            self._paused = False
            self.transport.resumeProducing()

    def discard(self, count: int) -> None:
        """Drop the first C{count} octets of the preview: a negotiator consumed them."""
        self.preview.discard(count)
        if not self.preview.final:
            self.resume()

    def hand_over(self, protocol: Any) -> None:
        """
        Connect C{protocol} to the stream for good, on a transport that counts what it writes.

        It is given every previewed octet, once and first, then what arrives, then the end of the
        data and the loss of the connection, also where those came before.
        """
        self._counted = CountedTransport(self.transport)
        self._taker = protocol
        # Before the protocol sees anything: it may pause again, and that is to last.
        self.resume()
        protocol.makeConnection(self._counted)
        while octets := self.preview.take():
            protocol.dataReceived(octets)
        self.dataReceived = self._pass_on  # type: ignore[method-assign]
        self.readConnectionLost = self._pass_end_on  # type: ignore[method-assign]
        self.connectionLost = self._pass_loss_on  # type: ignore[method-assign]
        if self.lost is not None:
            protocol.connectionLost(self.lost)
        elif self.preview.ended:
            self._pass_end_on()

    def take(self) -> tuple[bytes, bool]:
        """
        Give the transport up to whoever has replaced this as its protocol.

        @return: every octet held, and whether the client's data has ended.
        """
        return self.preview.take(), self.preview.ended

    def release(self, successor: Any) -> tuple[bytes, bool]:
        """
        Give the transport up to C{successor}, which gets what it calls from now on.

        The successor has C{dataReceived}, C{readConnectionLost}, C{writeConnectionLost} and
        C{connectionLost}. The stream stays paused if it was: the successor resumes it.

        @return: every octet held, and whether the client's data has ended.
        """
        self.dataReceived = successor.dataReceived  # type: ignore[method-assign]
        self.readConnectionLost = successor.readConnectionLost  # type: ignore[method-assign]
        self.writeConnectionLost = successor.writeConnectionLost  # type: ignore[method-assign]
        self.connectionLost = successor.connectionLost  # type: ignore[method-assign]
        return self.take()

    def _pass_on(self, data: bytes) -> None:
        self.octets_read += len(data)
        self._taker.dataReceived(data)

    def _pass_end_on(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._taker):
            self._taker.readConnectionLost()
        else:
            # What it has written by now still goes out: loseConnection flushes.
            self.transport.loseConnection()

    def _pass_loss_on(self, reason: Failure = CONNECTION_DONE) -> None:
        self.lost = reason
        self._taker.connectionLost(reason)
        self.closed(reason)
