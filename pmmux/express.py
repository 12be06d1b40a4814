"""
The express lane: connections that their first octets decide, routed in one pass without a coroutine.

It decides with the same router, index and conditions as L{pmmux.course.Course}, and leaves to that
whatever it cannot finish at once: undecided octets, other negotiators, upstreams that take time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from pmmux.conditions import HOST_PROPERTY, SNI_PROPERTY
from pmmux.course_services import CourseServices
from pmmux.inspection import Inspection
from pmmux.members import Member
from pmmux.metrics.catalogue import BACKEND_CONNECT_DURATION
from pmmux.model import Address, Attempt, Client, Properties, RouteTrace, Step, match
from pmmux.negotiators.socket import SocketNegotiator
from pmmux.preview import Preview
from pmmux.probes import tls
from pmmux.probes.hello import HelloProperties
from pmmux.session import Session
from pmmux.transport.timeouts import Timeout
from pmmux.wire.tls import RECORD_HANDSHAKE, ClientHello, read_client_hello

FIRST_READ_OCTETS = 65536
# A plain number: an enumeration is converted at each call.
_RECEIVE = int(socket.MSG_DONTWAIT)
_HELLO_START = bytes((RECORD_HANDSHAKE,))


class ExpressTrace:
    """What a L{RouteTrace} of the lane can be made from, when somebody asks."""

    __slots__ = ("chosen", "octets", "refused", "strategy")

    def __init__(self, strategy: str, refused: tuple[Member, ...], chosen: Member, octets: int) -> None:
        self.strategy = strategy
        self.refused = refused
        self.chosen = chosen
        self.octets = octets

    def expand(self) -> RouteTrace:
        """The trace as any other."""
        steps = [Step(member.name, "no match", "", self.octets) for member in self.refused]
        steps.append(Step(self.chosen.name, "match", "", self.octets))
        return RouteTrace(
            steps=steps,
            attempts=[Attempt(self.chosen.name, self.chosen.backend.target)],
            strategy=self.strategy,
            chosen=self.chosen.name,
            outcome="routed",
        )


class ArrivalOwner(Protocol):
    """What an arrival is told to."""

    def hear(self, arrival: Arrival, octets: bytes) -> None:
        """It has said C{octets}, or has ended."""

    def give_up(self, arrival: Arrival) -> None:
        """It is waited for no longer."""


class Secured(Protocol):
    """
    A connection whose TLS was terminated.

    @ivar connection: OpenSSL's.
    @ivar holds_more: whether it, or the socket, may have more of the plaintext.
    """

    connection: Any
    holds_more: bool

    def trace_of(self, trace: ExpressTrace) -> Any:
        """C{trace}, with what was negotiated."""


class Arrival:
    """
    A connection that was accepted and not yet routed. As long as it has said nothing, and nothing can
    be decided before it does, this and its socket are all there is of it.

    @ivar is_registered: whether the poller knows the socket.
    @ivar timeout: until when it is waited for, while it is.
    @ivar lane: who waits for it.
    @ivar closed_with: the outcome it was closed with; empty where it was not.
    """

    __slots__ = (
        "client",
        "closed_with",
        "identifier",
        "is_registered",
        "lane",
        "listener",
        "opened_at",
        "sock",
        "timeout",
    )

    lane: ArrivalOwner

    def __init__(self, sock: Any, client: Client, listener: str, identifier: int, opened_at: float) -> None:
        self.sock = sock
        self.client = client
        self.listener = listener
        self.identifier = identifier
        self.opened_at = opened_at
        self.is_registered = False
        self.timeout: Timeout | None = None
        self.closed_with = ""

    def ready(self, events: int) -> None:
        """For the poller: it has said something, or has ended."""
        try:
            octets = self.sock.recv(FIRST_READ_OCTETS, _RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        self.lane.hear(self, octets)

    def broken(self) -> None:
        """For the poller: what it became reports it."""

    def expire(self) -> None:
        """For the time-out."""
        self.timeout = None
        self.lane.give_up(self)

    def close(self, outcome: str) -> None:
        """It is not waited for any longer: the general way ends it."""
        self.closed_with = outcome
        self.lane.give_up(self)


class ExpressLane:
    """
    One for each multiplexer.

    @ivar general: takes what the lane leaves to it: C{general(arrival, preview)}.
    """

    def __init__(
        self,
        services: CourseServices,
        data_path: Any,
        preview_limit_octets: int,
        general: Callable[[Arrival, Preview], None],
        waiting: Callable[[Arrival], None],
    ) -> None:
        """
        @param data_path: the L{pmmux.transport.fast.FastDataPath}
        @param waiting: called with each arrival that has to be waited for.
        """
        self._services = services
        self.poller = data_path.poller
        self._data_path = data_path
        self._preview_limit_octets = preview_limit_octets
        self._general = general
        self._waiting = waiting
        self._connect_durations = services.reporter.durations(BACKEND_CONNECT_DURATION, "backend")
        self._seconds: Callable[[], float] = services.clock.seconds
        # Where nothing but the hello tells the name in it, the hello need not be looked at as a probe does.
        self._reads_names = (
            services.catalogue.providers_of(SNI_PROPERTY) == (tls.probe.name,)
            and services.catalogue.probes[tls.probe.name] is tls.probe
            and all(isinstance(each, SocketNegotiator) for each in services.negotiators)
        )

    def take(self, arrival: Arrival) -> None:
        """Route a connection that was just accepted, now or when it has said something."""
        try:
            octets = arrival.sock.recv(FIRST_READ_OCTETS, _RECEIVE)
        except BlockingIOError:
            if self._services.must_hear_first():
                self._wait(arrival)
            else:
                self._general(arrival, Preview(self._preview_limit_octets))
            return
        except OSError:
            # The general way meets the same error, and reports it.
            octets = b""
        self.hear(arrival, octets)

    def hear(self, arrival: Arrival, octets: bytes) -> None:
        """Go on with an arrival whose first octets are there; none where it has ended."""
        hello = self._read_hello(octets) if octets[:1] == _HELLO_START else None
        member: Member | None = None
        if hello is not None and hello.server_name is not None:
            refused: list[Member] = []
            member = self._services.router.select_named(hello.server_name, refused)
            if member is not None and self._set_out(
                arrival, octets, member, refused, tls.probe.name, hello.server_name, "", None
            ):
                return
        preview = Preview(self._preview_limit_octets)
        if octets:
            preview.feed(octets)
            # What could not be set out on is not tried again.
            if member is None and self._route(arrival, preview, hello=hello):
                return
        self._general(arrival, preview)

    def give_up(self, arrival: Arrival) -> None:
        """Nothing came within the time there is for it: silence decides."""
        preview = Preview(self._preview_limit_octets)
        if not arrival.closed_with:
            preview.finish()
        self._general(arrival, preview)

    def _wait(self, arrival: Arrival) -> None:
        arrival.lane = self
        arrival.timeout = self._services.first_octet_timeouts.add(arrival.expire)
        arrival.is_registered = True
        self._waiting(arrival)
        self._data_path.poller.add(arrival.sock.fileno(), arrival)

    def _read_hello(self, octets: bytes) -> ClientHello | None:
        """The ClientHello, where it is whole and the name in it may be all that decides."""
        if (
            not self._reads_names
            or len(octets) > self._preview_limit_octets
            or not self._services.router.asks_names_first()
        ):
            return None
        found = read_client_hello(octets)
        return found if isinstance(found, ClientHello) else None

    def _route(
        self,
        arrival: Arrival,
        preview: Preview,
        properties: Properties | None = None,
        secured: Secured | None = None,
        hello: ClientHello | None = None,
    ) -> bool:
        """
        @param properties: what has been found before.
        @param secured: where TLS was terminated.
        @param hello: what C{preview} has, where it was read.
        @return: C{False} where the general way has to.
        """
        services = self._services
        client = arrival.client
        if properties is None:
            properties = Properties()
        for annotate in services.annotators:
            annotate(properties, client, arrival.listener)
        inspection = Inspection(client, properties, preview, services.catalogue)
        if hello is not None:
            inspection.adopt(tls.probe.name, match(HelloProperties(hello)))
        refused: list[Member] = []
        member = services.router.select_now(inspection, refused)
        if member is None:
            return False
        detected = inspection.detected()
        is_tls = detected == "tls" or secured is not None
        server_name = properties.get(SNI_PROPERTY, "") if is_tls else ""
        host = properties.get(HOST_PROPERTY, "") if detected == "http" else ""
        octets = preview.take()
        if self._set_out(arrival, octets, member, refused, detected, server_name, host, secured):
            return True
        preview.feed(octets)
        return False

    def _set_out(
        self,
        arrival: Arrival,
        octets: bytes,
        member: Member,
        refused: list[Member],
        detected: str | None,
        server_name: str,
        host: str,
        secured: Secured | None,
    ) -> bool:
        """
        Connect to C{member}'s upstream and relay.

        @return: C{False} where the general way has to; nothing has happened then.
        """
        target: Address | None = member.express_target
        if target is None:
            return False
        chosen_at = self._seconds()
        connected = self._data_path.connect_now(target, octets)
        if connected is None:
            return False
        self._connect_durations[member.name].observe(self._seconds() - chosen_at)
        upstream, sent = connected
        services = self._services
        router = services.router
        trace = ExpressTrace(router.strategy.name, tuple(refused), member, len(octets))
        session = Session(
            services,
            arrival.identifier,
            arrival.listener,
            arrival.client,
            arrival.opened_at,
            member,
            member.backend.target,
            detected,
            server_name,
            host,
            trace if secured is None else secured.trace_of(trace),
        )
        if services.monitor.is_observing:
            services.monitor.connected(member)
        router.opened(member)
        services.total.value += 1
        services.routed.value += 1
        services.selection_duration.observe(chosen_at - arrival.opened_at)
        services.taken_up(session)
        if arrival.timeout is not None:
            services.first_octet_timeouts.cancel(arrival.timeout)
        if secured is None:
            self._data_path.relay_now(arrival.sock, arrival.is_registered, upstream, octets, sent, session)
        else:
            self._data_path.relay_sealed_now(
                arrival.sock,
                arrival.is_registered,
                secured.connection,
                secured.holds_more,
                upstream,
                octets,
                sent,
                session,
            )
        return True
