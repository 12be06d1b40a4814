"""
The last routes, kept to be asked about.

One call per finished connection, which stores two references: the record that the access line was
written from, and the trace that the route was decided from. Everything else is done when somebody
asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from pmmux.access import AccessRecord
from pmmux.model import RouteTrace

DEFAULT_CAPACITY = 1000

# The trace may also be one that has C{expand()}, which makes the L{RouteTrace}.
RouteRecord = tuple[AccessRecord, Any]
Follower = Callable[[RouteRecord], None]


class TraceRing:
    """The last so many finished connections and sessions, with the routes they took."""

    __slots__ = ("_append", "_followers", "_records")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._records: deque[RouteRecord] = deque(maxlen=capacity)
        self._append = self._records.append
        self._followers: tuple[Follower, ...] = ()

    def add(self, record: RouteRecord) -> None:
        """C{(access record, trace)} of one that has finished; neither changes any more."""
        self._append(record)
        if self._followers:
            for follow in self._followers:
                follow(record)

    def newest_first(self) -> Iterator[RouteRecord]:
        """Those kept, the newest first."""
        return reversed(self._records)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} with each record from now on.

        @return: what ends that.
        """
        self._followers = (*self._followers, follower)

        def end() -> None:
            self._followers = tuple(each for each in self._followers if each is not follower)

        return end


def describe_route(record: RouteRecord) -> dict[str, Any]:
    """One route, finished or not, as JSON knows it."""
    access, trace = record
    return {
        "id": access.connection_id,
        "time": access.time,
        "duration_seconds": round(access.duration_seconds, 6),
        "listener": access.listener,
        "transport": access.transport,
        "client": access.client,
        "peer": access.peer,
        "outcome": access.outcome,
        "backend": access.backend,
        "upstream": access.upstream,
        "octets_from_client": access.octets_from_client,
        "octets_from_upstream": access.octets_from_upstream,
        "protocol": access.protocol,
        "sni": access.sni,
        "host": access.host,
        "detail": access.detail,
        "route": describe_trace(trace),
    }


def describe_trace(trace: Any) -> dict[str, Any]:
    """How it was decided, as JSON knows it."""
    expand = getattr(trace, "expand", None)
    return _describe_steps(trace if expand is None else expand())


def _describe_steps(trace: RouteTrace) -> dict[str, Any]:
    return {
        "strategy": trace.strategy,
        "chosen": trace.chosen,
        "selection_seconds": round(trace.selection_seconds, 6),
        "octets_needed": trace.octets_needed,
        "negotiators": [{"name": name, "did": did} for name, did in trace.negotiators],
        "candidates": [
            {
                "backend": step.backend,
                "verdict": step.verdict,
                "reason": step.reason,
                "octets_seen": step.octets_seen,
                "octets_needed": step.octets_needed,
            }
            for step in trace.steps
        ],
        "attempts": [
            {
                "backend": attempt.backend,
                "target": attempt.target,
                "seconds": round(attempt.seconds, 6),
                "error": attempt.error,
            }
            for attempt in trace.attempts
        ],
    }
