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
    Argument(
        "outcome",
        TEXT,
        "only those that ended so: closed, no-backend, …; refused: all without a backend",
    ),
    Argument("backend", TEXT, "only those of this backend"),
    Argument("client", TEXT, "only those from this address or network"),
    Argument("listener", TEXT, "only those of this listener"),
)
_LIMIT = 10_000
_NAME_WIDTH = len("negotiator")
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
            return _with_conditions(service, describe_route(record))
    raise CommandError(protocol.NOT_FOUND, f"no connection {identifier} is open or among the last ones")


def _with_conditions(service: Any, route: dict[str, Any]) -> dict[str, Any]:
    """Beside each verdict what it was about, as far as the backend is still there."""
    for each in route["route"]["candidates"]:
        member = service.router.member(each["backend"])
        each["condition"] = "" if member is None else member.condition.describe()
    return route


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
    keys = ("id", "ended", "client", "listener", "protocol", "name", "backend", "outcome", "detail")
    yield " ".join(cell(row[key]) for key in keys)


def show_route(route: dict[str, Any]) -> Iterator[str]:
    """One route in all its steps."""
    how = route["route"]
    through = f" through {cell(route['peer'])}" if route["peer"] else ""
    yield f"connection {route['id']}: {cell(route['client'])}{through} on {cell(route['listener'])}"
    for name, text in _facts(route, how):
        yield f"  {name.ljust(_NAME_WIDTH)}  {text}"
    width = max((len(cell(each["backend"])) for each in how["candidates"]), default=0)
    for each in how["candidates"]:
        verdict = each["verdict"] + (f" ({cell(each['reason'], 256)})" if each["reason"] else "")
        seen = f"after {_octets_text(each['octets_seen'])}"
        wanted = f", of {each['octets_needed']} wanted" if each["octets_needed"] else ""
        condition = each.get("condition", "")
        rule = f": {cell(condition, 256)}" if condition else ""
        name = cell(each["backend"]).ljust(width)
        yield f"  {'candidate'.ljust(_NAME_WIDTH)}  {name}  {verdict} {seen}{wanted}{rule}"
    for each in how["attempts"]:
        what = cell(each["error"], 256) if each["error"] else "reached"
        took = f" in {seconds_text(each['seconds'])}" if each["seconds"] else ""
        where = f"{cell(each['backend'])} at {cell(each['target'])}"
        yield f"  {'attempt'.ljust(_NAME_WIDTH)}  {where}: {what}{took}"


def _facts(route: dict[str, Any], how: dict[str, Any]) -> Iterator[tuple[str, str]]:
    detail = f": {cell(route['detail'], 256)}" if route["detail"] else ""
    yield "outcome", f"{cell(route['outcome'])}{detail}"
    if route["backend"]:
        at = f" at {cell(route['upstream'])}" if route["upstream"] else ""
        yield "backend", f"{cell(route['backend'])}{at}"
    found = {"": route["protocol"], "SNI ": route["sni"], "host ": route["host"]}
    if any(found.values()):
        yield "protocol", ", ".join(f"{name}{cell(value, 256)}" for name, value in found.items() if value)
    yield "octets", f"{route['octets_from_client']} in, {route['octets_from_upstream']} out"
    yield "time", seconds_text(route["duration_seconds"])
    if how["strategy"]:
        took = f", in {seconds_text(how['selection_seconds'])}" if how["selection_seconds"] else ""
        yield "strategy", f"{cell(how['strategy'])}{took}"
    for each in how["negotiators"]:
        yield "negotiator", f"{cell(each['name'])}: {cell(each['did'], 256)}"
    if how["octets_needed"]:
        yield "waiting", f"for {_octets_text(how['octets_needed'])} in all"


def _octets_text(count: int) -> str:
    return f"{count} octet" if count == 1 else f"{count} octets"


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
