"""Metrics in the log: what has changed, from time to time, and events as they come."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from pmmux.escape import field_value
from pmmux.interfaces import IMetricSink
from pmmux.metrics.instruments import Distribution, Labels, Sample
from pmmux.metrics.reporter import MetricReporter

DEFAULT_INTERVAL_SECONDS = 60.0
SERIES_LIMIT = 50


class Fields(dict[str, Any]):
    """Names and values that read C{ name=value name=value} in a message, and stay a mapping in JSON."""

    def __str__(self) -> str:
        return "".join(f" {field_value(name)}={field_value(str(value))}" for name, value in self.items())


class Series(list[dict[str, Any]]):
    """The series of a metric: one text in a message, and a list of mappings in JSON."""

    def __str__(self) -> str:
        return "; ".join(_series_text(series) for series in self)


def _series_text(series: dict[str, Any]) -> str:
    labels = ",".join(f"{name}={field_value(value)}" for name, value in series["labels"].items())
    head = f"{{{labels}}} " if labels else ""
    if "count" in series:
        return f"{head}count={series['count']} (+{series['change']}) mean={series['mean_seconds']:.6f}s"
    return f"{head}{series['value']} ({series['change']:+})"


def _is_zero(sample: Sample) -> bool:
    return not (sample.value.count if isinstance(sample.value, Distribution) else sample.value)


def _describe(sample: Sample, before: Sample | None) -> dict[str, Any]:
    """What C{sample} is, and by how much it changed in number since C{before}."""
    value = sample.value
    old = None if before is None else before.value
    labels = dict(sample.labels)
    if isinstance(value, Distribution):
        old_count = old.count if isinstance(old, Distribution) else 0
        old_sum = old.sum_seconds if isinstance(old, Distribution) else 0.0
        change = value.count - old_count
        mean = (value.sum_seconds - old_sum) / change if change else 0.0
        return {"labels": labels, "count": value.count, "change": change, "mean_seconds": mean}
    return {"labels": labels, "value": value, "change": value - (old if isinstance(old, (int, float)) else 0)}


@implementer(IMetricSink)
class LogSink:
    """
    Writes the series that have changed to the log, one event for each metric, at info.

    C{metric router.connection.total: {listener=front} 1234 (+56); {listener=alt} 7 (+1)}: the
    value, and the change since it was written before; for a distribution the number of
    observations, and the mean of the new ones. At most L{SERIES_LIMIT} series stand in one event,
    those that changed most.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval_seconds: float = DEFAULT_INTERVAL_SECONDS,
        log: Logger | None = None,
    ) -> None:
        """
        @param clock: times the interval.
        @param interval_seconds: above 0.
        @param log: where it goes; by default the logger C{metrics}.
        @raises ValueError: C{interval_seconds} is not above 0.
        """
        if not interval_seconds > 0:
            raise ValueError("the interval must be above 0 seconds")
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._log = Logger(namespace="pmmux.metrics") if log is None else log
        self._reporter: MetricReporter | None = None
        self._delayed: IDelayedCall | None = None
        self._written: dict[tuple[str, Labels], Sample] = {}

    def event(self, name: str, fields: Mapping[str, str]) -> None:
        """As L{IMetricSink.event}."""
        self._log.info("event {event}{fields}", event=name, fields=Fields(fields))

    def start(self, reporter: MetricReporter) -> None:
        """As L{IMetricSink.start}."""
        self._reporter = reporter
        self._schedule()

    def stop(self) -> None:
        """As L{IMetricSink.stop}: writes what has changed since the last time."""
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
        self.write()

    def write(self) -> None:
        """Write what has changed since it was written before."""
        if self._reporter is None:
            return
        before, self._written = self._written, {}
        for metric, samples in groupby(self._reporter.collect(), key=lambda sample: sample.metric):
            changed = Series()
            for sample in samples:
                key = (metric.name, sample.labels)
                self._written[key] = sample
                old = before.get(key)
                if not _is_zero(sample) if old is None else old.value != sample.value:
                    changed.append(_describe(sample, old))
            if changed:
                self._write_metric(metric.name, metric.unit, changed)

    def _write_metric(self, name: str, unit: str, changed: Series) -> None:
        left_out = len(changed) - SERIES_LIMIT
        if left_out <= 0:
            self._log.info("metric {metric}: {series}", metric=name, unit=unit, series=changed)
            return
        most = Series(sorted(changed, key=lambda series: -abs(series["change"]))[:SERIES_LIMIT])
        self._log.info(
            "metric {metric}: {series}; and {left_out} more",
            metric=name,
            unit=unit,
            series=most,
            left_out=left_out,
        )

    def _schedule(self) -> None:
        self._delayed = self._clock.callLater(self._interval_seconds, self._write_and_schedule)

    def _write_and_schedule(self) -> None:
        self._delayed = None
        try:
            self.write()
        finally:
            self._schedule()
