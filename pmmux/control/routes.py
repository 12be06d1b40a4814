"""Looking routes up: those of live connections and those in the ring, by what somebody asks for."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pmmux.access import AccessRecord
from pmmux.control import protocol
from pmmux.control.protocol import CommandError
from pmmux.control.ring import RouteRecord
from pmmux.model import RouteTrace

# What is asked for where all that were not given to a backend are meant.
REFUSED = "refused"
LIVE = "live"

Accepts = Callable[[AccessRecord], bool]


def live_routes(service: Any) -> Iterator[RouteRecord]:
    """Connections and sessions that are open now, in no particular order."""
    for course in tuple(service.multiplexer.courses.values()):
        yield record_of(course, LIVE, service.wiring.reactor)
    for session in live_datagram_sessions(service):
        yield session.record(LIVE), session.trace


def live_datagram_sessions(service: Any) -> Iterator[Any]:
    """The L{pmmux.datagrams.session.DatagramSession}s that are open now."""
    for table in service.multiplexer.session_tables():
        yield from tuple(table.sessions.values())


def record_of(course: Any, outcome: str, clock: Any) -> RouteRecord:
    """
    What is known of a course, a session or an arrival.

    @param clock: whose seconds C{opened_at} counts.
    """
    connection = getattr(course, "connection", course)
    trace = getattr(connection, "trace", None) or RouteTrace()
    make = getattr(course, "record", None)
    if make is not None:
        return make(outcome), trace
    age_seconds = clock.seconds() - course.opened_at
    remote, listener, identifier = str(course.client.remote), course.listener, course.identifier
    return AccessRecord(0.0, age_seconds, listener, "tcp", remote, outcome, identifier), trace


def filter_of(arguments: Mapping[str, Any]) -> Accepts:
    """
    @param arguments: of C{outcome}, C{backend}, C{listener}, C{client}: what is not C{None} must fit.
    @raises CommandError: C{client} is neither an address nor a network.
    """
    tests: list[Accepts] = []
    outcome, backend, listener, client = map(arguments.get, ("outcome", "backend", "listener", "client"))
    if outcome == REFUSED:
        tests.append(lambda record: not record.backend and record.outcome != LIVE)
    elif outcome is not None:
        tests.append(lambda record: record.outcome == outcome)
    if backend is not None:
        tests.append(lambda record: record.backend == backend)
    if listener is not None:
        tests.append(lambda record: record.listener == listener)
    if client is not None:
        tests.append(_of_client(client))
    return lambda record: all(test(record) for test in tests)


def _of_client(text: str) -> Accepts:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CommandError(protocol.BAD_ARGUMENTS, "client is an IP address or a network") from None

    def is_within(record: AccessRecord) -> bool:
        host = record.client.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False

    return is_within
