"""
The relay of the fast path: two sockets in the poller, octets moved between them through the shared
buffer, without an object per chunk.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from pmmux import errors
from pmmux.transport.interfaces import IRelay
from pmmux.transport.poller import ERROR, OUT, READ_HANG_UP, READING, READING_AND_WRITING
from pmmux.transport.splicing import Pipe
from pmmux.transport.unsent import unsent_octets

if TYPE_CHECKING:
    from pmmux.transport.fast import FastDataPath

READS_PER_TURN = 4
# A side that has less than this to give at a time is read into the buffer again.
FEWEST_TO_SPLICE_OCTETS = 64 * 1024
# Told to an end whose last event is not known: it may have been told before the relay began, so it
# must be read until it would block.
UNKNOWN = 1 << 20
# Plain numbers: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_SEND_MORE = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL | socket.MSG_MORE)
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

    def ready(self, events: int) -> None:
        """For the poller: write what is pending, and move what this side has to the other."""
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
                    sent = other.sock.send(buffer, _SEND)
                    if self.flow.path.pipes is not None and not self.is_bulk:
                        self._become_bulk()
                elif events & READ_HANG_UP:
                    # That was all there is, and its end follows: let both leave in one packet.
                    sent = other.sock.send(shared.view[:count], _SEND_MORE)
                    if sent == count and not events & UNKNOWN:
                        self.end()
                        return
                else:
                    sent = other.sock.send(shared.view[:count], _SEND)
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
                other.pending = bytes(shared.view[sent:count])
                self.blocked = events | UNKNOWN
                self.flow.path.poller.again(other.descriptor, READING_AND_WRITING)
                return
        # Its turn is used up: let it be told again, after the others.
        self.flow.path.poller.again(self.descriptor, READING if self.pending is None else READING_AND_WRITING)

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
                sent = self.sock.send(pending, _SEND)
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
        self.is_bulk = True
        # Splicing has no flag of its own against waiting for a socket.
        self.sock.setblocking(False)
        self.other.sock.setblocking(False)

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
        if self.descriptor < 0:
            return
        self.flow.path.poller.forget(self.descriptor)
        self.descriptor = -1
        if reset and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()
        if isinstance(self.pending, Pipe):
            self.flow.path.give_back(self.pending)
        self.pending = None

    def let_go(self) -> None:
        """It is closed: nothing else is done with it."""
        del self.flow, self.other


@implementer(IRelay)
class Flow:
    """
    One relayed connection.

    @ivar owner: the L{pmmux.transport.interfaces.IRelayOwner}; C{None} once it is finished.
    @ivar watch: for the wheel.
    @ivar flushed: octets that went out late; makes L{progress} change while a slow reader drains
        what is pending.
    """

    __slots__ = (
        "_is_half_closed",
        "client",
        "flushed",
        "owner",
        "path",
        "upstream",
        "watch",
    )

    def __init__(
        self,
        path: FastDataPath,
        client: socket.socket,
        upstream: socket.socket,
        owner: Any,
    ) -> None:
        self.path = path
        self.client = FlowEnd(self, client)
        self.upstream = FlowEnd(self, upstream)
        self.client.other = self.upstream
        self.upstream.other = self.client
        self.flushed = 0
        self.owner = owner
        self._is_half_closed = False
        self.watch: Any = None
        path.wheel.add(self, path.limits.idle_seconds)
        owner.begin(self)

    @property
    def octets_from_client(self) -> int:
        """Taken from the client so far."""
        return self.client.octets

    @property
    def octets_from_upstream(self) -> int:
        """Taken from the upstream so far."""
        return self.upstream.octets

    def begin(self, end: FlowEnd, octets: bytes, ended: bool, registered: bool) -> None:
        """
        Take up one side: what it has said before goes first.

        @param registered: whether the poller knows its descriptor already.
        """
        if end.descriptor < 0:
            return
        poller = self.path.poller
        wanted = READING if end.pending is None else READING_AND_WRITING
        if not registered:
            poller.add(end.descriptor, end, wanted)
        else:
            poller.give(end.descriptor, end)
            if end.pending is not None:
                poller.again(end.descriptor, wanted)
        if octets:
            end.octets += len(octets)
            self.hear_first(end)
            other = end.other
            try:
                sent = other.sock.send(octets, _SEND)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.reset_by(other)
                return
            if sent < len(octets):
                other.pending = octets[sent:]
                if end is self.upstream:
                    # The client was begun before, and did not ask to be told when it takes more.
                    poller.again(other.descriptor, READING_AND_WRITING)
        if ended:
            end.end()
        elif registered:
            end.ready(UNKNOWN)

    def hear_first(self, end: FlowEnd) -> None:
        """One side has said something for the first time since it was accepted or connected."""
        if end is self.upstream:
            self.owner.hear_upstream()

    def half_closed(self) -> None:
        """One side's data has ended: a shorter time-out counts from now on."""
        if not self._is_half_closed and self.owner is not None:
            self._is_half_closed = True
            self.path.wheel.change_soon(self, self.path.limits.half_closed_seconds)

    def reset_by(self, end: FlowEnd) -> None:
        """One side was reset: reset the other."""
        outcome = errors.OUTCOME_RESET_BY_CLIENT if end is self.client else errors.OUTCOME_RESET_BY_UPSTREAM
        self.close(outcome)

    def close(self, outcome: str) -> None:
        """End it at once: both sides are reset."""
        self.finish(outcome, reset=True)

    def finish(self, outcome: str, reset: bool = False) -> None:
        """Close both sides, and say so."""
        owner, self.owner = self.owner, None
        if owner is None:
            return
        self.client.close(reset)
        self.upstream.close(reset)
        self.path.wheel.remove(self)
        owner.finish(outcome)
        # No cycle is left behind: what is finished goes at once, and not with the collector.
        self.client.let_go()
        self.upstream.let_go()

    def progress(self) -> int:
        """For the wheel: grows with each octet that comes, goes, or is taken by a slow reader."""
        unsent = unsent_octets(self.client.descriptor) + unsent_octets(self.upstream.descriptor)
        return 2 * (self.client.octets + self.upstream.octets) + self.flushed - unsent

    def expire(self) -> None:
        """For the wheel."""
        self.close(
            errors.OUTCOME_HALF_CLOSED_TIMEOUT if self._is_half_closed else errors.OUTCOME_IDLE_TIMEOUT
        )
