"""
Sessions that fall silent.

A flood begins and ends a hundred thousand sessions in the time of one look at them, so that what is
gone must leave nothing behind, as it would in L{pmmux.transport.timeouts.ProgressWheel}.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

from attrs import define

LOOKS_PER_LIMIT = 4


class Progressing(Protocol):
    """Something that must make progress."""

    def progress(self) -> int:
        """A number that changes with each datagram."""

    def moved(self) -> None:
        """There was progress since the last look."""

    def expire(self) -> None:
        """There was no progress for too long."""


@define(slots=True)
class _Look:
    due_at: float
    seen: int
    seen_at: float


class IdleQueue:
    """
    Watches for items that make no progress, all with the same limit: each expires between 1 and
    1.25 times it after its last progress.
    """

    def __init__(self, clock: Any, limit_seconds: float) -> None:
        """@param clock: an IReactorTime."""
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._look_seconds = limit_seconds / LOOKS_PER_LIMIT
        # In the order they are due.
        self._looks: OrderedDict[Progressing, _Look] = OrderedDict()
        self._call: Any = None

    def change(self, limit_seconds: float) -> None:
        """Let all have another limit, from their next look on."""
        self._limit_seconds = limit_seconds
        self._look_seconds = limit_seconds / LOOKS_PER_LIMIT

    def add(self, item: Progressing) -> None:
        """Expire C{item} when it makes no progress for too long."""
        now = self._clock.seconds()
        self._looks[item] = _Look(now + self._look_seconds, item.progress(), now)
        if self._call is None:
            self._call = self._clock.callLater(self._look_seconds, self._turn)

    def discard(self, item: Progressing) -> None:
        """Watch it no more; harmless where it is not watched."""
        self._looks.pop(item, None)
        if not self._looks and self._call is not None:
            call, self._call = self._call, None
            call.cancel()

    def _turn(self) -> None:
        self._call = None
        now = self._clock.seconds()
        looks = self._looks
        while looks:
            item, look = next(iter(looks.items()))
            if look.due_at > now:
                break
            progress = item.progress()
            if progress != look.seen:
                look.seen, look.seen_at = progress, now
                item.moved()
            elif now - look.seen_at >= self._limit_seconds:
                del looks[item]
                item.expire()
                continue
            look.due_at = now + self._look_seconds
            looks.move_to_end(item)
        if looks and self._call is None:
            first = next(iter(looks.values()))
            self._call = self._clock.callLater(max(0.0, first.due_at - now), self._turn)
