"""
What metrics are called in Prometheus: as in the catalogue, with C{pmmux_} before and underscores for dots,
and with the endings that Prometheus wants: C{_total} for counters, C{_seconds} for durations.
"""

from __future__ import annotations

from pmmux.metrics.catalogue import COUNTER, DURATION, Metric

PREFIX = "pmmux_"
TOTAL = "_total"
SECONDS = "_seconds"


def family_name(metric: Metric) -> str:
    """
    What C{metric} is called, without the endings of its samples.

    @see: U{https://prometheus.io/docs/practices/naming/}
    """
    name = PREFIX + metric.name.replace(".", "_").replace("-", "_")
    if metric.kind == COUNTER:
        return name.removesuffix(TOTAL)
    return name + SECONDS if metric.kind == DURATION else name


def sample_names(metric: Metric) -> tuple[str, ...]:
    """The names of the series that C{metric} becomes."""
    name = family_name(metric)
    if metric.kind == COUNTER:
        return (name + TOTAL,)
    if metric.kind == DURATION:
        return tuple(name + ending for ending in ("_bucket", "_count", "_sum"))
    return (name,)
