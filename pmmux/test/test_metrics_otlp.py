from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface.verify import verifyObject

from pmmux.config.steering_options import collector_url, header_value
from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import STANDARD_METRICS
from pmmux.metrics.reporter import MetricReporter

try:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )

    from pmmux.metrics import otlp
except ImportError:
    otlp = None  # type: ignore[assignment]

URL = "http://collector.example:4318/v1/metrics"


class FakeAnswer:
    """An answer whose body is there at once."""

    def __init__(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in headers.items()})
        self._body = body

    def deliverBody(self, protocol: Any) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost()


class FakeAgent:
    """@ivar requests: what was asked, and what the answer is waited for with."""

    def __init__(self) -> None:
        self.requests: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def request(self, method: bytes, url: bytes, headers: Headers, body: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred(self._cancel)
        request = ExportMetricsServiceRequest()
        request.ParseFromString(gzip.decompress(body._inputFile.read()))
        self.requests.append(((method, url, headers, request), waiting))
        return waiting

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1

    def answer(self, code: int = 200, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.requests[-1][1].callback(FakeAnswer(code, body, named))


class OTLPCase(SynchronousTestCase):
    def setUp(self) -> None:
        if otlp is None:
            raise SkipTest("missing: opentelemetry-proto")
        self.clock = Clock()
        self.agent = FakeAgent()
        self.reporter = MetricReporter()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.sink = otlp.OTLPSink(self.clock, self.agent, URL, 10.0, "Bearer x", now=lambda: 1000.0)

    def begin(self) -> None:
        self.reporter.add_sink(self.sink)
        self.reporter.start()

    def end(self) -> None:
        stopped = self.reporter.stop()
        if self.agent.requests and not self.agent.requests[-1][1].called:
            self.agent.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def warnings(self) -> list[str]:
        return [event["reason"] for event in self.events if event.get("reason")]


class ExportTests(OTLPCase):
    def test_contract(self) -> None:
        verifyObject(IMetricSink, self.sink)

    def test_at_intervals(self) -> None:
        self.begin()
        self.clock.advance(9.9)
        self.assertEqual(self.agent.requests, [])
        self.clock.advance(0.1)
        (method, url, headers, _), _ = self.agent.requests[0]
        self.assertEqual((method, url), (b"POST", URL.encode()))
        self.assertEqual(headers.getRawHeaders("Authorization"), ["Bearer x"])
        self.agent.answer()
        self.clock.advance(10)
        self.agent.answer()
        self.assertEqual(len(self.agent.requests), 2)
        self.end()

    def test_one_at_a_time(self) -> None:
        self.sink = otlp.OTLPSink(self.clock, self.agent, URL, 1.0)
        self.begin()
        for _ in range(5):
            self.clock.advance(1)
        self.assertEqual(len(self.agent.requests), 1)
        self.agent.answer()
        self.clock.advance(1)
        self.assertEqual(len(self.agent.requests), 2)
        self.agent.answer()
        self.end()

    def test_one_that_takes_too_long_is_given_up(self) -> None:
        self.begin()
        self.clock.advance(10)
        self.clock.advance(otlp.EXPORT_SECONDS)
        self.assertEqual(self.agent.cancelled, 1)
        self.assertEqual(self.warnings(), ["it took too long"])
        self.end()

    def test_a_last_time(self) -> None:
        self.begin()
        self.reporter.counter("router.connection.total").add()
        stopped = self.reporter.stop()
        self.assertEqual(len(self.agent.requests), 1)
        self.assertNoResult(stopped)
        self.clock.advance(otlp.LAST_EXPORT_SECONDS)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_trouble_is_told_once(self) -> None:
        self.begin()
        for _ in range(3):
            self.clock.advance(10)
            self.agent.requests[-1][1].errback(Failure(ConnectionRefusedError("no\x1b[2J")))
        self.assertEqual(len(self.warnings()), 1)
        self.assertNotIn("\x1b", self.warnings()[0])
        self.clock.advance(10)
        self.agent.answer()
        self.assertTrue(any("again" in event["log_format"] for event in self.events if "log_format" in event))
        self.end()

    def test_retry_after(self) -> None:
        self.begin()
        self.clock.advance(10)
        self.agent.answer(429, Retry_After="25")
        for expected in (1, 1, 2):
            self.clock.advance(10)
            self.assertEqual(len(self.agent.requests), expected)
        self.agent.answer(503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")
        self.clock.advance(10)
        self.agent.answer(503, Retry_After="9" * 400)
        self.assertLessEqual(self.sink._paused_until, self.clock.seconds() + otlp.LONGEST_PAUSE_SECONDS)
        self.end()

    def test_what_answers_is_no_collector(self) -> None:
        self.begin()
        self.clock.advance(10)
        self.agent.answer(200, b"<html>")
        self.assertEqual(self.warnings(), ["what answers is no collector"])
        self.end()

    def test_some_are_refused(self) -> None:
        self.begin()
        response = ExportMetricsServiceResponse()
        response.partial_success.rejected_data_points = 2
        self.clock.advance(10)
        self.agent.answer(200, response.SerializeToString())
        self.assertIn("refused 2 series", self.warnings()[0])
        self.end()


class EncodingTests(OTLPCase):
    def encode(self) -> dict[str, Any]:
        octets = otlp.encode(self.reporter.collect(), 900.0, 1000.0, {"service.name": "pmmux"})
        request = ExportMetricsServiceRequest()
        request.ParseFromString(octets)
        return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}

    def test_kinds(self) -> None:
        self.reporter.counter("client.ingress.bytes").add(5)
        self.reporter.gauge("backend.connections.active", lambda: 1.5, backend="\ud800")
        for seconds in (0.0001, 0.02, 100.0):
            self.reporter.duration("router.selection.duration").observe(seconds)
        found = self.encode()
        octets = found["pmmux.client.ingress.bytes"]
        self.assertEqual((octets.unit, octets.sum.data_points[0].as_int), ("By", 5))
        self.assertEqual(octets.sum.data_points[0].start_time_unix_nano, 900_000_000_000)
        active = found["pmmux.backend.connections.active"].gauge.data_points[0]
        self.assertEqual((active.as_double, active.attributes[0].value.string_value), (1.5, "?"))
        selection = found["pmmux.router.selection.duration"].histogram.data_points[0]
        self.assertEqual((selection.count, sum(selection.bucket_counts)), (3, 3))
        self.assertEqual((selection.bucket_counts[0], selection.bucket_counts[-1]), (1, 1))

    def test_all_of_them(self) -> None:
        makers = {
            "counter": self.reporter.counter,
            "gauge": self.reporter.gauge,
            "duration": self.reporter.duration,
        }
        for metric in STANDARD_METRICS:
            makers[metric.kind](metric.name)
        found = self.encode()
        self.assertEqual(set(found), {f"pmmux.{metric.name}" for metric in STANDARD_METRICS})
        self.assertTrue(all(metric.unit and metric.description for metric in found.values()))


class OptionTests(SynchronousTestCase):
    def test_url(self) -> None:
        self.assertEqual(collector_url("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/metrics")
        self.assertEqual(collector_url("https://x/otlp/"), "https://x/otlp/v1/metrics")
        self.assertEqual(collector_url("http://x/v1/metrics"), "http://x/v1/metrics")
        bad = (
            "",
            "x",
            "ftp://x",
            "http://",
            "http://u:p@x",
            "http://x/?a",
            "http://x:99999",
            "http://x/\u00e9",
        )
        for text in (*bad, "http://x/a b"):
            self.assertRaises(ValueError, collector_url, text)

    def test_header(self) -> None:
        self.assertEqual(header_value(" Bearer x "), "Bearer x")
        for text in ("", "a\r\nb", "\u00e9"):
            self.assertRaises(ValueError, header_value, text)
