"""
Metrics for OpenTelemetry: sent to a collector from time to time, as protobuf over HTTP. Needs the
extra C{otlp}.

All that is counted is sent as it is since the start (cumulative temporality), so what one export
failed to bring, the next one brings.

@see: U{https://opentelemetry.io/docs/specs/otlp/#otlphttp}
"""

from __future__ import annotations

import gzip
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as ProtoMetric
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from zope.interface import implementer

from pmmux import __version__
from pmmux.escape import printable
from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import COUNTER, DURATION, Metric
from pmmux.metrics.instruments import BUCKET_BOUNDS_SECONDS, Distribution, Sample
from pmmux.metrics.reporter import MetricReporter

PREFIX = "pmmux."
CONNECT_SECONDS = 5.0
EXPORT_SECONDS = 10.0
LAST_EXPORT_SECONDS = 2.0
ANSWER_LIMIT_OCTETS = 64 * 1024
LONGEST_PAUSE_SECONDS = 3600.0
# UCUM, as OpenTelemetry wants it; what is counted stands in braces.
_UNITS = {"seconds": "s", "octets": "By"}
_OK = 200
_NANOSECONDS = 1_000_000_000


def encode(samples: Iterable[Sample], started_at: float, now: float, resource: Mapping[str, str]) -> bytes:
    """
    An C{ExportMetricsServiceRequest}.

    @param started_at: since when it was counted, in seconds since 1970.
    @param now: when C{samples} were collected, likewise.
    """
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(_attributes(resource.items()))
    scope = group.scope_metrics.add()
    scope.scope.name = "pmmux"
    scope.scope.version = __version__
    times = {
        "start_time_unix_nano": int(started_at * _NANOSECONDS),
        "time_unix_nano": int(now * _NANOSECONDS),
    }
    known: Metric | None = None
    target: Any = None
    for sample in samples:
        if sample.metric is not known:
            known = sample.metric
            target = _add_metric(scope, known)
        target.data_points.append(_point(sample, times))
    octets: bytes = request.SerializeToString()
    return octets


def _add_metric(scope: Any, metric: Metric) -> Any:
    unit = _UNITS.get(metric.unit) or f"{{{metric.unit}}}"
    added: ProtoMetric = scope.metrics.add(
        name=PREFIX + metric.name, unit=unit, description=metric.description
    )
    if metric.kind == COUNTER:
        added.sum.is_monotonic = True
        added.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        return added.sum
    if metric.kind == DURATION:
        added.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        return added.histogram
    return added.gauge


def _point(sample: Sample, times: Mapping[str, Any]) -> Any:
    attributes = _attributes(sample.labels)
    value = sample.value
    if isinstance(value, Distribution):
        below = (0, *value.buckets)
        counts = [count - before for before, count in zip(below, (*value.buckets, value.count), strict=True)]
        return HistogramDataPoint(
            attributes=attributes,
            count=value.count,
            sum=value.sum_seconds,
            bucket_counts=counts,
            explicit_bounds=BUCKET_BOUNDS_SECONDS,
            **times,
        )
    if isinstance(value, float):
        return NumberDataPoint(attributes=attributes, as_double=value, **times)
    return NumberDataPoint(attributes=attributes, as_int=value, **times)


def _attributes(pairs: Iterable[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=name, value=AnyValue(string_value=_text(value))) for name, value in pairs]


def _text(value: str) -> str:
    # Names from a configuration may hold what UTF-8 cannot.
    return value.encode("utf-8", "replace").decode()


def resource_of_this_process() -> dict[str, str]:
    """What tells one pmmux from another."""
    return {
        "service.name": "pmmux",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
        "process.pid": str(os.getpid()),
    }


def make_agent(reactor: Any) -> Any:
    """What sends requests; it keeps its connection to the collector."""
    make: Any = Agent
    pool: Any = HTTPConnectionPool
    return make(reactor, connectTimeout=CONNECT_SECONDS, pool=pool(reactor))


