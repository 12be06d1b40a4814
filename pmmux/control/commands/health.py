"""How the backends' health checks stand, and the port mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pmmux.control.arguments import TEXT, Argument
from pmmux.control.command import Command, jsonable
from pmmux.control.finding import find_member, find_monitor
from pmmux.control.tables import seconds_text, table
from pmmux.escape import printable

_COLUMNS = (
    ("backend", "BACKEND"),
    ("status", "STATUS"),
    ("check", "CHECK"),
    ("passed", "PASSED"),
    ("failed", "FAILED"),
    ("took", "TOOK"),
    ("ago", "AGO"),
    ("error", "ERROR"),
)


async def _health(
    service: Any, arguments: Mapping[str, Any], tell: Callable[[Any], None]
) -> list[dict[str, Any]]:
    if arguments["backend"] is not None:
        find_member(service, arguments["backend"])
    monitor = find_monitor(service)
    reports = () if monitor is None else monitor.reports()
    return [jsonable(each) for each in reports if arguments["backend"] in (None, each.backend)]


def _show_health(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        {
            **each,
            "passed": each["consecutive_successes"],
            "failed": each["consecutive_failures"],
            "took": seconds_text(each["duration_seconds"] if each["age_seconds"] is not None else None),
            "ago": seconds_text(each["age_seconds"]),
        }
        for each in result
    ]
    return table(rows, _COLUMNS, "no backend is checked")


async def _nat(service: Any, arguments: Mapping[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    nat = getattr(service, "nat", None)
    if nat is None:
        return {"gateways": [], "ports": [], "text": "no public port is wanted"}
    report = nat.report()
    told: dict[str, Any] = jsonable(report)
    return {**told, "text": report.render()}


def _show_nat(result: dict[str, Any]) -> Iterator[str]:
    # Its lines hold what gateways said of themselves.
    return (printable(line, 1000) for line in result["text"].split("\n"))


commands = (
    Command(
        "health",
        "Tell how the backends' health checks stand.",
        _health,
        (Argument("backend", TEXT, "only this one", is_positional=True),),
        show=_show_health,
    ),
    Command("nat", "Tell how gateways and port mappings stand.", _nat, show=_show_nat),
)
