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
from pmmux.control.tables import octets_text, seconds_text, show_plainly, table
from pmmux.errors import PmmuxError
from pmmux.logs import VERBOSITIES

Tell = Callable[[Any], None]
_STARTED_AT = time.time()


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
    totals = _totals(service.reporter)
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
        "connections_total": totals["router.connection.total"],
        "connections_routed": totals["router.connection.routed"],
        "connections_failed": totals["router.connection.failed"],
        "datagrams_total": totals["router.message.total"],
        # The counters have what has ended; what is open is added up when somebody asks.
        "octets_from_clients": totals["client.ingress.bytes"] + _sum_of(live, "octets_from_client"),
        "octets_to_clients": totals["client.egress.bytes"] + _sum_of(live, "octets_from_upstream"),
        "memory_octets": _resident_octets(),
        "descriptors_open": _descriptors(),
        "descriptors_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "log_level": service.observer.level if service.observer is not None else "",
    }


def _totals(reporter: Any) -> Counter[str]:
    totals: Counter[str] = Counter()
    for sample in reporter.collect():
        if isinstance(sample.value, (int, float)):
            totals[sample.metric.name] += int(sample.value)
    return totals


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
        "open now": f"{result['connections_open']} connections, {result['sessions_open']} UDP sessions",
        "accepted": f"{result['connections_total']} connections, {result['datagrams_total']} datagrams",
        "routed": f"{result['connections_routed']} connections, {result['connections_failed']} were not",
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
        is_changing=True,
    ),
    Command("reload", "Read the configuration again and change to it.", _reload, is_changing=True),
)
