"""
One side of a relayed connection: octets go from its socket to the other's through the shared buffer,
without an object per chunk; short messages and bulk have shorter ways.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from pmmux import errors
from pmmux.transport.poller import ERROR, IN, OUT, READ_HANG_UP, READING, READING_AND_WRITING
from pmmux.transport.splicing import Pipe

if TYPE_CHECKING:
    from pmmux.transport.flow import Flow

READS_PER_TURN = 4
# A side that has given so much at a time is spliced from then on. Full reads of the buffer come too late, or
# never where many share the memory: with 64 flows this was measured at a third of the CPU time.
FEWEST_TO_BE_BULK_OCTETS = 64 * 1024
# A side that has less than this to give at a time is read into the buffer again.
FEWEST_TO_SPLICE_OCTETS = 16 * 1024
# What fits into an object of Python's own allocator is read and written by descriptor: that was measured
# at 2,300 of the 7,700 instructions of a message less than through the buffer and the socket objects.
SHORT_OCTETS = 448
# A side that was read so often in a row with no more than that is taken for one end of a chat. Short
# connections end before; and where longer messages mix in, few of them are read in two pieces.
SHORT_READS_OF_A_CHAT = 4
# Told to an end whose last event is not known: it may have been told before the relay began, so it
# must be read until it would block.
UNKNOWN = 1 << 20
# Plain numbers: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_SEND_MORE = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL | getattr(socket, "MSG_MORE", 0))
# As the module's own: they are asked for with each message.
_read = os.read
_write = os.write
_SHUT_WR = int(socket.SHUT_WR)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FlowEnd:
    """
    One side of a flow.

    @ivar descriptor: -1 once it is closed.
    @ivar pending: octets for this side that the system did not take yet, or a pipe that holds them.
    @ivar is_bulk: whether this side has proved to send much: its octets are spliced then.
    @ivar read_ended: whether this side's data has ended.
    @ivar blocked: the events that came while the other side's pending octets kept this one from
        being read; 0 for none.
    @ivar octets: how many were read from this side.
    @ivar short_reads: how many short reads there were in a row, up to those that make a chat.
    """

    __slots__ = (
        "blocked",
        "descriptor",
        "flow",
        "is_bulk",
        "octets",
        "other",
        "pending",
        "read_ended",
        "short_reads",
        "sock",
    )

    other: FlowEnd

    def __init__(self, flow: Flow, sock: socket.socket) -> None:
        self.flow = flow
        self.sock = sock
        self.descriptor = sock.fileno()
        self.pending: bytes | Pipe | None = None
        self.is_bulk = False
        self.read_ended = False
        self.blocked = 0
        self.octets = 0
        self.short_reads = 0

    def ready(self, events: int) -> None:
        """For the poller: move what this side has to the other, the short way where it chats."""
        if self.short_reads < SHORT_READS_OF_A_CHAT or events != IN or self.other.pending is not None:
            self.attend(events)
            return
        try:
            octets = _read(self.descriptor, SHORT_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            self.flow.reset_by(self)
            return
        if not octets:
            self.end()
            return
        count = len(octets)
        self.octets += count
        other = self.other
        try:
            sent = _write(other.descriptor, octets)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.flow.reset_by(other)
            return
        if sent < count:
            self._hold(octets[sent:], events)
        elif count == SHORT_OCTETS:
            # There is more, probably.
            self.short_reads = 0
            self.attend(events)

    def attend(self, events: int) -> None:
        """Write what is pending, and move what this side has to the other."""
        if events & OUT:
            if self.pending is not None:
                self.flush()
            if events == OUT or self.descriptor < 0:
                return
            events &= ~OUT
        other = self.other
        if self.read_ended:
            if events & ERROR:
                self.flow.reset_by(self)
            return
        if other.pending is not None:
            if events & ERROR:
                self.flow.reset_by(self)
            else:
                self.blocked |= events
            return
        if events & ERROR:
            # A reset sets READ_HANG_UP too, and no end follows: read on, until the error is met.
            events = ERROR | UNKNOWN
        if self.is_bulk and self._splice(events):
            return
        shared = self.flow.path.buffer
        buffer = shared.octets
        size = len(buffer)
        for _ in range(READS_PER_TURN):
            try:
                count = self.sock.recv_into(buffer, 0, _RECEIVE)
            except BlockingIOError:
                return
            except OSError:
                self.flow.reset_by(self)
                return
            if not count:
                self.end()
                return
            self.octets += count
            if self.octets == count:
                self.flow.hear_first(self)
            try:
                if count == size:
                    sent = other.sock.send(buffer, SEND)
                    self._become_bulk()
                elif events & READ_HANG_UP:
                    # That was all there is, and its end follows: let both leave in one packet.
                    sent = other.sock.send(shared.view[:count], _SEND_MORE)
                    if sent == count and not events & UNKNOWN:
                        self.end()
                        return
                else:
                    sent = other.sock.send(shared.view[:count], SEND)
                    if count < SHORT_OCTETS:
                        self._count_short_read()
                    else:
                        self.short_reads = 0
                        if count >= FEWEST_TO_BE_BULK_OCTETS:
                            self._become_bulk()
                    if sent == count and not events & UNKNOWN:
                        return
            except BlockingIOError:
                sent = 0
            except OSError:
                self.flow.reset_by(other)
                return
            if sent < count:
                if events & ERROR:
                    self.flow.reset_by(self)
                    return
                self._hold(bytes(shared.view[sent:count]), events)
                return
        # Its turn is used up: let it be told again, after the others.
        self.flow.path.poller.again(self.descriptor, READING if self.pending is None else READING_AND_WRITING)

    def _hold(self, octets: bytes, events: int) -> None:
        # The other side did not take them: this one waits until it has.
        self.other.pending = octets
        self.blocked = events | UNKNOWN
        self.flow.path.poller.again(self.other.descriptor, READING_AND_WRITING)

    def _count_short_read(self) -> None:
        self.short_reads += 1
        if self.short_reads == SHORT_READS_OF_A_CHAT:
            self._stop_blocking()

    def _stop_blocking(self) -> None:
        # Reading, writing and splicing by descriptor have no flag of their own against waiting for a socket.
        self.sock.setblocking(False)
        self.other.sock.setblocking(False)

    def broken(self) -> None:
        """For the poller."""
        if self.descriptor >= 0:
            self.flow.close(errors.OUTCOME_INTERNAL_ERROR)

    def flush(self) -> None:
        """Write what is pending, and let the other side go on when that is done."""
        pending = self.pending
        try:
            if isinstance(pending, Pipe):
                self.flow.flushed += pending.drain(self.descriptor)
                if pending.held:
                    return
                self.flow.path.give_back(pending)
            elif pending is not None:
                sent = self.sock.send(pending, SEND)
                self.flow.flushed += sent
                if sent < len(pending):
                    self.pending = pending[sent:]
                    return
        except BlockingIOError:
            return
        except OSError:
            self.flow.reset_by(self)
            return
        self.pending = None
        other = self.other
        if other.read_ended:
            if self.read_ended and other.pending is None:
                self.flow.finish(errors.OUTCOME_CLOSED)
            else:
                self.end_writing()
        elif other.blocked:
            events, other.blocked = other.blocked, 0
            other.ready(events)

    def _become_bulk(self) -> None:
        if self.flow.path.pipes is not None and not self.is_bulk:
            self.is_bulk = True
            self.short_reads = 0
            self._stop_blocking()

    def _splice(self, events: int) -> bool:
        """
        As L{ready}, through a pipe.

        @return: C{False} where there is no pipe to be had; nothing has happened then.
        """
        path = self.flow.path
        pipe = path.take_pipe()
        if pipe is None:
            return False
        other = self.other
        moved = 0
        failed: FlowEnd | None = None
        for _ in range(READS_PER_TURN):
            failed = self
            try:
                count = pipe.fill(self.descriptor)
                moved += count
                self.octets += count
                failed = other
                pipe.drain(other.descriptor)
            except BlockingIOError:
                self.is_bulk = moved >= FEWEST_TO_SPLICE_OCTETS
                break
            except OSError:
                path.give_back(pipe)
                self.flow.reset_by(failed)
                return True
            if not count:
                path.give_back(pipe)
                self.end()
                return True
            if pipe.held:
                other.pending = pipe
                self.blocked = events | UNKNOWN
                path.poller.again(other.descriptor, READING_AND_WRITING)
                return True
        else:
            path.poller.again(self.descriptor, READING if self.pending is None else READING_AND_WRITING)
        path.give_back(pipe)
        return True

    def end(self) -> None:
        """This side's data ended: end the other's writing when all is written, and nothing else."""
        self.read_ended = True
        self.short_reads = 0
        flow, other = self.flow, self.other
        if other.pending is None:
            if other.read_ended and self.pending is None:
                # Closing says it to both sides.
                flow.finish(errors.OUTCOME_CLOSED)
                return
            other.end_writing()
        flow.half_closed()

    def end_writing(self) -> None:
        """Everything for this side is written, and so is its end."""
        try:
            self.sock.shutdown(_SHUT_WR)
        except OSError:
            self.flow.reset_by(self)

    def close(self, reset: bool) -> None:
        """Close the socket."""
        descriptor = self.descriptor
        if descriptor < 0:
            return
        path = self.flow.path
        path.poller.forget(descriptor)
        self.descriptor = -1
        if reset and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()
        pending = self.pending
        if pending is not None:
            self.pending = None
            if isinstance(pending, Pipe):
                path.give_back(pending)

    def let_go(self) -> None:
        """It is closed: nothing else is done with it."""
        del self.flow, self.other
