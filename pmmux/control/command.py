"""What the built-in commands are made with; extensions may use it for theirs."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import attrs
from attrs import frozen
from twisted.internet.task import deferLater
from zope.interface import implementer

from pmmux.control.arguments import Argument
from pmmux.control.interfaces import ICommand
from pmmux.control.tables import show_plainly

Run = Callable[[Any, Mapping[str, Any], Callable[[Any], None]], Coroutine[Any, Any, Any]]

POLL_SECONDS = 0.1


@implementer(ICommand)
@frozen
class Command:
    """A command whose parts are functions; see L{ICommand}."""

    name: str
    summary: str
    run: Run
    arguments: tuple[Argument, ...] = ()
    show: Callable[[Any], Iterable[str]] = show_plainly
    is_stream: bool = False
    is_changing: bool = False


def jsonable(value: Any) -> Any:
    """C{value} made of what JSON knows: attrs values as objects, what is endless as C{None}."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return value.value
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return {each.name: jsonable(getattr(value, each.name)) for each in fields}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    return str(value)


async def wait_until(clock: Any, is_so: Callable[[], bool], seconds: float) -> bool:
    """
    Wait for something that nobody tells of.

    @return: whether it came to be within C{seconds}.
    """
    deadline = clock.seconds() + seconds
    while not is_so():
        if clock.seconds() >= deadline:
            return False
        await deferLater(clock, POLL_SECONDS)
    return True
