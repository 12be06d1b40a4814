"""
Metrics for Prometheus: C{/metrics} on a listener of its own. Needs the extra C{prometheus}.

Names are those of the catalogue with C{pmmux_} before them, underscores for dots, and the endings that
Prometheus wants: C{_total} for counters, C{_seconds} for durations.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from pmmux.config.values import Target
from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import COUNTER, DURATION, Metric
from pmmux.metrics.instruments import BUCKET_BOUNDS_SECONDS, Distribution, Sample
from pmmux.metrics.reporter import MetricReporter
from pmmux.transport.sockets import close_sockets, open_stream_sockets

NAME = "metrics"
PATH = b"metrics"
PREFIX = "pmmux_"
BACKLOG = 16
SILENCE_SECONDS = 30
_TOTAL = "_total"
_SECONDS = "_seconds"
_KINDS = {COUNTER: "counter", DURATION: "histogram"}
_BOUNDS = (*map(floatToGoString, BUCKET_BOUNDS_SECONDS), "+Inf")


def family_name(metric: Metric) -> str:
    """
    What C{metric} is called, without the endings of its samples.

    @see: U{https://prometheus.io/docs/practices/naming/}
    """
    name = PREFIX + metric.name.replace(".", "_").replace("-", "_")
    if metric.kind == COUNTER:
        return name.removesuffix(_TOTAL)
    return name + _SECONDS if metric.kind == DURATION else name


def sample_names(metric: Metric) -> tuple[str, ...]:
    """The names of the series that C{metric} becomes."""
    name = family_name(metric)
    if metric.kind == COUNTER:
        return (name + _TOTAL,)
    if metric.kind == DURATION:
        return tuple(name + ending for ending in ("_bucket", "_count", "_sum"))
    return (name,)


class ReporterCollector(Collector):
    """Reads the reporter when Prometheus asks; in between it costs nothing."""

    def __init__(self, reporter: MetricReporter) -> None:
        self._reporter = reporter

    def collect(self) -> Iterator[Family]:
        """As L{Collector.collect}."""
        family: Family | None = None
        known: Metric | None = None
        for sample in self._reporter.collect():
            metric = sample.metric
            if metric is not known:
                if family is not None:
                    yield family
                known = metric
                family = Family(family_name(metric), metric.description, _KINDS.get(metric.kind, "gauge"))
            assert family is not None
            _add(family, sample)
        if family is not None:
            yield family


def _add(family: Family, sample: Sample) -> None:
    # Names from a configuration may hold what UTF-8 cannot.
    labels = {name: value.encode("utf-8", "replace").decode() for name, value in sample.labels}
    value = sample.value
    if not isinstance(value, Distribution):
        ending = _TOTAL if family.type == "counter" else ""
        family.add_sample(family.name + ending, labels, value)
        return
    for bound, count in zip(_BOUNDS, (*value.buckets, value.count), strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, value.count)
    family.add_sample(f"{family.name}_sum", labels, value.sum_seconds)


class MetricsPage(Resource):
    """Answers C{GET /metrics}, and nothing else."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_HEAD(self, request: Request) -> bytes:
        """As L{Resource.render}."""
        self.render_GET(request)
        return b""

    def render_GET(self, request: Request) -> bytes:
        """As L{Resource.render}."""
        if request.postpath != [PATH]:  # type: ignore[attr-defined]
            request.setResponseCode(404)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"metrics are at /metrics\n"
        accepted = request.getHeader(b"accept") or b""
        encode, content_type = choose_encoder(accepted.decode("latin-1"))
        request.setHeader(b"content-type", content_type.encode())
        page: bytes = encode(self._registry)
        return page


@implementer(IMetricSink)
class PrometheusSink:
    """The listener, from its opening to its end."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._sockets: list[socket.socket] = []
        self._ports: list[Any] = []

    def open(self, where: Target) -> None:
        """
        Listen, without answering yet.

        @raises pmmux.errors.ListenError: it cannot be.
        """
        self._sockets = open_stream_sockets(NAME, (where.host,), where.port, None, BACKLOG)

    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [opened.getsockname()[:2] for opened in self._sockets]

    def event(self, name: str, fields: object) -> None:
        """As L{IMetricSink.event}: Prometheus has no events."""

    def start(self, reporter: MetricReporter) -> None:
        """As L{IMetricSink.start}."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(ReporterCollector(reporter))
        ProcessCollector(namespace=PREFIX.rstrip("_"), registry=registry)
        site = Site(MetricsPage(registry), timeout=SILENCE_SECONDS, reactor=self._reactor)
        site.noisy = False
        site.displayTracebacks = False
        # No line for each scrape: what is no file drops them.
        site.log = lambda request: None  # type: ignore[method-assign]
        for opened in self._sockets:
            port = self._reactor.adoptStreamPort(opened.fileno(), opened.family, site)
            self._ports.append(port)
        for host, number in self.addresses():
            self.log.info("metrics for Prometheus on {host} port {port}", host=host, port=number)

    def stop(self) -> None:
        """As L{IMetricSink.stop}."""
        for port in self._ports:
            port.stopListening()
        self._ports.clear()
        close_sockets(self._sockets)
        self._sockets = []
