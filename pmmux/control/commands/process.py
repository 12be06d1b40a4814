"""The process as a whole: what it is, how it does, what it logs."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import maybeDeferred

import twisted
from pmmux import __version__
from pmmux.control import protocol
from pmmux.control.arguments import TEXT, Argument
from pmmux.control.command import Command, jsonable
from pmmux.control.interfaces import ICommand
from pmmux.control.protocol import CommandError
from pmmux.control.tables import cell, octets_text, seconds_text, show_plainly, table
from pmmux.errors import PmmuxError
from pmmux.logs import VERBOSITIES
from pmmux.metrics.catalogue import (
    CLIENT_EGRESS_BYTES,
    CLIENT_INGRESS_BYTES,
    ROUTER_CONNECTION_FAILED,
    ROUTER_CONNECTION_ROUTED,
    ROUTER_CONNECTION_TOTAL,
    ROUTER_MESSAGE_TOTAL,
)

Tell = Callable[[Any], None]
_STARTED_AT = time.time()
LIST_LIMIT_CHARACTERS = 1000
_TOTALS = (
    ROUTER_CONNECTION_TOTAL,
    ROUTER_CONNECTION_ROUTED,
    ROUTER_CONNECTION_FAILED,
    ROUTER_MESSAGE_TOTAL,
    CLIENT_INGRESS_BYTES,
    CLIENT_EGRESS_BYTES,
)


async def _version(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    return {
        "version": __version__,
        "protocol": protocol.VERSION,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "platform": platform.platform(),
        "pid": os.getpid(),
    }


async def _status(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    multiplexer = service.multiplexer
    totals = {name: _total(service.reporter, name) for name in _TOTALS}
    live = list(multiplexer.courses.values())
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime_seconds": round(time.time() - _STARTED_AT, 3),
        "configuration": service.settings.source or "",
        "control": list(service.control.places()),
        "listeners": len(multiplexer.listeners()),
        "backends": dict(Counter(member.status.value for member in service.router.members())),
        "connections_open": len(live),
        "sessions_open": sum(len(table.sessions) for table in multiplexer.session_tables()),
        "connections_total": totals[ROUTER_CONNECTION_TOTAL],
        "connections_routed": totals[ROUTER_CONNECTION_ROUTED],
        "connections_failed": totals[ROUTER_CONNECTION_FAILED],
        "datagrams_total": totals[ROUTER_MESSAGE_TOTAL],
        # The counters have what has ended; what is open is added up when somebody asks.
        "octets_from_clients": totals[CLIENT_INGRESS_BYTES] + _sum_of(live, "octets_from_client"),
        "octets_to_clients": totals[CLIENT_EGRESS_BYTES] + _sum_of(live, "octets_from_upstream"),
        "memory_octets": _resident_octets(),
        "descriptors_open": _descriptors(),
        "descriptors_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "log_level": service.observer.level if service.observer is not None else "",
    }


def _total(reporter: Any, name: str) -> int:
    return sum(int(sample.value) for sample in reporter.series(name))


def _sum_of(live: list[Any], attribute: str) -> int:
    return sum(getattr(course, attribute, 0) for course in live)


def _resident_octets() -> int | None:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return None


def _descriptors() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _show_status(result: dict[str, Any]) -> Iterator[str]:
    backends = ", ".join(f"{count} {status}" for status, count in result["backends"].items()) or "none"
    shown = {
        "pmmux": f"{result['version']}, process {result['pid']}, up {seconds_text(result['uptime_seconds'])}",
        "configuration": result["configuration"] or "no file",
        "control": result["control"],
        "listeners": result["listeners"],
        "backends": backends,
        "open now": f"TCP connections {result['connections_open']}, UDP sessions {result['sessions_open']}",
        "accepted": f"TCP connections {result['connections_total']}, datagrams {result['datagrams_total']}",
        "routed": f"TCP connections {result['connections_routed']}, refused {result['connections_failed']}",
        "from clients": octets_text(result["octets_from_clients"]),
        "to clients": octets_text(result["octets_to_clients"]),
        "memory": octets_text(result["memory_octets"] or 0),
        "descriptors": f"{result['descriptors_open']} of {result['descriptors_limit']}",
        "log level": result["log_level"] or "left to twistd",
    }
    return show_plainly(shown)


async def _list_commands(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "summary": command.summary,
            "is_stream": command.is_stream,
            "is_changing": command.is_changing,
            "arguments": [jsonable(argument) for argument in command.arguments],
        }
        for name, command in service.registry.all(ICommand)
    ]


def _show_commands(result: list[dict[str, Any]]) -> Iterator[str]:
    return table(result, (("name", "COMMAND"), ("summary", "WHAT IT DOES")), "no commands", 200)


async def _log_level(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    observer = service.observer
    if observer is None:
        raise CommandError(protocol.NOT_AVAILABLE, "logging is left to twistd, which has no levels")
    before = observer.level
    if arguments["level"] is not None:
        observer.set_level(arguments["level"])
    return {"level": observer.level, "before": before}


def _show_log_level(result: dict[str, Any]) -> Iterator[str]:
    before = "" if result["before"] == result["level"] else f", was {result['before']}"
    yield f"{result['level']}{before}"


def _show_reload(result: Any) -> Iterator[str]:
    lines = list(_changes(result) if isinstance(result, dict) else show_plainly(result))
    yield from lines or ["nothing has changed"]


def _changes(result: dict[str, Any]) -> Iterator[str]:
    for kind, change in result.items():
        name = cell(kind.replace("_", " "))
        if isinstance(change, dict):
            for what, names in change.items():
                if names:
                    yield f"{name} {cell(what)}: {cell(names, LIST_LIMIT_CHARACTERS)}"
        elif change:
            yield f"{name}: {cell(change, LIST_LIMIT_CHARACTERS)}"


async def _reload(service: Any, arguments: Mapping[str, Any], tell: Tell) -> Any:
    reload = getattr(service, "reload", None)
    if reload is None:
        raise CommandError(protocol.NOT_AVAILABLE, "this pmmux cannot reload")
    try:
        return jsonable(await maybeDeferred(reload))
    except PmmuxError as error:
        faults = tuple(map(str, getattr(error, "faults", (error,))))
        raise CommandError(protocol.REFUSED, "not reloaded: nothing has changed", faults) from None


commands = (
    Command("version", "Tell the versions of what runs.", _version),
    Command("status", "Tell how the whole process does.", _status, show=_show_status),
    Command("commands", "Tell what can be asked.", _list_commands, show=_show_commands),
    Command(
        "log-level",
        "Tell or set the least level that is logged.",
        _log_level,
        (
            Argument(
                "level",
                TEXT,
                "the new level; without it nothing changes",
                is_positional=True,
                choices=tuple(VERBOSITIES),
            ),
        ),
        show=_show_log_level,
        is_changing=True,
    ),
    Command(
        "reload",
        "Read the configuration again and change to it.",
        _reload,
        show=_show_reload,
        is_changing=True,
    ),
)
