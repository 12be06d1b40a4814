"""The connections and UDP sessions that are open, and ending them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from pmmux.control import protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, LIST, Argument
from pmmux.control.command import Command
from pmmux.control.commands.routes import FILTERS
from pmmux.control.protocol import CommandError
from pmmux.control.ring import describe_route
from pmmux.control.routes import filter_of, live_datagram_sessions, live_routes, record_of
from pmmux.control.tables import cell, octets_text, seconds_text, table
from pmmux.errors import OUTCOME_KILLED

Tell = Callable[[Any], None]

_FILTERS = tuple(argument for argument in FILTERS if argument.name != "outcome")
_LIMIT = 10_000
LIST_LIMIT_CHARACTERS = 1000
_COLUMNS = (
    ("id", "ID"),
    ("transport", "OVER"),
    ("client", "CLIENT"),
    ("listener", "LISTENER"),
    ("protocol", "PROTOCOL"),
    ("name", "NAME"),
    ("backend", "BACKEND"),
    ("upstream", "UPSTREAM"),
    ("in", "IN"),
    ("out", "OUT"),
    ("age", "AGE"),
)


async def _list(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    accepts = filter_of(arguments)
    wanted = (record for record in live_routes(service) if accepts(record[0]))
    return [describe_route(record) for record in islice(wanted, arguments["limit"])]


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        {
            **session,
            "name": session["sni"] or session["host"],
            "in": octets_text(session["octets_from_client"]),
            "out": octets_text(session["octets_from_upstream"]),
            "age": seconds_text(session["duration_seconds"]),
        }
        for session in result
    ]
    return table(rows, _COLUMNS, "nothing is open")


async def _kill(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    identifiers = _read_identifiers(arguments["ids"] or [])
    chosen = {name for name in ("backend", "client", "listener") if arguments[name] is not None}
    if not identifiers and not chosen and not arguments["all"]:
        raise CommandError(protocol.BAD_ARGUMENTS, "say which: ids, backend, client, listener, or all")
    accepts = filter_of(arguments)

    def is_meant(record: Any) -> bool:
        return (not identifiers or record.connection_id in identifiers) and accepts(record)

    killed = []
    for course in tuple(service.multiplexer.courses.values()):
        if is_meant(record_of(course, "", service.wiring.reactor)[0]):
            killed.append(course.identifier)
            course.close(OUTCOME_KILLED)
    for session in live_datagram_sessions(service):
        if is_meant(session.record("")):
            killed.append(session.identifier)
            session.table.finish(session, OUTCOME_KILLED)
    missing = sorted(identifiers - set(killed))
    if missing and not killed:
        raise CommandError(protocol.NOT_FOUND, f"not open: {', '.join(map(str, missing))}")
    return {"killed": killed, "not_found": missing}


def _show_killed(result: dict[str, Any]) -> Iterator[str]:
    yield f"ended: {cell(result['killed'], LIST_LIMIT_CHARACTERS)}"
    if result["not_found"]:
        yield f"not open: {cell(result['not_found'], LIST_LIMIT_CHARACTERS)}"


def _read_identifiers(texts: list[str]) -> set[int]:
    try:
        return {int(text) for text in texts}
    except ValueError:
        raise CommandError(protocol.BAD_ARGUMENTS, "ids are numbers of connections") from None


commands = (
    Command(
        "sessions.list",
        "List the connections and UDP sessions that are open.",
        _list,
        (*_FILTERS, Argument("limit", INTEGER, "at most so many", default=1000, minimum=1, maximum=_LIMIT)),
        show=_show,
    ),
    Command(
        "sessions.kill",
        "End open connections and sessions at once.",
        _kill,
        (
            Argument("ids", LIST, "their numbers", is_positional=True),
            *_FILTERS,
            Argument("all", BOOLEAN, "every one", default=False),
        ),
        show=_show_killed,
        is_changing=True,
    ),
)
