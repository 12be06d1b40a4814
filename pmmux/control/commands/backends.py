"""The backends: seeing them, and changing them while pmmux runs, until it is started or reloaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pmmux.control import protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, TEXT, Argument, name_argument, options_argument
from pmmux.control.command import Command, wait_until
from pmmux.control.finding import find_member, find_monitor
from pmmux.control.protocol import CommandError
from pmmux.control.reading import read_backend
from pmmux.control.tables import seconds_text, table
from pmmux.metrics.catalogue import BACKEND_CONNECT_DURATION, BACKEND_FIRST_OCTET_DURATION
from pmmux.metrics.instruments import Distribution
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
    ("answer", "ANSWER"),
    ("error", "ERROR"),
    ("condition", "TAKES"),
)
_NAME = name_argument("backend")
_PROTOCOL = Argument("protocol", TEXT, "its protocol: pass, …", is_required=True, is_positional=True)
_OPTIONS = options_argument("target=127.0.0.1:80, detect=http")
_NOTHING_MEASURED = Distribution(0, 0.0, ())
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
    connects = _measured(service, BACKEND_CONNECT_DURATION)
    answers = _measured(service, BACKEND_FIRST_OCTET_DURATION)
    members = (*service.router.members(), *service.router.retiring())
    return [
        _describe(member, health.get(member.name), connects.get(member.name), answers.get(member.name))
        for member in members
    ]


def _describe(
    member: Any, health: Any = None, connect: Distribution | None = None, answer: Distribution | None = None
) -> dict[str, Any]:
    backend = member.backend
    connect, answer = connect or _NOTHING_MEASURED, answer or _NOTHING_MEASURED
    is_checked = health is not None and health.age_seconds is not None
    return {
        "name": member.name,
        "protocol": backend.spec.protocol,
        "status": member.status.value,
        "tier": member.tier.name.lower(),
        "weight": member.weight,
        "target": str(getattr(backend, "target", "")),
        "active": member.active,
        "routed": member.routed,
        "connect_seconds": _mean(connect),
        "connects": connect.count,
        "connects_sum_seconds": connect.sum_seconds,
        "answer_seconds": _mean(answer),
        "answers": answer.count,
        "answers_sum_seconds": answer.sum_seconds,
        "check_seconds": health.duration_seconds if is_checked else None,
        "error": "" if health is None else health.error,
        "condition": member.condition.describe(),
        "defined": str(backend.spec.options.location),
    }


def _measured(service: Any, metric: str) -> dict[str, Distribution]:
    """What was measured of each backend."""
    return {
        dict(sample.labels).get("backend", ""): sample.value for sample in service.reporter.series(metric)
    }


def _mean(measured: Distribution) -> float | None:
    return round(measured.sum_seconds / measured.count, 6) if measured.count else None


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        {
            **each,
            "connect": seconds_text(each["connect_seconds"]),
            "answer": seconds_text(each["answer_seconds"]),
        }
        for each in result
    ]
    return table(rows, _COLUMNS, "no backends")


def _show_one(result: dict[str, Any]) -> Iterator[str]:
    return _show([result])


async def _add(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    name, before = arguments["name"], arguments["before"]
    if service.router.member(name) is not None:
        raise CommandError(protocol.CONFLICT, f"there is a backend {name!r} already; replace it")
    if before is not None:
        find_member(service, before)
    spec = _read(service, arguments)
    # It may bring more series than there is room for.
    service.make_room(len(service.router.members()) + 1)
    member = await service.lifecycle.add_backend(spec, before)
    return _describe(member)


async def _replace(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    find_member(service, arguments["name"])
    member = await service.lifecycle.replace_backend(_read(service, arguments))
    return _describe(member)


def _read(service: Any, arguments: Mapping[str, Any]) -> BackendSpec:
    name, options = arguments["name"], arguments["options"] or {}
    return read_backend(service.registry, service.settings, name, arguments["protocol"], options)


async def _drain(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = find_member(service, arguments["name"])
    service.lifecycle.drain_backend(member.name)
    return await _wait_and_kill(service, member, arguments)


async def _disable(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = find_member(service, arguments["name"])
    service.lifecycle.disable_backend(member.name)
    return _state(member)


async def _enable(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = find_member(service, arguments["name"])
    service.lifecycle.enable_backend(member.name)
    return _state(member)


async def _remove(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    member = find_member(service, arguments["name"])
    service.lifecycle.remove_backend(member.name)
    return await _wait_and_kill(service, member, arguments)


async def _wait_and_kill(service: Any, member: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    clock = service.wiring.reactor
    has_ended = await wait_until(clock, lambda: member.active == 0, arguments["seconds"])
    if not has_ended and arguments["kill"]:
        service.lifecycle.close_connections(member)
    return _state(member)


def _state(member: Any) -> dict[str, Any]:
    return {"name": member.name, "status": member.status.value, "active": member.active}


def _show_state(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['name']} is {result['status']}, {result['active']} open"


commands = (
    Command("backends.list", "List the backends in the order they are asked.", _list, show=_show),
    Command(
        "backends.add",
        "Add a backend, after the others or before one of them.",
        _add,
        (_NAME, _PROTOCOL, _OPTIONS, Argument("before", TEXT, "the backend to put it before")),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "backends.replace",
        "Put a backend in the place of the one of its name, which drains.",
        _replace,
        (_NAME, _PROTOCOL, _OPTIONS),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "backends.drain",
        "Give a backend no new traffic, and let its connections end.",
        _drain,
        (_NAME, *_WAITING),
        show=_show_state,
        is_changing=True,
    ),
    Command(
        "backends.disable",
        "Take a backend out of service: no new traffic, no health checks.",
        _disable,
        (_NAME,),
        show=_show_state,
        is_changing=True,
    ),
    Command(
        "backends.enable",
        "Offer a backend again that was drained or disabled.",
        _enable,
        (_NAME,),
        show=_show_state,
        is_changing=True,
    ),
    Command(
        "backends.remove",
        "Remove a backend, which drains first.",
        _remove,
        (_NAME, *_WAITING),
        show=_show_state,
        is_changing=True,
    ),
)
