"""
The relay of the fast path where a side speaks TLS: as L{pmmux.transport.flow}, with OpenSSL between.

OpenSSL works in memory. What is read in one piece is decrypted record by record into the shared buffer
and sent in one piece, and the other way round.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pmmux.transport.flow import Flow
from pmmux.transport.flow_end import READS_PER_TURN, UNKNOWN, FlowEnd
from pmmux.transport.poller import ERROR, OUT, READ_HANG_UP, READING, READING_AND_WRITING
from pmmux.transport.sealing import BROKEN, DRY, ENDED, FULL

if TYPE_CHECKING:
    from pmmux.transport.fast import FastDataPath

# Plain numbers: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_SEND_MORE = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL | getattr(socket, "MSG_MORE", 0))


class OpenEnd(FlowEnd):
    """
    A side without TLS, opposite one with it.

    @ivar holds_more: whether octets of this side may be elsewhere than in the socket.
    """

    __slots__ = ("holds_more",)

    other: OpenEnd

    def __init__(self, flow: Flow, sock: socket.socket) -> None:
        super().__init__(flow, sock)
        self.holds_more = False

    def ready(self, events: int) -> None:
        """As of L{FlowEnd}."""
        if events & OUT:
            if self.pending is not None:
                self.flush()
            if events == OUT or self.descriptor < 0:
                return
            events &= ~OUT
        if self.read_ended:
            if events & ERROR:
                self.flow.reset_by(self)
            return
        if self.other.pending is not None:
            if events & ERROR:
                self.flow.reset_by(self)
            else:
                self.blocked |= events
            return
        if events & ERROR:
            # A reset sets READ_HANG_UP too, and no end follows: read on, until the error is met.
            events = ERROR | UNKNOWN
        for _ in range(READS_PER_TURN):
            if not self.move(events):
                return
        # Of what OpenSSL holds the poller knows nothing.
        while self.holds_more:
            if not self.move(events):
                return
        # Its turn is used up: let it be told again, after the others.
        self.flow.path.poller.again(self.descriptor, READING if self.pending is None else READING_AND_WRITING)

    def move(self, events: int) -> bool:
        """
        Read once, and give that to the other side.

        @return: whether there may be more.
        """
        count = self.receive()
        if count <= 0:
            return False
        is_short = count < self.flow.path.piece_octets and not events & UNKNOWN
        is_last = is_short and bool(events & READ_HANG_UP)
        self.count(count)
        if not self.pass_on(self.flow.path.buffer.view[:count], events, is_last):
            return False
        if is_last:
            self.end()
        return not is_short

    def receive(self) -> int:
        """
        Read into the shared buffer.

        @return: how many octets; 0 at the end and less where there is nothing, which has been told.
        """
        try:
            path = self.flow.path
            count: int = self.sock.recv_into(path.buffer.octets, path.piece_octets, _RECEIVE)
        except BlockingIOError:
            return -1
        except OSError:
            self.flow.reset_by(self)
            return -1
        if not count:
            self.end()
        return count

    def count(self, count: int) -> None:
        """So many octets have come from this side."""
        if not self.octets:
            self.flow.hear_first(self)
        self.octets += count

    def pass_on(self, octets: Any, events: int, is_last: bool) -> bool:
        """
        Give C{octets} to the other side.

        @return: whether it takes more.
        """
        if self.other.give(octets, is_last):
            return True
        if self.descriptor >= 0:
            if events & ERROR:
                self.flow.reset_by(self)
            else:
                self.blocked = events | UNKNOWN
        return False

    def give(self, octets: Any, is_last: bool) -> bool:
        """
        Take C{octets} for this side; none is pending.

        @param is_last: whether the end follows at once.
        @return: whether all has gone; else the rest is pending, or the flow has ended.
        """
        try:
            sent = self.sock.send(octets, _SEND_MORE if is_last else _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.flow.reset_by(self)
            return False
        if sent == len(octets):
            return True
        self.pending = bytes(octets[sent:])
        self.flow.path.poller.again(self.descriptor, READING_AND_WRITING)
        return False


class SealedEnd(OpenEnd):
    """
    A side with TLS.

    @ivar connection: OpenSSL's, without a socket; its handshake is complete.
    """

    __slots__ = ("_said_goodbye", "connection")

    def __init__(self, flow: Flow, sock: socket.socket, connection: Any) -> None:
        super().__init__(flow, sock)
        self.connection = connection
        # OpenSSL may have been fed before.
        self.holds_more = True
        self._said_goodbye = False

    def move(self, events: int) -> bool:
        """As of L{OpenEnd}."""
        path = self.flow.path
        is_short = False
        if not self.holds_more:
            count = self.receive()
            if count <= 0:
                return False
            is_short = count < path.piece_octets and not events & UNKNOWN
            path.sealing.feed_read(self.connection, count)
        view = path.buffer.view
        size, why = path.sealing.open(self.connection, len(view))
        self.holds_more = why == FULL
        if why == BROKEN:
            self._give_up(view[:size])
            return False
        is_ended = why == ENDED or (why == DRY and is_short and events & READ_HANG_UP != 0)
        if size:
            self.count(size)
            if not self.pass_on(view[:size], events, is_ended):
                # What was met is met again.
                self.holds_more = True
                return False
        if is_ended:
            self.end()
            return False
        return self.holds_more or not is_short

    def _give_up(self, octets: Any) -> None:
        # A record that was tampered with, or an alert: both sides are to know that it broke.
        if octets:
            self.count(len(octets))
            self.other.give(octets, False)
        if self.descriptor >= 0 and self.pending is None:
            self._send_sealed(False)
        if self.descriptor >= 0:
            self.flow.reset_by(self)

    def give(self, octets: Any, is_last: bool) -> bool:
        """As of L{OpenEnd}."""
        try:
            self.flow.path.sealing.seal(self.connection, octets)
            if is_last:
                self._say_goodbye()
        except SSL.Error:
            self.flow.reset_by(self)
            return False
        return self._send_sealed(is_last)

    def _say_goodbye(self) -> None:
        """Announce the end of our data, once (RFC 8446 section 6.1)."""
        if not self._said_goodbye:
            self._said_goodbye = True
            self.connection.shutdown()

    def _send_sealed(self, is_last: bool) -> bool:
        """
        Send what OpenSSL has written.

        @param is_last: whether the end follows at once.
        @return: whether all has gone; else the rest is pending, or the flow has ended.
        """
        octets = self.flow.path.sealing.take(self.connection)
        return not octets or super().give(octets, is_last)

    def end_writing(self) -> None:
        """Everything for this side is written, and so is its end."""
        if not self._said_goodbye:
            try:
                self._say_goodbye()
            except SSL.Error:
                self.flow.reset_by(self)
                return
            if not self._send_sealed(True):
                # Where it is pending, this is asked again when it has gone.
                return
        super().end_writing()

    def close(self, reset: bool) -> None:
        """Close the socket, with a word where that is due."""
        if self.descriptor < 0:
            return
        if not reset and not self._said_goodbye:
            try:
                self._say_goodbye()
                self.sock.send(self.flow.path.sealing.take(self.connection), _SEND)
            except (SSL.Error, OSError):
                # It does not wait for it.
                pass
        super().close(reset)
        # OpenSSL's memory is not to wait until the garbage collector finds who holds whom.
        self.connection = None


class SealedFlow(Flow):
    """One relayed connection with TLS on one side, or on both."""

    __slots__ = ()

    client: OpenEnd
    upstream: OpenEnd

    def __init__(
        self,
        path: FastDataPath,
        client: socket.socket,
        client_seal: Any,
        upstream: socket.socket,
        upstream_seal: Any,
        owner: Any,
    ) -> None:
        """
        @param client_seal: OpenSSL's connection to the client; C{None} where it speaks no TLS.
        @param upstream_seal: the same of the upstream.
        """
        self.path = path
        self.client = OpenEnd(self, client) if client_seal is None else SealedEnd(self, client, client_seal)
        self.upstream = (
            OpenEnd(self, upstream) if upstream_seal is None else SealedEnd(self, upstream, upstream_seal)
        )
        self.client.other = self.upstream
        self.upstream.other = self.client
        self.flushed = 0
        self.owner = owner
        self._is_half_closed = False
        self.watch: Any = None
        path.wheel.add(self, path.limits.idle_seconds)
        owner.begin(self)

    def begin_sealed(self, registered: bool, holds_more: bool) -> None:
        """
        Take up the client's side, whose TLS this data path has seen from its beginning.

        @param registered: whether the poller knows its descriptor already.
        @param holds_more: whether there may be octets that nobody has been told of.
        """
        end = self.client
        assert isinstance(end, SealedEnd)
        end.holds_more = holds_more
        poller = self.path.poller
        if registered:
            poller.give(end.descriptor, end)
            if holds_more:
                end.ready(UNKNOWN)
        else:
            poller.add(end.descriptor, end)

    def begin(self, end: FlowEnd, octets: bytes, ended: bool, registered: bool) -> None:
        """As of L{Flow}."""
        if end.descriptor < 0:
            return
        assert isinstance(end, OpenEnd)
        poller = self.path.poller
        wanted = READING if end.pending is None else READING_AND_WRITING
        if not registered:
            poller.add(end.descriptor, end, wanted)
        else:
            poller.give(end.descriptor, end)
            if end.pending is not None:
                poller.again(end.descriptor, wanted)
        if octets:
            end.count(len(octets))
            if not end.pass_on(octets, 0, False) and end.descriptor < 0:
                return
        if ended:
            end.end()
        elif registered:
            end.ready(UNKNOWN)
