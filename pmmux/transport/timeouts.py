"""
Time-outs for many connections at little cost: no reactor call for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define


@define(slots=True, eq=False)
class Timeout:
    """One pending time-out."""

    due_at: float
    expire: Callable[[], None] | None


class TimeoutQueue:
    """
    Time-outs that all have the same duration, in a queue with one reactor call for its head.
    """

    def __init__(self, clock: Any, seconds: float) -> None:
        """
        @param clock: an IReactorTime.
        @param seconds: the duration of each.
        """
        self._clock = clock
        self._seconds = seconds
        self._queue: deque[Timeout] = deque()
        self._live = 0
        self._call: Any = None

    def change(self, seconds: float) -> None:
        """Let those to come have another duration; they may expire late, after those that are there."""
        self._seconds = seconds

    def add(self, expire: Callable[[], None]) -> Timeout:
        """Call C{expire} after the duration, unless it is cancelled."""
        timeout = Timeout(self._clock.seconds() + self._seconds, expire)
        self._queue.append(timeout)
        self._live += 1
        if self._call is None:
            self._call = self._clock.callLater(self._seconds, self._expire_due)
        return timeout

    def cancel(self, timeout: Timeout) -> None:
        """Forget C{timeout}; harmless where it has expired or was cancelled."""
        if timeout.expire is None:
            return
        timeout.expire = None
        self._live -= 1
        if self._live == 0:
            self._queue.clear()
            call, self._call = self._call, None
            if call is not None:
                call.cancel()

    def _expire_due(self) -> None:
        self._call = None
        now = self._clock.seconds()
        queue = self._queue
        try:
            while queue and (queue[0].expire is None or queue[0].due_at <= now):
                expire = queue[0].expire
                queue.popleft().expire = None
                if expire is not None:
                    self._live -= 1
                    expire()
        finally:  # where one of them fails the others are due all the same
            if queue:
                if self._call is not None:
                    # For one that was added meanwhile; it is not the next to be due.
                    self._call.cancel()
                self._call = self._clock.callLater(max(0.0, queue[0].due_at - now), self._expire_due)


class Progressing(Protocol):
    """
    Something that must make progress.

    @ivar watch: for the wheel alone; C{None} while it is not watched.
    """

    watch: Any

    def progress(self) -> int:
        """A number that changes with each octet moved."""

    def expire(self) -> None:
        """There was no progress for too long."""


@define(slots=True, eq=False, weakref_slot=False)
class _Watch:
    item: Progressing
    limit_seconds: float
    seen: int
    seen_at: float


_YOUNG: Any = object()


class ProgressWheel:
    """
    Watches for items that make no progress, looking at each a few times within its limit: nothing
    is to be done when there is progress. An item expires between 1 and 1.25 times its limit, or up
    to two ticks later.

    What is gone before the next tick has cost one entry in a list.
    """

    LOOKS_PER_LIMIT = 4

    def __init__(self, clock: Any, tick_seconds: float = 1.0) -> None:
        """
        @param clock: an IReactorTime.
        @param tick_seconds: the grain; limits below it are rounded up to it.
        """
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._young: list[tuple[Progressing, float]] = []
        self._changing: list[tuple[Progressing, float]] = []
        self._slots: dict[int, list[_Watch]] = {}
        self._live = 0
        self._next_slot = 0
        self._call: Any = None

    def add(self, item: Progressing, limit_seconds: float) -> None:
        """Expire C{item}, which is not watched, after C{limit_seconds} without progress."""
        item.watch = _YOUNG
        self._live += 1
        self._young.append((item, limit_seconds))
        if self._call is None:
            self._next_slot = self._slot_at(self._clock.seconds()) + 1
            self._call = self._clock.callLater(self._tick_seconds, self._turn)

    def change(self, item: Progressing, limit_seconds: float) -> None:
        """Give an item another limit, counted from now on; harmless where it is not watched."""
        if item.watch is not None:
            now = self._clock.seconds()
            item.watch = _Watch(item, limit_seconds, item.progress(), now)
            self._place(item.watch, now)

    def change_soon(self, item: Progressing, limit_seconds: float) -> None:
        """As L{change}, at the next tick, for items that are likely to be gone by then."""
        self._changing.append((item, limit_seconds))

    def remove(self, item: Progressing) -> None:
        """Watch no more; harmless where it is not watched."""
        if item.watch is None:
            return
        item.watch = None
        self._live -= 1
        if self._live == 0:
            self._young.clear()
            self._changing.clear()
            self._slots.clear()
            call, self._call = self._call, None
            if call is not None:
                call.cancel()

    def _slot_at(self, seconds: float) -> int:
        return int(seconds / self._tick_seconds)

    def _place(self, watch: _Watch, now: float) -> None:
        look_after = max(watch.limit_seconds / self.LOOKS_PER_LIMIT, self._tick_seconds)
        slot = self._slot_at(now + min(look_after, watch.seen_at + watch.limit_seconds - now)) + 1
        self._slots.setdefault(max(slot, self._next_slot), []).append(watch)

    def _turn(self) -> None:
        self._call = self._clock.callLater(self._tick_seconds, self._turn)
        now = self._clock.seconds()
        young, self._young = self._young, []
        since = now - self._tick_seconds
        for item, limit_seconds in young:
            if item.watch is _YOUNG:
                item.watch = _Watch(item, limit_seconds, item.progress(), since)
                self._place(item.watch, now)
        changing, self._changing = self._changing, []
        for item, limit_seconds in changing:
            self.change(item, limit_seconds)
        until = self._slot_at(now)
        while self._next_slot <= until:
            watches = self._slots.get(self._next_slot, [])
            while watches:
                # Taken out first: where one fails, the next turn goes on with the others.
                self._look(watches.pop(), now)
            self._slots.pop(self._next_slot, None)
            self._next_slot += 1

    def _look(self, watch: _Watch, now: float) -> None:
        item = watch.item
        if item.watch is not watch:
            # Removed, or given another limit.
            return
        progress = item.progress()
        if progress != watch.seen:
            watch.seen = progress
            watch.seen_at = now
        elif now - watch.seen_at >= watch.limit_seconds:
            self.remove(item)
            item.expire()
            return
        self._place(watch, now)
