"""
Metrics for Prometheus: C{/metrics} on a listener of its own. Needs the extra C{prometheus}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from pmmux.config.values import Target
from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import COUNTER, DURATION, Metric
from pmmux.metrics.instruments import BUCKET_BOUNDS_SECONDS, Distribution, Sample
from pmmux.metrics.prometheus_names import PREFIX, TOTAL, family_name
from pmmux.metrics.reporter import MetricReporter
from pmmux.transport.sockets import close_sockets, open_stream_sockets

NAME = "metrics"
PATH = b"metrics"
BACKLOG = 16
SILENCE_SECONDS = 30
# Written in 20 ms at most.
SAMPLES_AT_ONCE = 200
PAGES_AT_A_TIME = 4
_KINDS = {COUNTER: "counter", DURATION: "histogram"}
_BOUNDS = (*map(floatToGoString, BUCKET_BOUNDS_SECONDS), "+Inf")


class ReporterCollector:
    """Gives what was collected as Prometheus wants it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        """For the registry of C{prometheus_client}."""
        family: Family | None = None
        known: Metric | None = None
        for sample in self._samples:
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
        ending = TOTAL if family.type == "counter" else ""
        family.add_sample(family.name + ending, labels, value)
        return
    for bound, count in zip(_BOUNDS, (*value.buckets, value.count), strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, value.count)
    family.add_sample(f"{family.name}_sum", labels, value.sum_seconds)


class MetricsPage(Resource):
    """
    Answers C{GET /metrics}, and nothing else. When nobody asks it costs nothing.

    What there is is collected at once; where that is much, a thread writes the page meanwhile: 1,000
    histograms take half a second, in which no connection would be served.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, reporter: MetricReporter, run_aside: Callable[..., Deferred[bytes]]) -> None:
        """@param run_aside: calls what it is given in a thread; C{deferToThread}."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reporter = reporter
        self._run_aside = run_aside
        self._writing = 0

    def render_HEAD(self, request: Any) -> bytes:
        """As L{Resource.render}."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b""

    def render_GET(self, request: Any) -> bytes | int:
        """As L{Resource.render}."""
        if request.postpath != [PATH]:
            request.setResponseCode(404)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"metrics are at /metrics\n"
        accepted = request.getHeader(b"accept") or b""
        encode, content_type = choose_encoder(accepted.decode("latin-1"))
        request.setHeader(b"content-type", content_type.encode())
        samples = tuple(self._reporter.collect())
        if len(samples) <= SAMPLES_AT_ONCE:
            return _write(encode, samples)
        if self._writing >= PAGES_AT_A_TIME:
            request.setResponseCode(503)
            return b""
        self._writing += 1
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        self._run_aside(_write, encode, samples).addBoth(self._written, request, gone)
        return NOT_DONE_YET

    def _written(self, page: bytes | Failure, request: Any, gone: list[object]) -> None:
        self._writing -= 1
        if isinstance(page, Failure):
            self.log.failure("the page of metrics cannot be written", page)
            request.setResponseCode(500)
            page = b""
        if not gone:
            request.write(page)
            request.finish()


def _write(encode: Callable[[CollectorRegistry], bytes], samples: Sequence[Sample]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReporterCollector(samples))
    ProcessCollector(namespace=PREFIX.rstrip("_"), registry=registry)
    return encode(registry)


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
        run_aside = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        make_site: Any = Site
        site = make_site(MetricsPage(reporter, run_aside), timeout=SILENCE_SECONDS, reactor=self._reactor)
        site.noisy = False
        site.displayTracebacks = False
        # No line for each scrape: what is no file drops them.
        site.log = lambda request: None
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
