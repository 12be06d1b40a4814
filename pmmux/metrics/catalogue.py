"""Every metric and event that pmmux itself reports, by name."""

from __future__ import annotations

from attrs import frozen

COUNTER = "counter"
GAUGE = "gauge"
DURATION = "duration"

ROUTER_CONNECTION_TOTAL = "router.connection.total"
ROUTER_CONNECTION_ROUTED = "router.connection.routed"
ROUTER_CONNECTION_FAILED = "router.connection.failed"
ROUTER_CONNECTION_ENDED = "router.connection.ended"
ROUTER_NEGOTIATION_DURATION = "router.negotiation.duration"
ROUTER_SELECTION_DURATION = "router.selection.duration"
ROUTER_MESSAGE_TOTAL = "router.message.total"
ROUTER_MESSAGE_BYTES = "router.message.bytes"
ROUTER_MESSAGE_ROUTED = "router.message.routed"
ROUTER_MESSAGE_FAILED = "router.message.failed"
ROUTER_MESSAGE_SELECTION_DURATION = "router.message.selection.duration"
BACKEND_CONNECTION_ACCEPTED = "backend.connection.accepted"
BACKEND_CONNECTION_CLOSED = "backend.connection.closed"
BACKEND_CONNECTIONS_ACTIVE = "backend.connections.active"
BACKEND_CONNECT_DURATION = "backend.connect.duration"
BACKEND_FIRST_OCTET_DURATION = "backend.first_octet.duration"
BACKEND_MESSAGE_ACCEPTED = "backend.message.accepted"
BACKEND_MESSAGE_BYTES = "backend.message.bytes"
BACKEND_PROBE_DURATION = "backend.probe.duration"
BACKEND_HEALTH_CHECK_TOTAL = "backend.health_check.total"
BACKEND_HEALTH_CHECK_DURATION = "backend.health_check.duration"
BACKEND_HEALTH_CHECK_CONSECUTIVE_FAILURES = "backend.health_check.consecutive_failures"
BACKEND_HEALTH_CHECK_CONSECUTIVE_SUCCESSES = "backend.health_check.consecutive_successes"
BACKEND_STATUS = "backend.status"
CLIENT_INGRESS_BYTES = "client.ingress.bytes"
CLIENT_EGRESS_BYTES = "client.egress.bytes"
PORTMAP_CREATED = "portmap.created"
PORTMAP_RENEWED = "portmap.renewed"
PORTMAP_DELETED = "portmap.deleted"
PORTMAP_ADD_ERROR = "portmap.add.error"
PORTMAP_RENEW_ERROR = "portmap.renew.error"
PORTMAP_DELETE_ERROR = "portmap.delete.error"
PORTMAP_CREATE_DURATION = "portmap.create.duration"
PORTMAP_RENEW_DURATION = "portmap.renew.duration"
PORTMAP_DELETE_DURATION = "portmap.delete.duration"

EVENT_BACKEND_ADDED = "backend.added"
EVENT_BACKEND_REMOVED = "backend.removed"
EVENT_PORTMAP_ADDED = "portmap.added"
EVENT_PORTMAP_REMOVED = "portmap.removed"
EVENT_PORTMAP_CHANGED = "portmap.changed"
EVENT_HEALTH_CHECK_ADDED = "health_check.added"
EVENT_HEALTH_CHECK_REMOVED = "health_check.removed"


@frozen(slots=True)
class Metric:
    """
    What a metric is.

    @ivar name: lower case, with dots between its parts.
    @ivar kind: L{COUNTER}, which only grows; L{GAUGE}; or L{DURATION}, a distribution of seconds.
    @ivar unit: what one is: C{connections}, C{octets}, C{seconds}.
    @ivar description: one sentence.
    """

    name: str
    kind: str
    unit: str
    description: str


