"""How many connections a backend takes at a time, and the queue of those that wait for room."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred

from pmmux.config import values
from pmmux.config.options import Option

DEFAULT_QUEUE_SECONDS = 5.0
DEFAULT_QUEUE_LIMIT = 100
LARGEST_COUNT = 10_000_000
LARGEST_QUEUE = 100_000

CAPACITY_OPTIONS = (
    Option(
        "max-connections",
        values.integer(1, LARGEST_COUNT),
        f"a number from 1 to {LARGEST_COUNT}",
        description="Connections to this backend at a time; absent: any number.",
    ),
    Option(
        "max-queue",
        values.integer(0, LARGEST_QUEUE),
        f"a number from 0 to {LARGEST_QUEUE}",
        DEFAULT_QUEUE_LIMIT,
        description="Connections that may wait for room, where no other backend that matches has any.",
    ),
    Option(
        "queue-timeout",
        values.duration_between(0.0),
        "a duration such as 5s",
        DEFAULT_QUEUE_SECONDS,
        description="How long a connection waits for room before it is refused.",
    ),
)


class Capacity:
    """
    The limit of one backend.

    @ivar maximum: connections at a time.
    @ivar queue_seconds: how long one may wait.
    @ivar entering: those that were let in and are not connected yet.
    """

    __slots__ = ("_queue_limit", "_waiting", "entering", "maximum", "queue_seconds")

    def __init__(self, maximum: int, queue_limit: int, queue_seconds: float) -> None:
        self.maximum = maximum
        self.queue_seconds = queue_seconds
        self.entering = 0
        self._queue_limit = queue_limit
        self._waiting: deque[Deferred[bool]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, active: int) -> bool:
        """
        Let one in, where there is room; then L{leave_entrance} is to be called.

        @param active: how many connections are open.
        """
        if self._waiting or active + self.entering >= self.maximum:
            return False
        self.entering += 1
        return True

    def wait(self) -> Deferred[bool] | None:
        """
        Wait for room; to be cancelled by whoever does not wait any longer.

        @return: fires with C{True}, and one more is L{entering}; with C{False} where the backend is no
            longer offered. C{None} where the queue is full.
        """
        if len(self._waiting) >= self._queue_limit:
            return None
        waiting: Deferred[bool] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def leave_entrance(self, active: int) -> None:
        """One that was let in is connected, and counted in C{active}, or never will be."""
        self.entering -= 1
        self.wake(active)

    def wake(self, active: int) -> None:
        """Let in whom there is room for."""
        while self._waiting and active + self.entering < self.maximum:
            self.entering += 1
            self._waiting.popleft().callback(True)

    def send_away(self) -> None:
        """Let everybody who waits look elsewhere."""
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.callback(False)


def capacity_of(backend: Any) -> Capacity | None:
    """@return: C{None} where C{backend} takes any number."""
    option = backend.spec.options.get
    maximum = option("max-connections")
    if maximum is None:
        return None
    queue_limit, queue_seconds = option("max-queue"), option("queue-timeout")
    return Capacity(
        maximum,
        DEFAULT_QUEUE_LIMIT if queue_limit is None else queue_limit,
        DEFAULT_QUEUE_SECONDS if queue_seconds is None else queue_seconds,
    )
