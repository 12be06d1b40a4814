"""The sessions of one listener: begun, counted, bounded, ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pmmux import errors
from pmmux.datagrams.admission import Admission, can_be_answered
from pmmux.datagrams.announced import AnnouncedSessions, Arrival
from pmmux.datagrams.connection_ids import ConnectionIDs
from pmmux.datagrams.idle import IdleQueue
from pmmux.datagrams.options import SessionLimits
from pmmux.datagrams.preview import DatagramPreview
from pmmux.datagrams.routing import Routing
from pmmux.datagrams.services import DatagramServices
from pmmux.datagrams.session import DatagramSession
from pmmux.errors import OUTCOME_EVICTED, OUTCOME_LISTENER_CLOSED, OUTCOME_SOURCE_REFUSED, RouteError
from pmmux.members import Member
from pmmux.model import NO_PROPERTIES, Address, Client, Properties, RouteTrace
from pmmux.negotiators.proxy_protocol import ProxyProtocolPolicy
from pmmux.transport.datagram_ports import Counts, DatagramPort, Name

# What all undecided sessions of a listener may hold together.
HELD_LIMIT_OCTETS = 4 << 20
# A session that drains counts as ended when nothing moved for so long.
DRAIN_QUIET_SECONDS = 1.0


class SessionTable:
    """
    See the module.

    @ivar sessions: those that are open, by their identifiers.
    @ivar counts: what came in by this listener.
    @ivar refused_datagrams: how many began no session, since the process began.
    """

    def __init__(
        self,
        services: DatagramServices,
        listener: str,
        limits: SessionLimits,
        policy: ProxyProtocolPolicy | None = None,
    ) -> None:
        """@param policy: what becomes of PROXY headers; C{None} where nobody looks for them."""
        self.clock = services.clock
        self.sessions: dict[int, DatagramSession] = {}
        self.counts = Counts()
        self.refused_datagrams = 0
        self._services = services
        self._listener = listener
        self._limits = limits
        self._admission = Admission(services.clock, limits, services.upstream_hosts)
        self._announced = None if policy is None else AnnouncedSessions(policy)
        self._routing = Routing(services, self)
        # Those that the upstream has not answered, and those whose client has not answered back:
        # what room is made of, the oldest first.
        self._unanswered: OrderedDict[DatagramSession, None] = OrderedDict()
        self._unconfirmed: OrderedDict[DatagramSession, None] = OrderedDict()
        # What each undecided session holds, in octets.
        self._waiting: OrderedDict[DatagramSession, int] = OrderedDict()
        self._held_octets = 0
        self._connection_ids = ConnectionIDs()
        # By client and backend, where each datagram is routed anew.
        self._exchanges: dict[tuple[DatagramPort, Name, Client, Member], DatagramSession] = {}
        self._own: set[tuple[str, int]] = set()
        self._counted = (0, 0)
        self._emptied: Callable[[], None] | None = None
        self._closing = False
        self._quiet = IdleQueue(services.clock, DRAIN_QUIET_SECONDS)
        self._by_backend: dict[str, tuple[Any, Any]] = {}

    # What ports call.

    def arrived(self, port: DatagramPort, name: Name, octets: bytes) -> None:
        """A datagram that belongs to no session, to C{port}, from C{name}."""
        services = self._services
        host, number = source = port.source_of(name)
        ours = (port.address.host, port.address.port)
        if ours not in self._own:
            self._own.add(ours)
            services.own_names.add(ours)
        if not can_be_answered(host, number) or source in services.own_names:
            self._drop(OUTCOME_SOURCE_REFUSED)
            return
        remote = Address(host, number, "ipv6" if ":" in host else "ipv4")
        arrival = Arrival(Client("udp", remote, port.address), NO_PROPERTIES, octets)
        if self._announced is not None:
            try:
                known, arrival = self._announced.read(port, name, arrival.client, octets)
            except RouteError as refused:
                self.refused(self._make(port, name, arrival), refused)
                return
            if known is not None and not self._limits.is_by_message:
                _pass_on(known, arrival.octets)
                return
            if _source_of(arrival.client) in services.own_names:
                self._drop(OUTCOME_SOURCE_REFUSED)
                return
        self._begin(port, name, arrival)

    def _begin(self, port: DatagramPort, name: Name, arrival: Arrival) -> None:
        octets = arrival.octets
        if self._closing:
            self._drop(OUTCOME_SOURCE_REFUSED)
            return
        is_by_message = self._limits.is_by_message
        beginning = self._admission.beginning(arrival.client.remote.host, octets)
        if not is_by_message and not self._has_room_for(port, arrival.client, beginning):
            return
        session = self._make(port, name, arrival)
        session.beginning = beginning
        preview = DatagramPreview(octets, self._limits.preview_octets)
        session.take(octets)
        session.hold(preview)
        if is_by_message:
            preview.finish()
        else:
            session.follows = self._connection_ids.find(octets)
            self._insert(session)
            if self._announced is not None and self._announced.are_for(port.source_of(name)[0]):
                self._announced.add(session)
            else:
                port.sessions[name] = session
        self._routing.begin(session)

    def _make(self, port: DatagramPort, name: Name, arrival: Arrival) -> DatagramSession:
        identifier = next(self._services.identifiers)
        return DatagramSession(
            self, identifier, self._listener, port, name, arrival.client, arrival.properties
        )

    # What sessions call.

    def hold(self, session: DatagramSession, datagram: bytes) -> bool:
        """Hold what arrived while C{session} is undecided. @return: whether there was room."""
        assert session.preview is not None
        if not session.preview.feed(datagram):
            return False
        if session in self._waiting:
            self._waiting[session] += len(datagram)
            self._held_octets += len(datagram)
            self._bound_held()
        return True

    def route_again(self, session: DatagramSession, datagram: bytes) -> None:
        """The upstream of C{session} failed before: find the way for C{datagram} anew."""
        # What was found before is of no use, and must not add up while an upstream stays away.
        session.trace, session.properties = RouteTrace(), Properties(session.announced)
        session.hold(DatagramPreview(datagram, self._limits.preview_octets))
        self._routing.begin(session)

    def replied(self, session: DatagramSession) -> None:
        """The upstream answered C{session} for the first time."""
        if session.member is not None:
            self._services.answered(session.member)
        if session.beginning is not None:
            self._admission.answered(session.beginning)
            session.beginning = None
        if session in self._unanswered:
            del self._unanswered[session]
            self._unconfirmed[session] = None

    def confirmed(self, session: DatagramSession) -> None:
        """The client of C{session} receives what it is sent: the session is established."""
        self._unanswered.pop(session, None)
        self._unconfirmed.pop(session, None)

    def known_by(self, session: DatagramSession, identifiers: set[bytes]) -> None:
        """C{session} is established, and its client may be known by C{identifiers} from now on."""
        for identifier in identifiers:
            self._connection_ids.add(identifier, session)

    def upstream_failed(self, session: DatagramSession, reason: str) -> None:
        """The upstream of C{session} is not there."""
        member = session.member
        assert member is not None
        self.report(session)
        self._services.failed(member, reason)
        if session.trace.attempts:
            session.trace.attempts[-1].error = reason
        if self._limits.is_by_message:
            self.finish(session, errors.OUTCOME_CONNECT_FAILED)
            return
        session.excluded.add(member.name)
        self._release_upstream(session)
        session.member = None

    def report(self, session: DatagramSession) -> None:
        """Count into the metrics what moved since the last time."""
        services = self._services
        self._report_counts()
        datagrams, octets = session.datagrams_from_client, session.octets_from_client
        seen_datagrams, seen_octets, seen_replied = session.reported
        session.reported = (datagrams, octets, session.octets_from_upstream)
        services.ingress.add(octets - seen_octets)
        services.egress.add(session.octets_from_upstream - seen_replied)
        member = session.member
        if member is not None:
            services.routed.add(datagrams - seen_datagrams)
            counters = self._by_backend.get(member.name)
            if counters is None:
                counter = services.reporter.counter
                counters = self._by_backend[member.name] = (
                    counter("backend.message.accepted", backend=member.name),
                    counter("backend.message.bytes", backend=member.name),
                )
            counters[0].add(datagrams - seen_datagrams)
            counters[1].add(octets - seen_octets)

    def expired(self, session: DatagramSession) -> None:
        """C{session} was silent for too long."""
        self.finish(session, errors.OUTCOME_IDLE_TIMEOUT)

    # What the routing calls.

    def waits(self, session: DatagramSession) -> None:
        """C{session} could not be decided at once."""
        assert session.preview is not None
        self._waiting[session] = session.preview.size
        self._held_octets += session.preview.size
        self._bound_held()

    def waits_no_more(self, session: DatagramSession) -> None:
        """It is decided, one way or the other."""
        self._held_octets -= self._waiting.pop(session, 0)

    def may_open(self, session: DatagramSession, member: Member) -> bool:
        """
        Whether C{session} is to open an upstream at C{member}. Where each datagram is routed anew,
        there may be one already, and then C{session} was only its way there.
        """
        if not self._limits.is_by_message:
            return True
        assert session.preview is not None
        key = (session.port, session.name, session.client, member)
        known = self._exchanges.get(key)
        octets = session.preview.octets
        if known is None:
            if not self._has_room_for(session.port, session.client, session.beginning):
                return False
            self._exchanges[key] = session
            self._insert(session)
            return True
        _pass_on(known, octets)
        return False

    def routed(self, session: DatagramSession, member: Member, upstream: Any) -> None:
        """C{session} has an upstream."""
        self._services.router.opened(member)
        if upstream.address is not None:
            self._services.upstream_hosts[upstream.address.host] += 1
        name = getattr(upstream, "local_name", None)
        if name is not None:
            session.upstream_name = name[:2]
            self._services.own_names.add(name[:2])

    def refused(self, session: DatagramSession, refused: RouteError) -> None:
        """C{session} was not routed: silence."""
        if session.ended:
            return
        session.trace.detail = refused.detail
        self._services.reporter.count("router.message.failed", outcome=refused.outcome)
        self.finish(session, refused.outcome)

    # What ends sessions.

    def finish(self, session: DatagramSession, outcome: str) -> None:
        """End C{session}; idempotent."""
        if session.ended:
            return
        services = self._services
        session.trace.outcome = outcome
        self.report(session)
        if session.deferred is not None:
            session.ended = True
            session.deferred.cancel()
        self._release_upstream(session)
        session.end()
        if session.port.sessions.get(session.name) is session:
            del session.port.sessions[session.name]
        if self._announced is not None:
            self._announced.discard(session)
        self._unanswered.pop(session, None)
        self._unconfirmed.pop(session, None)
        if session.server_ids is not None:
            self._connection_ids.discard(session.server_ids.seen, session)
        services.idle.discard(session)
        self._quiet.discard(session)
        if self.sessions.pop(session.identifier, None) is not None:
            self._admission.closed(session.client.remote.host)
        services.finished(session, outcome)
        if self._emptied is not None and not self.sessions:
            emptied, self._emptied = self._emptied, None
            emptied()

    def drain(self, emptied: Callable[[], None]) -> None:
        """Begin no more sessions, and call C{emptied} when those that are open have fallen silent."""
        self._closing = True
        if not self.sessions:
            emptied()
            return
        self._emptied = emptied
        for session in self.sessions.values():
            self._quiet.add(session)

    def close(self, outcome: str = OUTCOME_LISTENER_CLOSED) -> None:
        """End every session at once, with C{outcome}."""
        self._closing = True
        for session in tuple(self.sessions.values()):
            self.finish(session, outcome)
        self._services.own_names -= self._own
        self._own.clear()

    def _insert(self, session: DatagramSession) -> None:
        self.sessions[session.identifier] = session
        self._unanswered[session] = None
        self._admission.opened(session.client.remote.host)
        self._services.idle.add(session)

    def _has_room_for(self, port: DatagramPort, client: Client, beginning: Any) -> bool:
        host = client.remote.host
        if self._services.is_listed_out(self._listener, host) or self._admission.refusal(
            host, beginning, port.address.host
        ):
            self._drop(errors.OUTCOME_LIMIT_REACHED)
            return False
        if len(self.sessions) >= self._limits.most:
            candidates = self._unanswered or self._unconfirmed
            if not candidates:
                self._drop(errors.OUTCOME_LIMIT_REACHED)
                return False
            self.finish(next(iter(candidates)), OUTCOME_EVICTED)
        return True

    def _bound_held(self) -> None:
        while self._held_octets > HELD_LIMIT_OCTETS or len(self._waiting) > self._limits.most:
            self.finish(next(iter(self._waiting)), OUTCOME_EVICTED)

    def _drop(self, outcome: str) -> None:
        self.refused_datagrams += 1
        self._services.reporter.count("router.message.failed", outcome=outcome)
        self._report_counts()

    def _release_upstream(self, session: DatagramSession) -> None:
        if session.upstream is None or session.member is None:
            return
        address = session.upstream.address
        if address is not None:
            self._services.upstream_hosts[address.host] -= 1
            if not self._services.upstream_hosts[address.host]:
                del self._services.upstream_hosts[address.host]
        session.close_upstream()
        if session.upstream_name is not None:
            self._services.own_names.discard(session.upstream_name)
        self._exchanges.pop((session.port, session.name, session.client, session.member), None)
        self._services.router.closed(session.member)

    def _report_counts(self) -> None:
        counts = self.counts
        datagrams, octets = self._counted
        self._counted = (counts.datagrams, counts.octets)
        self._services.total.add(counts.datagrams - datagrams)
        self._services.octets.add(counts.octets - octets)


def _pass_on(session: DatagramSession, octets: bytes) -> None:
    session.take(octets)
    try:
        session.send(octets)
    except OSError as error:
        session.send_failed(error, memoryview(octets))


def _source_of(client: Client) -> tuple[str, int]:
    return client.remote.host, client.remote.port
