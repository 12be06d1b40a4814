"""What happens, as it happens; and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from pmmux.control.arguments import INTEGER, TEXT, Argument
from pmmux.control.command import Command, jsonable
from pmmux.control.feed import DEFAULT_CAPACITY
from pmmux.control.tables import cell, clock_text, seconds_text, table

Tell = Callable[[Any], None]


async def _events(service: Any, arguments: Mapping[str, Any], tell: Tell) -> None:
    end = service.feed.follow(tell)
    try:
        for event in service.feed.recent(arguments["recent"]):
            tell(event)
        await Deferred()
    finally:
        end()


def _show_event(event: dict[str, Any]) -> Iterator[str]:
    if "dropped" in event:
        yield f"({event['dropped']} events were dropped: too slow)"
        return
    fields = " ".join(f"{cell(name)}={cell(value, 200)}" for name, value in event["fields"].items())
    yield f"{clock_text(event['time'])} {cell(event['event'])} {fields}"


async def _metrics(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    wanted = arguments["name"] or ""
    return [
        {
            "name": sample.metric.name,
            "kind": sample.metric.kind,
            "unit": sample.metric.unit,
            "labels": dict(sample.labels),
            "value": jsonable(sample.value),
        }
        for sample in service.reporter.collect()
        if sample.metric.name.startswith(wanted)
    ]


def _show_metrics(result: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        {
            "name": each["name"],
            "labels": ",".join(f"{name}={value}" for name, value in each["labels"].items()),
            "value": _value_text(each["value"]),
            # A mean says its own.
            "unit": "observed" if isinstance(each["value"], dict) else each["unit"],
        }
        for each in result
    ]
    columns = (("name", "METRIC"), ("labels", "LABELS"), ("value", "VALUE"), ("unit", "UNIT"))
    return table(rows, columns, "no metrics of that name")


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        count = value["count"]
        mean = value["sum_seconds"] / count if count else 0.0
        return f"{count}, mean {seconds_text(mean)}" if count else "0"
    return f"{value:.3f}" if isinstance(value, float) and value % 1 else f"{value:.0f}"


commands = (
    Command(
        "events",
        "Follow what happens to backends, mappings and the configuration.",
        _events,
        (Argument("recent", INTEGER, "how many past ones come first", default=10, maximum=DEFAULT_CAPACITY),),
        show=_show_event,
        is_stream=True,
    ),
    Command(
        "metrics",
        "List the metrics.",
        _metrics,
        (Argument("name", TEXT, "how their names begin", is_positional=True),),
        show=_show_metrics,
    ),
)
