"""
The relay of the fast path: two sockets in the poller, each with what L{FlowEnd} does for it, and what
is true of both.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from pmmux import errors
from pmmux.transport.flow_end import SEND, UNKNOWN, FlowEnd
from pmmux.transport.interfaces import IRelay
from pmmux.transport.poller import READING, READING_AND_WRITING
from pmmux.transport.unsent import unsent_octets

if TYPE_CHECKING:
    from pmmux.transport.fast import FastDataPath


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
                sent = other.sock.send(octets, SEND)
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
