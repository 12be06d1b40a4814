"""
What is counted with on the hot path, and what is read from it.

An instrument is fetched once, where a listener or backend is made, and used per connection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from attrs import frozen

from pmmux.metrics.catalogue import Metric

BUCKET_BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

Labels = tuple[tuple[str, str], ...]
Number = int | float


@frozen(slots=True)
class Distribution:
    """
    What a L{Duration} has observed.

    @ivar count: how many.
    @ivar sum_seconds: all together.
    @ivar buckets: for each of L{BUCKET_BOUNDS_SECONDS}, how many took no longer; the rest of
        C{count} took longer than the last.
    """

    count: int
    sum_seconds: float
    buckets: tuple[int, ...]


@frozen(slots=True)
class Sample:
    """
    One series at one moment.

    @ivar labels: pairs of name and value, sorted by name.
    @ivar value: a L{Distribution} for a duration, else a number.
    """

    metric: Metric
    labels: Labels
    value: Number | Distribution


class Counter:
    """
    A number that only grows: added to, or asked for when it is collected.

    @ivar value: may also be added to directly.
    @ivar callback: gives the value when it is collected; C{None} where it is added to.
    """

    __slots__ = ("callback", "value")

    def __init__(self) -> None:
        self.value: Number = 0
        self.callback: Callable[[], Number] | None = None

    def add(self, n: Number = 1) -> None:
        """Add C{n}, which is not negative."""
        self.value += n

    def read(self) -> Number:
        """The value now. Raises what the callback raises."""
        return self.value if self.callback is None else self.callback()


class Gauge:
    """
    A number that goes up and down: set, or asked for when it is collected.

    @ivar callback: gives the value when it is collected; C{None} where it is set.
    """

    __slots__ = ("callback", "value")

    def __init__(self) -> None:
        self.value: Number = 0
        self.callback: Callable[[], Number] | None = None

    def set(self, value: Number) -> None:
        """Let it be C{value}."""
        self.value = value

    def add(self, n: Number = 1) -> None:
        """Add C{n}, which may be negative."""
        self.value += n

    def read(self) -> Number:
        """The value now. Raises what the callback raises."""
        return self.value if self.callback is None else self.callback()


class Duration:
    """
    A distribution of times.

    @ivar sum_seconds: all that was observed.
    @ivar counts: how many fell into each bucket; one more than L{BUCKET_BOUNDS_SECONDS} has.
    """

    __slots__ = ("counts", "sum_seconds")

    def __init__(self) -> None:
        self.sum_seconds = 0.0
        self.counts = [0] * (len(BUCKET_BOUNDS_SECONDS) + 1)

    def observe(self, seconds: float) -> None:
        """Take in that something took C{seconds}."""
        self.sum_seconds += seconds
        self.counts[bisect_left(BUCKET_BOUNDS_SECONDS, seconds)] += 1

    def read(self) -> Distribution:
        """What has been observed up to now."""
        cumulated = []
        count = 0
        for bucket in self.counts:
            count += bucket
            cumulated.append(count)
        return Distribution(count, self.sum_seconds, tuple(cumulated[:-1]))
