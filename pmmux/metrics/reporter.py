"""The one place where what happens is counted, and where sinks read it from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import COUNTER, DURATION, GAUGE, STANDARD_METRICS, Metric
from pmmux.metrics.instruments import Counter, Duration, Gauge, Labels, Number, Sample

DEFAULT_LABEL_SETS_LIMIT = 1000
OVERFLOW_LABELS: Labels = (("overflow", "true"),)

_Instrument = Counter | Gauge | Duration
_T = TypeVar("_T", Counter, Gauge, Duration)


class _Family:
    """One metric with its series."""

    __slots__ = ("metric", "overflow", "series")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.series: dict[Labels, _Instrument] = {}
        self.overflow: _Instrument | None = None

    def read(self) -> Iterator[tuple[Labels, _Instrument]]:
        yield from self.series.items()
        if self.overflow is not None:
            yield OVERFLOW_LABELS, self.overflow


class MetricReporter:
    """
    Counts, measures, and tells sinks.

    To be used in the reactor's thread only.

    @ivar label_sets_limit: how many series one metric may have; may be raised any time.
    """

    log = Logger()

    def __init__(
        self, metrics: Iterable[Metric] = STANDARD_METRICS, label_sets_limit: int = DEFAULT_LABEL_SETS_LIMIT
    ) -> None:
        """
        @param metrics: those known from the start.
        @param label_sets_limit: how many series one metric may have. What is reported under further
            labels goes to one series, labelled C{overflow="true"}.
        """
        self._families: dict[str, _Family] = {}
        self.label_sets_limit = label_sets_limit
        self._sinks: list[Any] = []
        self._running = False
        self._failed_gauges: set[tuple[str, Labels]] = set()
        self._durations: dict[tuple[str, str], DurationsByLabel] = {}
        for metric in metrics:
            self.register(metric)

    def register(self, metric: Metric) -> None:
        """
        Make C{metric} known, so that it can be reported.

        @raises ValueError: another metric has that name, or its kind is none.
        """
        if metric.kind not in {COUNTER, GAUGE, DURATION}:
            raise ValueError(f"metric {metric.name!r} is of no known kind: {metric.kind!r}")
        family = self._families.setdefault(metric.name, _Family(metric))
        if family.metric != metric:
            raise ValueError(f"metric {metric.name!r} is registered already, as {family.metric}")

    def counter(self, name: str, callback: Callable[[], Number] | None = None, /, **labels: str) -> Counter:
        """
        The counter C{name} with C{labels}: always the same one.

        @param callback: asked for the value whenever it is collected, from now on.
        @raises ValueError: there is no counter of that name.
        """
        counter = self._instrument(Counter, COUNTER, name, labels)
        if callback is not None:
            counter.callback = callback
        return counter

    def gauge(self, name: str, callback: Callable[[], Number] | None = None, /, **labels: str) -> Gauge:
        """
        The gauge C{name} with C{labels}: always the same one.

        @param callback: asked for the value whenever it is collected, from now on.
        @raises ValueError: there is no gauge of that name.
        """
        gauge = self._instrument(Gauge, GAUGE, name, labels)
        if callback is not None:
            gauge.callback = callback
        return gauge

    def duration(self, name: str, /, **labels: str) -> Duration:
        """
        The distribution C{name} with C{labels}: always the same one.

        @raises ValueError: there is no duration of that name.
        """
        return self._instrument(Duration, DURATION, name, labels)

    def durations(self, name: str, label: str) -> DurationsByLabel:
        """The distributions C{name} by the value of their one label: always the same mapping."""
        found = self._durations.get((name, label))
        if found is None:
            found = self._durations[name, label] = DurationsByLabel(self, name, label)
        return found

    def count(self, name: str, value: Number = 1, /, **labels: str) -> None:
        """Add C{value} to a counter, where it is not worth keeping."""
        self.counter(name, **labels).add(value)

    def forget(self, **labels: str) -> None:
        """
        Drop every series that has all of C{labels}: those of a backend that is gone.

        Instruments fetched before still work, and are collected no more.
        """
        wanted = labels.items()
        for family in self._families.values():
            for key in [key for key in family.series if wanted <= dict(key).items()]:
                del family.series[key]
        for kept in self._durations.values():
            # Whoever comes back under the name gets a series that is collected.
            kept.clear()

    def event(self, name: str, /, **fields: Any) -> None:
        """Tell every sink that something happened; the values are told as text."""
        if not self._sinks:
            return
        told = MappingProxyType({key: str(value) for key, value in fields.items()})
        for sink in self._sinks:
            self._tell(sink, "event", name, told)

    def collect(self) -> Iterator[Sample]:
        """Every series as it is now, metrics in the order they were registered."""
        for name in self._families:
            yield from self.series(name)

    def series(self, name: str) -> Iterator[Sample]:
        """Every series of the metric C{name} as it is now. @raises KeyError: it is not known."""
        family = self._families[name]
        for labels, instrument in family.read():
            try:
                value = instrument.read()
            except Exception:  # one broken callback must not hide all other metrics
                self._report_broken_gauge(name, labels)
                continue
            yield Sample(family.metric, labels, value)

    def add_sink(self, sink: Any) -> None:
        """
        Tell C{sink} of what happens from now on.

        @param sink: provides L{IMetricSink}; started at once if the reporter runs.
        @raises ValueError: it does not.
        """
        if not IMetricSink.providedBy(sink):
            raise ValueError(f"{sink!r} does not provide IMetricSink")
        self._sinks.append(sink)
        if self._running:
            self._tell(sink, "start", self)

    def start(self) -> None:
        """Start the sinks."""
        self._running = True
        for sink in self._sinks:
            self._tell(sink, "start", self)

    def stop(self) -> Deferred[None]:
        """
        Stop the sinks, the last one first; they may collect a last time.

        @return: fires when each has done what it still has to do.
        """
        if not self._running:
            return succeed(None)
        self._running = False
        endings = [self._tell(sink, "stop") for sink in reversed(self._sinks)]
        waiting = [ending for ending in endings if isinstance(ending, Deferred)]
        return DeferredList(waiting, consumeErrors=True).addCallback(lambda _: None)

    def _instrument(self, make: type[_T], kind: str, name: str, labels: dict[str, str]) -> _T:
        family = self._families.get(name)
        if family is None:
            raise ValueError(f"metric {name!r} is not known; register it first")
        if family.metric.kind != kind:
            raise ValueError(f"metric {name!r} is a {family.metric.kind}, not a {kind}")
        key = tuple(sorted(labels.items()))
        instrument = family.series.get(key)
        if instrument is None:
            instrument = self._add_series(family, key, make)
        return cast(_T, instrument)

    def _add_series(self, family: _Family, key: Labels, make: type[_Instrument]) -> _Instrument:
        if len(family.series) < self.label_sets_limit:
            instrument = family.series[key] = make()
            return instrument
        if family.overflow is None:
            family.overflow = make()
            self.log.warn(
                "metric {metric} has {limit} label sets; what comes under others is summed up as overflow",
                metric=family.metric.name,
                limit=self.label_sets_limit,
            )
        return family.overflow

    def _report_broken_gauge(self, name: str, labels: Labels) -> None:
        if (name, labels) not in self._failed_gauges:
            self._failed_gauges.add((name, labels))
            self.log.failure("metric {metric} {labels} cannot be read", metric=name, labels=dict(labels))

    def _tell(self, sink: Any, method: str, *arguments: object) -> Any:
        try:
            return getattr(sink, method)(*arguments)
        except Exception:  # a sink is a plugin: it must not stop the traffic it reports on
            self.log.failure("metric sink {sink} failed to {method}", sink=type(sink).__name__, method=method)


class _ByLabel(dict[str, _T]):
    """
    The instruments of one metric, by the value of their one label, made as they are asked for.

    A look-up takes 0.03 us; making one takes 1 us.
    """

    __slots__ = ("_label", "_make", "_name")

    def __init__(self, make: Callable[..., _T], name: str, label: str) -> None:
        super().__init__()
        self._make: Callable[..., _T] = make
        self._name = name
        self._label = label

    def __missing__(self, value: str) -> _T:
        made: _T = self._make(self._name, **{self._label: value})
        self[value] = made
        return made


class CountersByLabel(_ByLabel[Counter]):
    """The counters of one metric."""

    def __init__(self, reporter: MetricReporter, name: str, label: str) -> None:
        super().__init__(reporter.counter, name, label)


class DurationsByLabel(_ByLabel[Duration]):
    """The distributions of one metric; from L{MetricReporter.durations}."""

    def __init__(self, reporter: MetricReporter, name: str, label: str) -> None:
        super().__init__(reporter.duration, name, label)
