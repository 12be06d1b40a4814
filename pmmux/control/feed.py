"""The live events: what the reporter tells, kept for a while and passed on to whoever follows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from zope.interface import implementer

from pmmux.interfaces import IMetricSink

DEFAULT_CAPACITY = 200

Event = dict[str, Any]
Follower = Callable[[Event], None]


@implementer(IMetricSink)
class EventFeed:
    """A sink of the reporter. Events are rare: backends that change, mappings, reloads."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY, now: Callable[[], float] = time.time) -> None:
        """@param now: seconds since 1970."""
        self._events: deque[Event] = deque(maxlen=capacity)
        self._followers: tuple[Follower, ...] = ()
        self._now = now

    def event(self, name: str, fields: Mapping[str, str]) -> None:
        """As L{IMetricSink.event}."""
        told: Event = {"time": self._now(), "event": name, "fields": dict(fields)}
        self._events.append(told)
        for follow in self._followers:
            follow(told)

    def start(self, reporter: Any) -> None:
        """As L{IMetricSink.start}."""

    def stop(self) -> None:
        """As L{IMetricSink.stop}."""

    def recent(self, limit: int = DEFAULT_CAPACITY) -> list[Event]:
        """The last so many, the oldest first."""
        return list(self._events)[-limit:] if limit else []

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} with each event from now on.

        @return: what ends that.
        """
        self._followers = (*self._followers, follower)

        def end() -> None:
            self._followers = tuple(each for each in self._followers if each is not follower)

        return end
