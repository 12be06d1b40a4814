"""
One connection whose TLS is terminated in the express lane: its handshake on the bare socket, until it is
routed or taken over by the general way.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pmmux.connection import Connection
from pmmux.errors import OUTCOME_CLIENT_GONE, OUTCOME_INTERNAL_ERROR, OUTCOME_NEGOTIATION_FAILED, RouteError
from pmmux.express import Arrival, ExpressTrace
from pmmux.model import Properties, RouteTrace
from pmmux.negotiators.tls import TLSNegotiator, describe_terminated, refuse_handshake
from pmmux.preview import Preview, PreviewTransport
from pmmux.tls.faults import explain
from pmmux.tls.stream import TLSStream
from pmmux.transport.poller import OUT, READ_HANG_UP, READING_AND_WRITING
from pmmux.transport.sealing import BROKEN, DRY, ENDED
from pmmux.transport.timeouts import Timeout, TimeoutQueue
from pmmux.wire.tls import ClientHello

if TYPE_CHECKING:
    from pmmux.terminating import TerminatingLane

# Plain numbers: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class TerminatedTrace:
    """As L{ExpressTrace}, with what was negotiated."""

    __slots__ = ("_negotiated", "_trace")

    def __init__(self, trace: ExpressTrace, negotiated: tuple[str, str]) -> None:
        self._trace = trace
        self._negotiated = negotiated

    def expand(self) -> RouteTrace:
        """The trace as any other."""
        trace = self._trace.expand()
        trace.negotiators.append(self._negotiated)
        return trace


class Terminated:
    """
    One connection in the lane, from its ClientHello on, as the poller's and the arrival's owner.

    @ivar connection: OpenSSL's.
    @ivar holds_more: whether it, or the socket, may have octets that were not told of.
    @ivar refused: why it is to be ended, where it is.
    """

    __slots__ = (
        "_arrival",
        "_hello",
        "_is_open",
        "_lane",
        "_queue",
        "_timeout",
        "_unsent",
        "connection",
        "holds_more",
        "refused",
    )

    def __init__(
        self, lane: TerminatingLane, arrival: Arrival, hello: ClientHello, context: SSL.Context
    ) -> None:
        self._lane = lane
        self._arrival = arrival
        self._hello = hello
        self._is_open = False
        self._queue: TimeoutQueue | None = None
        self._timeout: Timeout | None = None
        self._unsent = b""
        self.connection: Any = SSL.Connection(context)
        self.connection.set_accept_state()
        self.holds_more = False
        self.refused: RouteError | None = None

    # What the poller calls.

    def ready(self, events: int) -> None:
        """Go on with what has come."""
        if events & OUT and self._unsent:
            self._send(b"")
        if not events & ~OUT:
            return
        lane = self._lane
        size = lane.piece_octets
        try:
            count = self._arrival.sock.recv_into(lane.sealing.buffer.octets, size, _RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self.holds_more = events & READ_HANG_UP != 0 or count == size
            lane.sealing.feed_read(self.connection, count)
            self._go_on()
        elif self._is_open:
            # The general way meets the same end.
            self._leave(Preview(self._lane.preview_limit_octets))
        else:
            self._refuse(OUTCOME_CLIENT_GONE, "the client closed during the TLS handshake")

    def broken(self) -> None:
        """L{ready} raised."""
        self._refuse(OUTCOME_INTERNAL_ERROR, "")

    # What the arrival calls.

    def hear(self, arrival: Arrival, octets: bytes) -> None:
        """It is this that the poller tells."""

    def give_up(self, arrival: Arrival) -> None:
        """It is to be closed."""
        self._refuse(arrival.closed_with, "")

    def begin(self, octets: bytes) -> None:
        """Go on with C{octets}, the ClientHello."""
        self._lane.sealing.feed(self.connection, octets)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_open or self._shake():
            self._hear_plaintext()

    def _shake(self) -> bool:
        try:
            is_complete = self._lane.sealing.shake(self.connection)
        except Exception as error:  # OpenSSL's, and what callbacks raised in it
            # The alert that says why.
            self._flush()
            self._end(refuse_handshake(explain(error)))
            return False
        if not is_complete:
            self._flush()
            self._wait(self._lane.full_services.negotiation_timeouts)
            return False
        self._is_open = True
        self._stop_waiting()
        lane = self._lane
        lane.full_services.negotiation_duration.observe(lane.seconds() - self._arrival.opened_at)
        return True

    def _hear_plaintext(self) -> None:
        lane = self._lane
        sealing = lane.sealing
        size, why = sealing.open(self.connection, lane.record_octets)
        if not size and why in (ENDED, BROKEN):
            # The general way meets the same.
            self._leave(Preview(lane.preview_limit_octets))
            return
        if why != DRY:
            self.holds_more = True
        octets = bytes(sealing.buffer.view[:size])
        if not octets or self.connection.get_protocol_version() != SSL.TLS1_3_VERSION:
            self._flush()
        # Else the tickets go out with the first answer.
        preview = Preview(lane.preview_limit_octets)
        if octets:
            preview.feed(octets)
        self._stop_waiting()
        properties = Properties()
        describe_terminated(properties, self.connection, self._hello)
        if lane.route(self._arrival, preview, properties, self):
            self._let_go()
            return
        if octets or not lane.must_hear_first():
            self._leave(preview)
        else:
            self._wait(lane.first_octet_timeouts)

    # Waiting.

    def _wait(self, queue: TimeoutQueue) -> None:
        if self._timeout is None:
            self._queue = queue
            self._timeout = queue.add(self._expire)
        self._lane.watch(self._arrival, self)

    def _stop_waiting(self) -> None:
        timeout, self._timeout = self._timeout, None
        if timeout is not None and self._queue is not None:
            self._queue.cancel(timeout)

    def _expire(self) -> None:
        self._timeout = None
        if not self._is_open:
            self._refuse(OUTCOME_NEGOTIATION_FAILED, "it took too long")
            return
        preview = Preview(self._lane.preview_limit_octets)
        preview.finish()
        self._leave(preview)

    # Writing.

    def _flush(self) -> None:
        octets = self._lane.sealing.take(self.connection)
        if octets:
            self._send(octets)

    def _send(self, octets: Any) -> None:
        if self._unsent:
            octets = self._unsent + octets
        try:
            sent = self._arrival.sock.send(octets, _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Reading meets it too.
            sent = len(octets)
        self._unsent = bytes(octets[sent:])
        if self._unsent:
            self._lane.watch(self._arrival, self)
            self._lane.poller.again(self._arrival.sock.fileno(), READING_AND_WRITING)

    # Leaving the lane.

    def _refuse(self, outcome: str, detail: str) -> None:
        self._end(RouteError(outcome, detail))

    def _end(self, refused: RouteError) -> None:
        self.refused = refused
        self._leave(Preview(self._lane.preview_limit_octets))

    def _leave(self, preview: Preview) -> None:
        self._stop_waiting()
        self._let_go()
        self._lane.adopt(self._arrival, preview, self)

    def _let_go(self) -> None:
        # No cycle is left behind: OpenSSL's memory is not to wait for the collector.
        self._arrival.lane = self._lane

    def trace_of(self, trace: ExpressTrace) -> TerminatedTrace:
        """C{trace}, with what was negotiated."""
        return TerminatedTrace(trace, self._negotiated())

    def _negotiated(self) -> tuple[str, str]:
        return TLSNegotiator.name, f"terminated for {self._hello.server_name or 'no name'}"

    def describe(self, connection: Connection) -> None:
        """Tell the general way what is known."""
        if self.refused is None:
            describe_terminated(connection.properties, connection.stream.transport.seal, self._hello)
            connection.trace.negotiators.append(self._negotiated())

    def lay_under(self, stream: PreviewTransport) -> PreviewTransport:
        """Let C{stream} be that of the plaintext. @return: that of the rest."""
        if self.refused is not None:
            return stream

        def opened(below: PreviewTransport) -> None:
            unsent, self._unsent = self._unsent, b""
            secured, self.connection = TLSStream(self.connection, below), None
            secured.adopt(unsent).connect(stream)

        return PreviewTransport(stream.preview.limit_octets, opened)
