"""A routed connection while its octets flow: what its log line will need, and nothing else."""

from __future__ import annotations

import time
from typing import Any

from zope.interface import implementer

from pmmux.access import AccessRecord, peer_of
from pmmux.connection import Connection
from pmmux.errors import OUTCOME_CLOSED, OUTCOME_RESET_BY_UPSTREAM
from pmmux.members import Member
from pmmux.metrics.catalogue import BACKEND_FIRST_OCTET_DURATION
from pmmux.model import Client
from pmmux.transport.interfaces import IRelayOwner


@implementer(IRelayOwner)
class Session:
    """
    One connection that is being relayed.

    There is one for each idle connection, so it holds no more than it must.

    @ivar services: the L{pmmux.course.CourseServices}.
    @ivar opened_at: seconds on the reactor's clock when it was accepted.
    @ivar detected: the protocol found; C{None} where none was.
    @ivar server_name: the name in the TLS hello; empty where there was none.
    @ivar host: the name in the HTTP request; empty where there was none.
    @ivar relay: the L{pmmux.transport.interfaces.IRelay}, as soon as there is one.
    @ivar trace: how it was routed.
    """

    __slots__ = (
        "_began_at",
        "client",
        "detected",
        "host",
        "identifier",
        "listener",
        "member",
        "opened_at",
        "relay",
        "server_name",
        "services",
        "trace",
        "upstream",
    )

    def __init__(
        self,
        services: Any,
        identifier: int,
        listener: str,
        client: Client,
        opened_at: float,
        member: Member,
        upstream: str,
        detected: str | None,
        server_name: str,
        host: str,
        trace: Any,
    ) -> None:
        self.services = services
        self.identifier = identifier
        self.listener = listener
        self.client = client
        self.opened_at = opened_at
        self.member = member
        self.upstream = upstream
        self.detected = detected
        self.server_name = server_name
        self.host = host
        self.trace = trace
        self.relay: Any = None
        self._began_at = 0.0

    @classmethod
    def of(cls, services: Any, connection: Connection, member: Member, detected: str | None) -> Session:
        """The session that C{connection} becomes."""
        properties = connection.properties
        return cls(
            services,
            connection.identifier,
            connection.listener,
            connection.client,
            connection.opened_at,
            member,
            connection.upstream,
            detected,
            properties.get("tls.sni", ""),
            properties.get("http.host", ""),
            connection.trace,
        )

    @property
    def octets_from_client(self) -> int:
        """Taken from the client so far."""
        return 0 if self.relay is None else self.relay.octets_from_client

    @property
    def octets_from_upstream(self) -> int:
        """Taken from the upstream so far."""
        return 0 if self.relay is None else self.relay.octets_from_upstream

    def begin(self, relay: Any) -> None:
        """The octets flow."""
        self.relay = relay
        self._began_at = self.services.clock.seconds()

    def hear_upstream(self) -> None:
        """It has answered for the first time."""
        member = self.member
        services = self.services
        if member.first_octet is None:
            member.first_octet = services.reporter.duration(BACKEND_FIRST_OCTET_DURATION, backend=member.name)
        member.first_octet.observe(services.clock.seconds() - self._began_at)
        self._began_at = 0.0

    def close(self, outcome: str) -> None:
        """End it at once."""
        if self.relay is not None:
            self.relay.close(outcome)

    def finish(self, outcome: str) -> None:
        """Both sides are closed; called once, by the relay."""
        services = self.services
        if services.monitor.is_observing:
            self._tell(services.monitor, outcome)
        services.router.closed(self.member)
        services.finished(self, outcome)

    def _tell(self, monitor: Any, outcome: str) -> None:
        if self.octets_from_upstream:
            monitor.answered(self.member)
        elif outcome == OUTCOME_RESET_BY_UPSTREAM:
            monitor.early_reset(self.member)
        elif outcome == OUTCOME_CLOSED:
            monitor.answered(self.member)

    def record(self, outcome: str) -> AccessRecord:
        """What its log line says."""
        relay = self.relay
        return AccessRecord(
            time.time(),
            self.services.clock.seconds() - self.opened_at,
            self.listener,
            "tcp",
            self.client.remote_text,
            outcome,
            self.identifier,
            self.member.name,
            self.upstream,
            0 if relay is None else relay.octets_from_client,
            0 if relay is None else relay.octets_from_upstream,
            self.detected or "",
            self.server_name,
            self.host,
            "",
            peer_of(self.client),
        )
