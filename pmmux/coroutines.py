"""Running a coroutine without paying for a Deferred until it really has to wait."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred


def start(coroutine: Coroutine[Any, Any, None]) -> Deferred[None] | None:
    """
    Run C{coroutine} until it ends or first waits for a Deferred.

    @return: C{None} where it ended, else a Deferred that fires at its end, and that cancels what
        it waits for. What it raises before it first waits is raised here.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_go_on(coroutine, awaited))


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        failed: BaseException | None = None
        try:
            result = yield awaited
        except BaseException as error:  # whatever it is, it belongs to the coroutine that waits for it
            failed = error
        try:
            awaited = coroutine.send(result) if failed is None else coroutine.throw(failed)
        except StopIteration:
            return