STANDARD_METRICS = (
    Metric(ROUTER_CONNECTION_TOTAL, COUNTER, "connections", "Connections accepted by the listeners."),
    Metric(ROUTER_CONNECTION_ROUTED, COUNTER, "connections", "Connections given to a backend."),
    Metric(ROUTER_CONNECTION_FAILED, COUNTER, "connections", "Connections not routed."),
    Metric(ROUTER_CONNECTION_ENDED, COUNTER, "connections", "Connections that ended, by outcome."),
    Metric(ROUTER_NEGOTIATION_DURATION, DURATION, "seconds", "Time in the negotiators, per connection."),
    Metric(ROUTER_SELECTION_DURATION, DURATION, "seconds", "Time until a backend was chosen."),
    Metric(ROUTER_MESSAGE_TOTAL, COUNTER, "datagrams", "Datagrams received by the listeners."),
    Metric(ROUTER_MESSAGE_BYTES, COUNTER, "octets", "Octets in the datagrams received."),
    Metric(ROUTER_MESSAGE_ROUTED, COUNTER, "datagrams", "Datagrams given to a backend."),
    Metric(ROUTER_MESSAGE_FAILED, COUNTER, "datagrams", "Datagrams not routed, by outcome."),
    Metric(
        ROUTER_MESSAGE_SELECTION_DURATION, DURATION, "seconds", "Time until a datagram's backend was chosen."
    ),
    Metric(BACKEND_CONNECTION_ACCEPTED, COUNTER, "connections", "Connections that the backend took."),
    Metric(BACKEND_CONNECTION_CLOSED, COUNTER, "connections", "Connections of the backend that ended."),
    Metric(BACKEND_CONNECTIONS_ACTIVE, GAUGE, "connections", "Connections of the backend open now."),
    Metric(BACKEND_CONNECT_DURATION, DURATION, "seconds", "Time until the backend was connected to."),
    Metric(
        BACKEND_FIRST_OCTET_DURATION,
        DURATION,
        "seconds",
        "Time from giving a connection to the backend until its first octet.",
    ),
    Metric(BACKEND_MESSAGE_ACCEPTED, COUNTER, "datagrams", "Datagrams that the backend took."),
    Metric(BACKEND_MESSAGE_BYTES, COUNTER, "octets", "Octets in the datagrams that the backend took."),
    Metric(BACKEND_PROBE_DURATION, DURATION, "seconds", "Time until the backend's condition was decided."),
    Metric(BACKEND_HEALTH_CHECK_TOTAL, COUNTER, "checks", "Health checks made, by result."),
    Metric(BACKEND_HEALTH_CHECK_DURATION, DURATION, "seconds", "Time a health check took."),
    Metric(
        BACKEND_HEALTH_CHECK_CONSECUTIVE_FAILURES, GAUGE, "checks", "Checks failed since the last success."
    ),
    Metric(
        BACKEND_HEALTH_CHECK_CONSECUTIVE_SUCCESSES, GAUGE, "checks", "Checks passed since the last failure."
    ),
    Metric(BACKEND_STATUS, GAUGE, "status", "1 for the status the backend is in, 0 for each other one."),
    Metric(CLIENT_INGRESS_BYTES, COUNTER, "octets", "Octets taken from clients."),
    Metric(CLIENT_EGRESS_BYTES, COUNTER, "octets", "Octets given to clients."),
    Metric(PORTMAP_CREATED, COUNTER, "mappings", "Port mappings created."),
    Metric(PORTMAP_RENEWED, COUNTER, "mappings", "Port mappings renewed."),
    Metric(PORTMAP_DELETED, COUNTER, "mappings", "Port mappings deleted."),
    Metric(PORTMAP_ADD_ERROR, COUNTER, "errors", "Port mappings that could not be created."),
    Metric(PORTMAP_RENEW_ERROR, COUNTER, "errors", "Port mappings that could not be renewed."),
    Metric(PORTMAP_DELETE_ERROR, COUNTER, "errors", "Port mappings that could not be deleted."),
    Metric(PORTMAP_CREATE_DURATION, DURATION, "seconds", "Time to create a port mapping."),
    Metric(PORTMAP_RENEW_DURATION, DURATION, "seconds", "Time to renew a port mapping."),
    Metric(PORTMAP_DELETE_DURATION, DURATION, "seconds", "Time to delete a port mapping."),
)
