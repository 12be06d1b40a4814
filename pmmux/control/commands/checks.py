"""The health checks: which there are, and changing them until pmmux is started or reloaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pmmux.control import protocol
from pmmux.control.arguments import name_argument, options_argument
from pmmux.control.command import Command
from pmmux.control.finding import absent, find_monitor, require_monitor
from pmmux.control.protocol import CommandError
from pmmux.control.reading import read_check
from pmmux.control.tables import seconds_text, table
from pmmux.health.plan import Plan, applicable, plan_of
from pmmux.interfaces import IBackendProtocol
from pmmux.model import SectionValues

Tell = Callable[[Any], None]

_COLUMNS = (
    ("name", "CHECK"),
    ("backends", "OF"),
    ("type", "TYPE"),
    ("every", "EVERY"),
    ("within", "WITHIN"),
    ("failure_threshold", "DOWN AFTER"),
    ("recovery_threshold", "UP AFTER"),
    ("defined", "DEFINED"),
)
_NAME = name_argument("check")
_OPTIONS = options_argument("backend=web, type=http, interval=5s")


async def _list(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    monitor = find_monitor(service)
    plans = [] if monitor is None else [plan_of(section) for section in monitor.sections()]
    return [_describe(service, plan, plans) for plan in plans]


def _describe(service: Any, plan: Plan, plans: Sequence[Plan]) -> dict[str, Any]:
    of = plan.section.get("protocol") or ""
    members = [
        member.name
        for member in service.router.members()
        if applicable(plans, member.backend.spec.protocol, member.name) is plan
    ]
    made = service.registry.get(IBackendProtocol, of)
    return {
        "name": plan.name,
        "backends": members,
        "protocol": of,
        "type": plan.kind or getattr(made, "default_check", ""),
        "interval_seconds": plan.interval_seconds,
        "timeout_seconds": plan.timeout_seconds,
        "failure_threshold": plan.failure_threshold,
        "recovery_threshold": plan.recovery_threshold,
        "defined": str(plan.section.location),
    }


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        {
            **each,
            "backends": each["backends"] or "no backend",
            "every": seconds_text(each["interval_seconds"]),
            "within": seconds_text(each["timeout_seconds"]),
        }
        for each in result
    ]
    return table(rows, _COLUMNS, "no health checks")


def _show_one(result: dict[str, Any]) -> Iterator[str]:
    return _show([result])


async def _add(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    name = arguments["name"]
    if name in _names(service):
        raise CommandError(protocol.CONFLICT, f"there is a health check {name!r} already; replace it")
    return _begin(service, arguments)


async def _replace(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    _require(service, arguments["name"])
    return _begin(service, arguments)


async def _remove(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    name = arguments["name"]
    _require(service, name)
    service.lifecycle.remove_check(name)
    return {"name": name}


def _show_removed(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['name']} checks no more"


def _names(service: Any) -> list[str]:
    return [section.name for section in require_monitor(service).sections()]


def _require(service: Any, name: str) -> None:
    names = _names(service)
    if name not in names:
        raise absent("health check", name, names)


def _begin(service: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    backends = [member.backend.spec for member in service.router.members()]
    name, options = arguments["name"], arguments["options"] or {}
    section: SectionValues = read_check(service.registry, backends, name, options)
    service.lifecycle.add_check(section)
    plans = [plan_of(each) for each in require_monitor(service).sections()]
    (plan,) = (each for each in plans if each.name == name)
    return _describe(service, plan, plans)


commands = (
    Command("checks.list", "List the health checks, and which backends each is of.", _list, show=_show),
    Command(
        "checks.add",
        "Check the health of a backend, or of all of a protocol.",
        _add,
        (_NAME, _OPTIONS),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "checks.replace",
        "Put a health check in the place of the one of its name.",
        _replace,
        (_NAME, _OPTIONS),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "checks.remove",
        "Check so no more; a backend that no other check is of is offered, and its status unknown.",
        _remove,
        (_NAME,),
        show=_show_removed,
        is_changing=True,
    ),
)
