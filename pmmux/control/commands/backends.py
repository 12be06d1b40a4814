"""The backends: seeing them, and changing them while pmmux runs, until it is started or reloaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pmmux.control import protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, MAPPING, TEXT, Argument
from pmmux.control.command import Command, wait_until
from pmmux.control.commands.health import find_monitor
from pmmux.control.protocol import CommandError
from pmmux.control.reading import read_backend
from pmmux.control.tables import seconds_text, table
from pmmux.model import BackendSpec

Tell = Callable[[Any], None]

_LONGEST_WAIT_SECONDS = 24 * 3600
_COLUMNS = (
    ("name", "BACKEND"),
    ("protocol", "PROTOCOL"),
    ("status", "STATUS"),
    ("tier", "TIER"),
    ("weight", "WEIGHT"),
    ("target", "TARGET"),
    ("active", "OPEN"),
    ("routed", "ROUTED"),
    ("connect", "CONNECT"),
    ("error", "ERROR"),
    ("condition", "TAKES"),
)
_NAME = Argument("name", TEXT, "the backend's name", is_required=True, is_positional=True)
_PROTOCOL = Argument("protocol", TEXT, "its protocol: pass, …", is_required=True, is_positional=True)
_OPTIONS = Argument("options", MAPPING, "its options, as in the configuration", is_positional=True)
_WAITING = (
    Argument(
        "seconds",
        INTEGER,
        "wait so long for its connections to end",
        default=0,
        maximum=_LONGEST_WAIT_SECONDS,
    ),
    Argument("kill", BOOLEAN, "end those that are left then", default=False),
)


async def _list(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    monitor = find_monitor(service)
    health = {} if monitor is None else {each.backend: each for each in monitor.reports()}
    connects = _connect_seconds(service)
    members = (*service.router.members(), *service.router.retiring())
    return [_describe(member, health.get(member.name), connects.get(member.name)) for member in members]


def _describe(member: Any, health: Any, connect_seconds: float | None) -> dict[str, Any]:
    backend = member.backend
    return {
        "name": member.name,
        "protocol": backend.spec.protocol,
        "status": member.status.value,
        "tier": member.tier.name.lower(),
        "weight": member.weight,
        "target": str(getattr(backend, "target", "")),
        "active": member.active,
        "routed": member.routed,
        "connect_seconds": connect_seconds,
        "check_seconds": None if health is None else health.duration_seconds,
        "error": "" if health is None else health.error,
        "condition": member.condition.describe(),
        "defined": str(backend.spec.options.location),
    }


def _connect_seconds(service: Any) -> dict[str, float]:
    """How long connecting took on average, of each backend that is among the last routes."""
    sums: dict[str, tuple[float, int]] = {}
    for _, trace in service.ring.newest_first():
        for attempt in getattr(trace, "attempts", ()):
            if attempt.seconds and not attempt.error:
                total, count = sums.get(attempt.backend, (0.0, 0))
                sums[attempt.backend] = total + attempt.seconds, count + 1
    return {name: round(total / count, 6) for name, (total, count) in sums.items()}


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [{**each, "connect": seconds_text(each["connect_seconds"])} for each in result]
    return table(rows, _COLUMNS, "no backends")


async def _add(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    name, before = arguments["name"], arguments["before"]
    if service.router.member(name) is not None:
        raise CommandError(protocol.CONFLICT, f"there is a backend {name!r} already; replace it")
    if before is not None:
        _find(service, before)
    member = await service.lifecycle.add_backend(_read(service, arguments), before)
    return _describe(member, None, None)


async def _replace(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    _find(service, arguments["name"])
    member = await service.lifecycle.replace_backend(_read(service, arguments))
    return _describe(member, None, None)


def _read(service: Any, arguments: Mapping[str, Any]) -> BackendSpec:
    name, options = arguments["name"], arguments["options"] or {}
    return read_backend(service.registry, name, arguments["protocol"], options)


async def _drain(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = _find(service, arguments["name"])
    service.lifecycle.drain_backend(member.name)
    return await _wait_and_kill(service, member, arguments)


async def _disable(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = _find(service, arguments["name"])
    service.lifecycle.disable_backend(member.name)
    return _state(member)


async def _enable(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = _find(service, arguments["name"])
    service.lifecycle.enable_backend(member.name)
    return _state(member)


async def _remove(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = _find(service, arguments["name"])
    service.lifecycle.remove_backend(member.name)
    return await _wait_and_kill(service, member, arguments)


async def _wait_and_kill(service: Any, member: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    clock = service.wiring.reactor
    has_ended = await wait_until(clock, lambda: member.active == 0, arguments["seconds"])
    if not has_ended and arguments["kill"]:
        service.lifecycle.close_connections(member)
    return _state(member)


def _find(service: Any, name: str) -> Any:
    member = service.router.member(name)
    if member is None:
        names = ", ".join(member.name for member in service.router.members())
        raise CommandError(protocol.NOT_FOUND, f"there is no backend {name!r}; there are {names or 'none'}")
    return member


def _state(member: Any) -> dict[str, Any]:
    return {"name": member.name, "status": member.status.value, "active": member.active}


commands = (
    Command("backends.list", "List the backends in the order they are asked.", _list, show=_show),
    Command(
        "backends.add",
        "Add a backend, after the others or before one of them.",
        _add,
        (_NAME, _PROTOCOL, _OPTIONS, Argument("before", TEXT, "the backend to put it before")),
        is_changing=True,
    ),
    Command(
        "backends.replace",
        "Put a backend in the place of the one of its name, which drains.",
        _replace,
        (_NAME, _PROTOCOL, _OPTIONS),
        is_changing=True,
    ),
    Command(
        "backends.drain",
        "Give a backend no new traffic, and let its connections end.",
        _drain,
        (_NAME, *_WAITING),
        is_changing=True,
    ),
    Command(
        "backends.disable",
        "Take a backend out of service: no new traffic, no health checks.",
        _disable,
        (_NAME,),
        is_changing=True,
    ),
    Command(
        "backends.enable",
        "Offer a backend again that was drained or disabled.",
        _enable,
        (_NAME,),
        is_changing=True,
    ),
    Command(
        "backends.remove",
        "Remove a backend, which drains first.",
        _remove,
        (_NAME, *_WAITING),
        is_changing=True,
    ),
)
