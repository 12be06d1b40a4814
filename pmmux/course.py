"""
One connection's course: negotiated, routed, connected. The coroutine is the state machine; where the
octets flow between two sockets a L{Session} takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pmmux import errors
from pmmux.access import AccessRecord, peer_of
from pmmux.connection import Connection
from pmmux.coroutines import start
from pmmux.course_services import CourseServices
from pmmux.course_timing import TimedCourse, selection_timeout
from pmmux.errors import RouteError, UpstreamError
from pmmux.inspection import Inspection
from pmmux.members import Member
from pmmux.metrics.catalogue import BACKEND_CONNECT_DURATION
from pmmux.model import Attempt, Step
from pmmux.session import Session
from pmmux.transport.timeouts import Timeout

CLIENT_GONE_DETAIL = "the client closed before it was routed"


class Course(TimedCourse):
    """
    One connection on its way.

    @ivar detected: the protocol found; C{None} where none was asked for or found.
    @ivar member: the backend it was routed to.
    """

    log = Logger()

    __slots__ = (
        "_awaits_room",
        "_ended",
        "_is_watched",
        "detected",
        "member",
        "watch",
    )

    def __init__(self, services: CourseServices, connection: Connection) -> None:
        super().__init__(services, connection)
        self.member: Member | None = None
        self.detected: str | None = None
        self.watch: Any = None
        self._is_watched = False
        self._awaits_room = False
        self._ended = False

    @property
    def octets_from_client(self) -> int:
        """Taken from the client so far."""
        return self.connection.stream.octets_read

    @property
    def octets_from_upstream(self) -> int:
        """Sent by the backend that answers, so far."""
        return self.connection.stream.octets_written

    @property
    def identifier(self) -> int:
        """The connection's."""
        return self.connection.identifier

    def start(self, first_octet_timeout: Timeout | None = None) -> None:
        """
        Begin, right after the connection was accepted.

        @param first_octet_timeout: where the first octets were waited for: what is left of the time
            there is for them.
        """
        services = self._services
        services.total.add()
        stream = self.connection.stream
        stream.closed = self._stream_closed
        self._detect_timeout = first_octet_timeout
        if stream.preview.size == 0 and services.must_hear_first() and not stream.preview.final:
            stream.begin_with_octets(self._begin_with_octets)
            if first_octet_timeout is not None and first_octet_timeout.expire is not None:
                first_octet_timeout.expire = self._begin_in_silence
            else:
                self._detect_timeout = services.first_octet_timeouts.add(self._begin_in_silence)
        else:
            self._begin_with_octets()

    def refuse(self, refused: RouteError) -> None:
        """In the place of L{start}: end it."""
        self._services.total.add()
        self.connection.stream.closed = self._stream_closed
        self._refuse(refused)

    def _begin(self) -> None:
        deferred = start(self._run())
        if deferred is not None:
            self._deferred = deferred
            self._arm()

    def _begin_with_octets(self) -> None:
        timeout, self._detect_timeout = self._detect_timeout, None
        if timeout is not None:
            self._keep_time(timeout)
        self._begin()

    def _begin_in_silence(self) -> None:
        self._detect_timeout = None
        self.connection.stream.begin_with_octets(None)
        if self._services.silence_decides:
            self.connection.preview.finish()
            self._begin()
        else:
            self._refuse(selection_timeout())

    def close(self, outcome: str) -> None:
        """End it at once, whatever it is doing."""
        if self._deferred is not None:
            self._interrupt(RouteError(outcome))
        elif not self._ended:
            self._leave_phase()
            self.connection.trace.outcome = outcome
            self.connection.stream.begin_with_octets(None)
            self.connection.stream.transport.abortConnection()

    async def _run(self) -> None:
        try:
            try:
                await self._negotiate()
                self._services.admit(self.connection)
                await self._route()
            finally:
                self._leave_phase()
                self._deferred = None
        except RouteError as refused:
            self._refuse(refused)
        except CancelledError:
            self._refuse(self._reason or RouteError(errors.OUTCOME_KILLED))
        except Exception:  # the last line of defence: one connection's bug must not leave it open
            self.log.failure("connection {identifier} failed", identifier=self.connection.identifier)
            self._refuse(RouteError(errors.OUTCOME_INTERNAL_ERROR))

    async def _negotiate(self) -> None:
        services = self._services
        if not services.negotiates:
            for annotate in services.annotators:
                annotate(self.connection.properties, self.connection.client, self.connection.listener)
            return
        self._enter_phase(services.negotiation_timeouts)
        started_at = services.clock.seconds()
        self.connection = await self._proceed(0)(self.connection)
        services.negotiation_duration.observe(services.clock.seconds() - started_at)

    def _proceed(self, position: int) -> Callable[[Connection], Any]:
        negotiators = self._services.negotiators

        async def proceed(connection: Connection) -> Connection:
            if position == len(negotiators):
                return connection
            negotiator = negotiators[position]
            result: Connection = await negotiator.negotiate(connection, self._proceed(position + 1))
            return result

        return proceed

    async def _route(self) -> None:
        services = self._services
        connection = self.connection
        trace = connection.trace
        inspection = Inspection(
            connection.client, connection.properties, connection.preview, services.catalogue
        )
        excluded: set[str] = set()
        for attempts_left in range(services.settings.connect_retries, -1, -1):
            self._enter_phase(services.selection_timeouts)
            started_at = services.clock.seconds()
            try:
                member = await services.router.select(inspection, trace, excluded)
                if member.capacity is not None:
                    member = await self._find_room(member, inspection, excluded)
            except RouteError as refused:
                if excluded and refused.outcome == errors.OUTCOME_NO_BACKEND:
                    raise RouteError(errors.OUTCOME_CONNECT_FAILED, trace.attempts[-1].error) from None
                if connection.stream.lost is not None:
                    raise RouteError(errors.OUTCOME_CLIENT_GONE, CLIENT_GONE_DETAIL) from None
                raise
            finally:
                self.detected = inspection.detected()
                self._leave_phase()
            trace.selection_seconds += services.clock.seconds() - started_at
            services.selection_duration.observe(trace.selection_seconds)
            try:
                if connection.stream.lost is not None:
                    raise RouteError(errors.OUTCOME_CLIENT_GONE, CLIENT_GONE_DETAIL)
                await self._open(member)
                return
            except UpstreamError as failed:
                trace.attempts[-1].error = str(failed)
                if services.monitor.is_observing:
                    services.monitor.connect_failed(member)
                if not attempts_left:
                    raise RouteError(errors.OUTCOME_CONNECT_FAILED, str(failed)) from None
                excluded.add(member.name)
                if not connection.preview.final:
                    # The next one may need to see more.
                    connection.stream.resume()
            finally:
                if member.capacity is not None:
                    member.capacity.leave_entrance(member.active)

    async def _find_room(self, member: Member, inspection: Inspection, excluded: set[str]) -> Member:
        """
        Pass over backends that are full while another that matches is not; else wait for room.

        @return: one that has let this connection in.
        """
        trace = self.connection.trace
        while True:
            full: dict[str, Member] = {}
            chosen: Member | None = member
            while chosen is not None:
                capacity = chosen.capacity
                if capacity is None or capacity.enter(chosen.active):
                    trace.chosen = chosen.name
                    return chosen
                full[chosen.name] = chosen
                trace.steps.append(Step(chosen.name, "full", f"it takes {capacity.maximum} connections"))
                chosen = await self._select_beside(inspection, excluded | full.keys())
            for waited_for in full.values():
                assert waited_for.capacity is not None
                room = waited_for.capacity.wait()
                if room is not None:
                    break
            else:
                raise RouteError(errors.OUTCOME_LIMIT_REACHED, f"{', '.join(full)}: full, with a full queue")
            if await self._wait_for_room(waited_for, room):
                trace.chosen = waited_for.name
                return waited_for
            self._enter_phase(self._services.selection_timeouts)
            member = await self._services.router.select(inspection, trace, excluded)

    async def _select_beside(self, inspection: Inspection, excluded: Set[str]) -> Member | None:
        try:
            return await self._services.router.select(inspection, self.connection.trace, excluded)
        except RouteError as refused:
            if refused.outcome != errors.OUTCOME_NO_BACKEND:
                raise
            return None

    async def _wait_for_room(self, member: Member, room: Deferred[bool]) -> bool:
        assert member.capacity is not None
        self._leave_phase()
        seconds = member.capacity.queue_seconds
        late = RouteError(errors.OUTCOME_LIMIT_REACHED, f"{member.name}: no room within {seconds:g} s")
        timer = self._services.clock.callLater(seconds, self._interrupt, late)
        self._awaits_room = True
        try:
            return await room
        finally:
            self._awaits_room = False
            if timer.active():
                timer.cancel()

    async def _open(self, member: Member) -> None:
        services = self._services
        connection = self.connection
        backend = member.backend
        if member.answers_itself:
            protocol = backend.build_protocol(connection)
            self._take_up(member)
            self._is_watched = True
            services.wheel.add(self, services.settings.limits.idle_seconds)
            connection.stream.hand_over(protocol)
            return
        connection.upstream = backend.target
        attempt = Attempt(member.name, backend.target)
        connection.trace.attempts.append(attempt)
        connection.stream.pause()
        started_at = services.clock.seconds()
        upstream = await backend.connect(connection)
        attempt.seconds = services.clock.seconds() - started_at
        durations = services.reporter.durations(BACKEND_CONNECT_DURATION, "backend")
        durations[member.name].observe(attempt.seconds)
        if services.monitor.is_observing:
            services.monitor.connected(member)
        self._take_up(member)
        session = Session.of(services, connection, member, self.detected)
        services.taken_up(session)
        services.data_path.relay(connection.stream, upstream, services.settings.limits, session)

    def _take_up(self, member: Member) -> None:
        self.member = member
        self._services.router.opened(member)
        self._services.routed.add()
        self.connection.trace.outcome = "routed"

    def _refuse(self, refused: RouteError) -> None:
        trace = self.connection.trace
        trace.outcome, trace.detail = refused.outcome, refused.detail
        self._services.failed.add()
        if self.connection.stream.lost is not None:
            self._finish(refused.outcome)
        else:
            self.connection.stream.transport.loseConnection()

    def _stream_closed(self, reason: Failure) -> None:
        # The client's stream is gone, while nobody relays it.
        if self._deferred is not None:
            if self._awaits_room:
                self._interrupt(RouteError(errors.OUTCOME_CLIENT_GONE, CLIENT_GONE_DETAIL))
            return
        outcome = self.connection.trace.outcome
        if self.member is None or outcome not in ("", "routed"):
            if outcome:
                self._finish(outcome)
        elif reason.check(ConnectionDone):  # type: ignore[no-untyped-call]
            self._finish(errors.OUTCOME_CLOSED)
        else:
            self._finish(errors.OUTCOME_RESET_BY_CLIENT)

    def _finish(self, outcome: str) -> None:
        if self._ended:
            return
        self._ended = True
        self.connection.trace.outcome = outcome
        if self._is_watched:
            self._services.wheel.remove(self)
        if self.member is not None:
            self._services.router.closed(self.member)
        self._services.finished(self, outcome)

    def record(self, outcome: str) -> AccessRecord:
        """What its log line says."""
        connection = self.connection
        return AccessRecord(
            time.time(),
            self._services.clock.seconds() - connection.opened_at,
            connection.listener,
            connection.client.transport,
            str(connection.client.remote),
            outcome,
            connection.identifier,
            "" if self.member is None else self.member.name,
            connection.upstream,
            self.octets_from_client,
            self.octets_from_upstream,
            self.detected or "",
            connection.properties.get("tls.sni", ""),
            connection.properties.get("http.host", ""),
            connection.trace.detail,
            peer_of(connection.client),
        )

    # For the wheel, while a backend answers the client itself.

    def progress(self) -> int:
        """Octets both ways."""
        return self.octets_from_client + self.octets_from_upstream

    def expire(self) -> None:
        """There was no octet for too long."""
        self.close(errors.OUTCOME_IDLE_TIMEOUT)