class _Refused(Exception):
    """The collector did not take it."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class _Answer(Protocol):
    """
    Reads the body of an answer, as far as it may go.

    @ivar done: fires with it; cancelling closes the connection.
    """

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._give_up())
        self._octets = bytearray()

    def _give_up(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > ANSWER_LIMIT_OCTETS:
            self._give_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.callback(bytes(self._octets))


@implementer(IMetricSink)
class OTLPSink:
    """Exports at intervals, one export at a time, and a last time at the end."""

    log = Logger()

    def __init__(
        self,
        clock: Any,
        agent: Any,
        url: str,
        interval_seconds: float,
        authorization: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param agent: an L{twisted.web.iweb.IAgent}.
        @param url: of the collector, with its path.
        @param authorization: the value of the header; C{None} for none.
        @param now: seconds since 1970.
        """
        self._clock = clock
        self._agent = agent
        self._url = url
        self._interval_seconds = interval_seconds
        self._now = now
        self._started_at = now()
        self._resource: dict[str, str] = {}
        self._reporter: MetricReporter | None = None
        self._timer: Any = None
        self._exporting: Deferred[None] | None = None
        self._paused_until = 0.0
        self._trouble = ""
        self._headers = Headers(
            {
                "Content-Type": ["application/x-protobuf"],
                "Content-Encoding": ["gzip"],
                "User-Agent": [f"pmmux/{__version__}"],
            }
        )
        if authorization is not None:
            self._headers.setRawHeaders("Authorization", [authorization])

    def event(self, name: str, fields: object) -> None:
        """As L{IMetricSink.event}: events are not exported."""

    def start(self, reporter: MetricReporter) -> None:
        """As L{IMetricSink.start}."""
        self._reporter = reporter
        self._resource = resource_of_this_process()
        self._schedule()

    def stop(self) -> Deferred[None]:
        """
        As L{IMetricSink.stop}.

        @return: fires when what was counted last is told, or that was tried for long enough.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._exporting is not None:
            self._exporting.cancel()
        return self._begin(LAST_EXPORT_SECONDS)

    def _schedule(self) -> None:
        self._timer = self._clock.callLater(self._interval_seconds, self._tick)

    def _tick(self) -> None:
        self._schedule()
        if self._exporting is None and self._clock.seconds() >= self._paused_until:
            self._begin(EXPORT_SECONDS)

    def _begin(self, seconds: float) -> Deferred[None]:
        exporting = Deferred.fromCoroutine(self._export())
        exporting.addTimeout(seconds, self._clock)
        self._exporting = exporting

        def end(result: object) -> None:
            self._exporting = None
            self._conclude(result)

        exporting.addBoth(end)
        return exporting

    async def _export(self) -> None:
        if self._reporter is None:
            return
        octets = encode(self._reporter.collect(), self._started_at, self._now(), self._resource)
        make_body: Any = FileBodyProducer
        body = make_body(BytesIO(gzip.compress(octets, compresslevel=1)))
        answer = await self._agent.request(b"POST", self._url.encode(), self._headers, body)
        reading = _Answer()
        answer.deliverBody(reading)
        told = await reading.done
        if answer.code != _OK:
            raise _Refused(f"the collector answers {answer.code}", _pause_seconds(answer.headers))
        self._look_at(told)

    def _look_at(self, octets: bytes) -> None:
        response = ExportMetricsServiceResponse()
        try:
            response.ParseFromString(octets)
        except Exception:  # protobuf's own, of another name in each of its implementations
            raise _Refused("what answers is no collector") from None
        partial = response.partial_success
        if partial.rejected_data_points:
            message = printable(partial.error_message)
            raise _Refused(f"the collector refused {partial.rejected_data_points} series: {message}")

    def _conclude(self, result: object) -> None:
        trouble = ""
        if isinstance(result, Failure):
            error: Any = result.value
            if isinstance(error, CancelledError):
                return
            if isinstance(error, _Refused):
                self._paused_until = self._clock.seconds() + error.pause_seconds
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error)
            trouble = printable(reason) or type(error).__name__
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                self.log.warn("metrics cannot be sent to {url}: {reason}", url=self._url, reason=trouble)
            else:
                self.log.info("metrics are sent to {url} again", url=self._url)


def _pause_seconds(headers: Headers) -> float:
    # RFC 9110, section 10.2.3; the form with a date is taken as none.
    (text, *_) = headers.getRawHeaders("Retry-After") or ["0"]
    return min(float(text), LONGEST_PAUSE_SECONDS) if text.isdigit() else 0.0
