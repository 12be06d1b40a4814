"""
From a session's first datagrams to its upstream: the same candidates, strategies and trace as those of
connections. What is not routed is answered by silence.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from pmmux import errors
from pmmux.coroutines import start
from pmmux.datagrams.admission import LOWEST_UNPRIVILEGED_PORT
from pmmux.datagrams.connection_ids import ServerIDs
from pmmux.datagrams.options import amplification_limit, refuses_low_ports
from pmmux.datagrams.preview import DatagramInspection
from pmmux.datagrams.services import DatagramServices
from pmmux.datagrams.session import DatagramSession
from pmmux.errors import OUTCOME_SOURCE_REFUSED, RouteError, UpstreamError
from pmmux.members import Member
from pmmux.model import Attempt
from pmmux.negotiators.socket import SocketProperties


class Routing:
    """Routes the sessions of one listener."""

    log = Logger()

    def __init__(self, services: DatagramServices, table: Any) -> None:
        """@param table: the L{pmmux.datagrams.table.SessionTable} that is told what it came to."""
        self._services = services
        self._table = table

    def begin(self, session: DatagramSession) -> None:
        """Route C{session}, whose first datagram is in its preview."""
        deferred = start(self._run(session))
        if deferred is None:
            return
        session.deferred = deferred
        services = self._services
        assert session.preview is not None
        session.timeouts = (
            services.detect_timeouts.add(session.preview.finish),
            services.selection_timeouts.add(deferred.cancel),
        )
        self._table.waits(session)

    async def _run(self, session: DatagramSession) -> None:
        try:
            try:
                if session.follows is not None:
                    await self._follow(session, session.follows)
                else:
                    await self._route(session)
            finally:
                self._leave(session)
        except RouteError as refused:
            self._table.refused(session, refused)
        except CancelledError:
            late = RouteError(errors.OUTCOME_SELECTION_TIMEOUT, "choosing a backend took too long")
            self._table.refused(session, late)
        except Exception:  # the last line of defence: one session's bug must not leave it open
            self.log.failure("session {identifier} failed", identifier=session.identifier)
            self._table.refused(session, RouteError(errors.OUTCOME_INTERNAL_ERROR))

    def _leave(self, session: DatagramSession) -> None:
        session.deferred = None
        timeouts, session.timeouts = session.timeouts, None
        if timeouts is not None:
            self._services.detect_timeouts.cancel(timeouts[0])
            self._services.selection_timeouts.cancel(timeouts[1])
            self._table.waits_no_more(session)

    async def _route(self, session: DatagramSession) -> None:
        services = self._services
        preview = session.preview
        assert preview is not None
        trace = session.trace
        session.properties.join(SocketProperties(session.client, session.listener))
        inspection = DatagramInspection(session.client, session.properties, preview, services.catalogue)
        excluded = set(session.excluded)
        for attempts_left in range(services.settings.connect_retries, -1, -1):
            started_at = services.clock.seconds()
            try:
                member = await self._select(inspection, session, excluded)
            finally:
                session.detected = inspection.detected()
            trace.selection_seconds = services.clock.seconds() - started_at
            services.selection_duration.observe(trace.selection_seconds)
            is_quic = inspection.is_quic()
            options = member.backend.spec.options
            if session.client.remote.port < LOWEST_UNPRIVILEGED_PORT and refuses_low_ports(options, is_quic):
                raise RouteError(OUTCOME_SOURCE_REFUSED, f"a port below {LOWEST_UNPRIVILEGED_PORT}")
            if not self._table.may_open(session, member):
                return
            try:
                await self._open(session, member, is_quic)
                return
            except UpstreamError as failed:
                if not attempts_left:
                    raise RouteError(errors.OUTCOME_CONNECT_FAILED, str(failed)) from None
                excluded.add(member.name)

    async def _select(
        self, inspection: DatagramInspection, session: DatagramSession, excluded: set[str]
    ) -> Member:
        services = self._services
        try:
            return await services.router.select(inspection, session.trace, excluded)
        except RouteError as refused:
            if refused.outcome != errors.OUTCOME_NO_BACKEND:
                raise
            if session.trace.attempts and excluded != session.excluded:
                raise RouteError(errors.OUTCOME_CONNECT_FAILED, session.trace.attempts[-1].error) from None
            if not session.excluded:
                raise
        # Only those that failed this client before would do: they may have come back.
        session.excluded.clear()
        excluded.clear()
        return await services.router.select(inspection, session.trace)

    async def _follow(self, session: DatagramSession, known: DatagramSession) -> None:
        member = known.member
        if member is None or known.upstream is None or known.server_ids is None:
            raise RouteError(errors.OUTCOME_NO_BACKEND, "the session it belongs to has ended")
        session.detected, session.properties = known.detected, known.properties
        session.server_ids = ServerIDs()
        session.server_ids.seen.update(known.server_ids.seen)
        session.trace.chosen = member.name
        session.trace.detail = "known by its connection ID"
        try:
            await self._open(session, member, True, known.upstream.address)
        except UpstreamError as failed:
            raise RouteError(errors.OUTCOME_CONNECT_FAILED, str(failed)) from None

    async def _open(
        self, session: DatagramSession, member: Member, is_quic: bool, address: Any = None
    ) -> None:
        backend = member.backend
        attempt = Attempt(member.name, getattr(backend, "target", ""))
        session.trace.attempts.append(attempt)
        try:
            upstream = await backend.open_session(session.client, session, address)
        except UpstreamError as failed:
            attempt.error = str(failed)
            self._services.failed(member, failed.reason)
            raise
        self._table.routed(session, member, upstream)
        limit = amplification_limit(backend.spec.options, is_quic)
        session.route_to(member, upstream, is_quic, limit)
