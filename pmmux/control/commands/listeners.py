"""The listeners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pmmux.control.command import Command
from pmmux.control.tables import table

_COLUMNS = (
    ("name", "LISTENER"),
    ("transport", "PROTOCOL"),
    ("addresses", "ACCEPTS ON"),
    ("public_port", "PUBLIC PORT"),
    ("open", "OPEN"),
)


async def _listeners(
    service: Any, arguments: Mapping[str, Any], tell: Callable[[Any], None]
) -> list[dict[str, Any]]:
    multiplexer = service.multiplexer
    connections = Counter(course.listener for course in _with_listener(multiplexer.courses.values()))
    found = []
    for listener in multiplexer.listeners():
        spec = listener.spec
        sessions = getattr(getattr(listener, "table", None), "sessions", ())
        found.append(
            {
                "name": spec.name,
                "transport": spec.transport,
                "addresses": [str(address) for address in listener.addresses()],
                "public_port": spec.public_port,
                "open": connections[spec.name] + len(sessions),
                "defined": str(spec.options.location),
            }
        )
    return found


def _with_listener(courses: Any) -> Iterator[Any]:
    return (getattr(course, "connection", course) for course in courses)


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    return table(result, _COLUMNS, "no listeners")


commands = (Command("listeners", "List the listeners.", _listeners, show=_show),)
