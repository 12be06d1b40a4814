"""
The express lane of listeners that terminate TLS: handshake, decision and relay on the bare socket, without
a coroutine, a Deferred or a layer of transports.

What it cannot finish at once, it leaves to the general way as it stands: undecided plaintext, slow
upstreams, ClientHellos in pieces, faults.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from pmmux.course_services import CourseServices
from pmmux.express import FIRST_READ_OCTETS, Arrival, ExpressLane
from pmmux.model import Properties
from pmmux.negotiators.tls import Terminating, TLSNegotiator
from pmmux.preview import Preview
from pmmux.terminated import Terminated
from pmmux.transport.poller import READING
from pmmux.transport.sealing import RECORD_OCTETS
from pmmux.wire.tls import ClientHello, read_client_hello

# A plain number: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)


class TerminatingLane(ExpressLane):
    """
    One for each listener that terminates TLS.

    @ivar full_services: those of the whole chain.
    @ivar adopt: takes what the lane cannot finish: C{adopt(arrival, preview, terminated)}, with what has
        come of the plaintext.
    """

    def __init__(
        self,
        full_services: CourseServices,
        services: CourseServices,
        data_path: Any,
        preview_limit_octets: int,
        general: Callable[[Arrival, Preview], None],
        waiting: Callable[[Arrival], None],
        adopt: Callable[[Arrival, Preview, Terminated], None],
        terminating: Terminating,
    ) -> None:
        """
        @param services: the same without TLS.
        @param general: takes what has not begun to shake hands.
        """
        super().__init__(services, data_path, preview_limit_octets, general, waiting)
        self.full_services = full_services
        self.adopt = adopt
        self.preview_limit_octets = preview_limit_octets
        self.seconds: Callable[[], float] = services.clock.seconds
        self.must_hear_first = services.must_hear_first
        self.first_octet_timeouts = services.first_octet_timeouts
        self.route = self._route
        self.sealing = data_path.sealing
        self.piece_octets: int = data_path.piece_octets
        self.record_octets = min(RECORD_OCTETS, self.piece_octets)
        self._terminating = terminating
        # Where the chain has less time than silence, silence is waited for in the chain.
        bounds = full_services.settings
        self._may_wait = bounds.detect_seconds <= bounds.negotiation_seconds

    def take(self, arrival: Arrival) -> None:
        """As of L{ExpressLane}."""
        try:
            octets = arrival.sock.recv(FIRST_READ_OCTETS, _RECEIVE)
        except BlockingIOError:
            if self._may_wait:
                self._wait(arrival)
            else:
                self._general(arrival, Preview(self.preview_limit_octets))
            return
        except OSError:
            octets = b""
        self.hear(arrival, octets)

    def _wait(self, arrival: Arrival) -> None:
        arrival.lane = self
        arrival.timeout = self._terminating.silence.add(arrival.expire)
        arrival.is_registered = True
        self._waiting(arrival)
        self.poller.add(arrival.sock.fileno(), arrival)

    def _stop_waiting(self, arrival: Arrival) -> None:
        # The general way is not to go on with a time-out of another queue.
        timeout, arrival.timeout = arrival.timeout, None
        if timeout is not None:
            self._terminating.silence.cancel(timeout)

    def watch(self, arrival: Arrival, terminated: Terminated) -> None:
        """Let the poller tell C{terminated}."""
        if arrival.lane is terminated:
            return
        arrival.lane = terminated
        descriptor = arrival.sock.fileno()
        if arrival.is_registered:
            self.poller.give(descriptor, terminated)
        else:
            arrival.is_registered = True
            self._waiting(arrival)
            self.poller.add(descriptor, terminated, READING)

    def hear(self, arrival: Arrival, octets: bytes) -> None:
        """As of L{ExpressLane}."""
        self._stop_waiting(arrival)
        preview = Preview(self.preview_limit_octets)
        if not octets:
            self._general(arrival, preview)
            return
        preview.feed(octets)
        found = read_client_hello(preview.octets)
        if isinstance(found, ClientHello):
            context = self._terminating.choose(found, octets)
            if context is not None:
                arrival.lane = self
                Terminated(self, arrival, found, context).begin(octets)
                return
        elif found is not None or self._terminating.requires:
            self._general(arrival, preview)
            return
        if not self._route(arrival, preview, Properties({"tls.terminated": "false"})):
            self._general(arrival, preview)

    def give_up(self, arrival: Arrival) -> None:
        """As of L{ExpressLane}."""
        self._stop_waiting(arrival)
        super().give_up(arrival)


def make_lane(
    services: CourseServices,
    data_path: Any,
    preview_limit_octets: int,
    general: Callable[[Arrival, Preview], None],
    waiting: Callable[[Arrival], None],
    begin: Callable[[Arrival, Preview, CourseServices, Terminated], None],
) -> TerminatingLane | None:
    """
    The lane for the chain of C{services}; C{None} where that does more than terminate TLS and annotate.

    @param general: takes what has not begun to shake hands; see L{ExpressLane} for the others.
    @param begin: takes what has, with what is left to be done.
    """
    terminating = None
    others = []
    for negotiator, annotate in zip(services.negotiators, services.annotators, strict=True):
        if annotate is not None:
            others.append(negotiator)
        elif isinstance(negotiator, TLSNegotiator) and terminating is None:
            terminating = negotiator.terminating
        else:
            return None
    if terminating is None:
        return None
    plain = services.with_negotiators(others)
    return TerminatingLane(
        services,
        plain,
        data_path,
        preview_limit_octets,
        general,
        waiting,
        lambda arrival, preview, terminated: begin(arrival, preview, plain, terminated),
        terminating,
    )
