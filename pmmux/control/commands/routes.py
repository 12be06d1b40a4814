"""The routes that connections took: the last ones, one of them, and those to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from twisted.internet.defer import Deferred

from pmmux.control import protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, TEXT, Argument
from pmmux.control.command import Command
from pmmux.control.protocol import CommandError
from pmmux.control.ring import RouteRecord, describe_route
from pmmux.control.routes import filter_of, live_routes
from pmmux.control.tables import cell, clock_text, octets_text, seconds_text, table

Tell = Callable[[Any], None]

FILTERS = (
    Argument("outcome", TEXT, "only those that ended so; refused: those without a backend"),
    Argument("backend", TEXT, "only those of this backend"),
    Argument("client", TEXT, "only those from this address or network"),
    Argument("listener", TEXT, "only those of this listener"),
)
_LIMIT = 10_000
_COLUMNS = (
    ("id", "ID"),
    ("ended", "ENDED"),
    ("client", "CLIENT"),
    ("listener", "LISTENER"),
    ("protocol", "PROTOCOL"),
    ("name", "NAME"),
    ("backend", "BACKEND"),
    ("outcome", "OUTCOME"),
    ("in", "IN"),
    ("out", "OUT"),
    ("took", "TOOK"),
    ("detail", "DETAIL"),
)


async def _list(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    accepts = filter_of(arguments)
    found: Iterator[RouteRecord] = service.ring.newest_first()
    if arguments["live"]:
        found = chain(live_routes(service), found)
    wanted = (record for record in found if accepts(record[0]))
    return [describe_route(record) for record in islice(wanted, arguments["limit"])]


async def _show_one(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    identifier = arguments["id"]
    for record in chain(live_routes(service), service.ring.newest_first()):
        if record[0].connection_id == identifier:
            return describe_route(record)
    raise CommandError(protocol.NOT_FOUND, f"no connection {identifier} is open or among the last ones")


async def _follow(service: Any, arguments: Mapping[str, Any], tell: Tell) -> None:
    accepts = filter_of(arguments)

    def pass_on(record: RouteRecord) -> None:
        if accepts(record[0]):
            tell(describe_route(record))

    end = service.ring.follow(pass_on)
    try:
        await Deferred()
    finally:
        end()


def _row(route: dict[str, Any]) -> dict[str, Any]:
    return {
        **route,
        "ended": clock_text(route["time"]) if route["outcome"] != "live" else "-",
        "name": route["sni"] or route["host"],
        "in": octets_text(route["octets_from_client"]),
        "out": octets_text(route["octets_from_upstream"]),
        "took": seconds_text(route["duration_seconds"]),
    }


def _show_list(result: list[dict[str, Any]]) -> Iterator[str]:
    # The newest stands last, next to the prompt.
    return table([_row(route) for route in reversed(result)], _COLUMNS, "no such routes")


def _show_followed(route: dict[str, Any]) -> Iterator[str]:
    if "dropped" in route:
        yield f"({route['dropped']} routes were dropped: too slow)"
        return
    row = _row(route)
    keys = ("ended", "client", "listener", "protocol", "name", "backend", "outcome", "detail")
    yield " ".join(cell(row[key]) for key in keys)


def show_route(route: dict[str, Any]) -> Iterator[str]:
    """One route in all its steps."""
    how = route["route"]
    yield f"connection {route['id']}: {cell(route['client'])} on {cell(route['listener'])}"
    detail = f" ({cell(route['detail'], 256)})" if route["detail"] else ""
    yield f"  outcome   {cell(route['outcome'])}{detail}"
    yield f"  backend   {cell(route['backend'])} at {cell(route['upstream'])}"
    yield f"  protocol  {cell(route['protocol'])}, SNI {cell(route['sni'])}, host {cell(route['host'])}"
    yield f"  octets    {route['octets_from_client']} in, {route['octets_from_upstream']} out"
    yield f"  strategy  {cell(how['strategy'])}, chosen in {seconds_text(how['selection_seconds'])}"
    for each in how["negotiators"]:
        yield f"  negotiator {cell(each['name'])}: {cell(each['did'], 256)}"
    for each in how["candidates"]:
        why = f" ({cell(each['reason'], 256)})" if each["reason"] else ""
        after = f"after {each['octets_seen']} octets"
        yield f"  candidate {cell(each['backend'])}: {each['verdict']}{why} {after}"
    for each in how["attempts"]:
        what = cell(each["error"], 256) if each["error"] else "reached"
        took = f" in {seconds_text(each['seconds'])}" if each["seconds"] else ""
        yield f"  attempt   {cell(each['backend'])} at {cell(each['target'])}: {what}{took}"
    if how["octets_needed"]:
        yield f"  waiting   for {how['octets_needed']} octets in all"


commands = (
    Command(
        "trace.list",
        "List the last routes, the newest last.",
        _list,
        (
            *FILTERS,
            Argument("limit", INTEGER, "at most so many", default=20, minimum=1, maximum=_LIMIT),
            Argument("live", BOOLEAN, "those of open connections too", default=False),
        ),
        show=_show_list,
    ),
    Command(
        "trace.show",
        "Tell one route in all its steps.",
        _show_one,
        (Argument("id", INTEGER, "the connection's number", is_required=True, is_positional=True),),
        show=show_route,
    ),
    Command(
        "trace.follow",
        "Follow the routes as connections end.",
        _follow,
        FILTERS,
        show=_show_followed,
        is_stream=True,
    ),
)
