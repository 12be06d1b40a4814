"""Metrics of the real process: where Prometheus looks, and what a collector of OpenTelemetry is sent."""

from __future__ import annotations

import http.client
from typing import Any

from tests.support.case import PmmuxCase, one_upstream, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import PORTABLE, Pmmux
from tests.support.waiting import free_port, wait_for

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    text_string_to_metric_families = None
try:
    from tests.support.collector import Collector
except ImportError:
    Collector = None  # type: ignore[assignment,misc]


class MetricsCase(PmmuxCase):
    def run_one(self, more: str, environment: dict[str, str] | None = None) -> Pmmux:
        """Start pmmux, route a connection, refuse another."""
        upstream = Peer(self, echo).port
        started = self.start(one_upstream(upstream, more, "detect = ssh"), environment=environment)
        client = self.connect(started)
        client.sendall(b"SSH-2.0-x\r\n")
        read_exactly(client, 11)
        client.close()
        other = self.connect(started)
        other.sendall(b"nobody speaks this\n")
        self.assert_ended(other)
        started.wait_finished(2)
        return started


class PrometheusTests(MetricsCase):
    if text_string_to_metric_families is None:
        skip = "missing: prometheus-client"

    def scrape(self, port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.read().decode())
            for sample in family.samples
        }

    def test_what_happened_is_there(self) -> None:
        port = free_port()
        self.run_one(f"metrics-listen = {port}")
        found = self.scrape(port)
        self.assertEqual(found["pmmux_router_connection_total", ()], 2)
        self.assertEqual(found["pmmux_router_connection_routed_total", ()], 1)
        self.assertEqual(found["pmmux_router_connection_ended_total", (("outcome", "no-backend"),)], 1)
        self.assertEqual(found["pmmux_backend_connection_accepted_total", (("backend", "up"),)], 1)
        self.assertEqual(found["pmmux_backend_connections_active", (("backend", "up"),)], 0)
        self.assertGreaterEqual(found["pmmux_client_ingress_bytes_total", ()], 11)
        self.assertGreater(found["pmmux_router_selection_duration_seconds_count", ()], 0)
        self.assertIn(("pmmux_process_open_fds", ()), found)

    def test_time_to_connect(self) -> None:
        # By the express lane, and by the general course.
        for environment in (None, PORTABLE):
            port = free_port()
            self.run_one(f"metrics-listen = {port}", environment)
            found = self.scrape(port)
            self.assertEqual(found["pmmux_backend_connect_duration_seconds_count", (("backend", "up"),)], 1)

    def test_not_unless_asked_for(self) -> None:
        started = self.run_one("")
        self.assertNotIn("Prometheus", started.output())

    def test_a_port_that_is_taken(self) -> None:
        taken = self.listen()
        port = taken.getsockname()[1]
        refused = Pmmux(self.make_directory("refused"), one_upstream(9, f"metrics-listen = {port}"))
        self.assertEqual(refused.wait(), 1)
        self.assertIn(f"listener metrics: cannot listen on 127.0.0.1:{port}", refused.output())


class OTLPTests(MetricsCase):
    if Collector is None:
        skip = "missing: opentelemetry-proto"

    def setUp(self) -> None:
        super().setUp()
        self.collector: Any = Collector(self)
        self.more = f"otlp-endpoint = http://127.0.0.1:{self.collector.port}\nmetrics-interval = 200ms"

    def wait_received(self, count: int = 1) -> None:
        wait_for(lambda: len(self.collector.received) >= count, "an export")

    def test_what_happened_is_sent(self) -> None:
        self.run_one(f"{self.more}\notlp-authorization = Bearer x")
        self.wait_received(len(self.collector.received) + 2)
        metrics = self.collector.metrics()
        (total,) = metrics["pmmux.router.connection.total"].sum.data_points
        self.assertEqual(total.as_int, 2)
        self.assertTrue(metrics["pmmux.router.connection.total"].sum.is_monotonic)
        self.assertEqual(metrics["pmmux.router.connection.total"].unit, "{connections}")
        (active,) = metrics["pmmux.backend.connections.active"].gauge.data_points
        self.assertEqual(active.attributes[0].value.string_value, "up")
        (selection,) = metrics["pmmux.router.selection.duration"].histogram.data_points
        self.assertEqual(sum(selection.bucket_counts), selection.count)
        self.assertEqual(len(selection.bucket_counts), len(selection.explicit_bounds) + 1)
        self.assertGreater(total.time_unix_nano, total.start_time_unix_nano)
        self.assertEqual(self.collector.resource()["service.name"], "pmmux")
        headers = self.collector.headers[-1]
        self.assertEqual((headers["path"], headers["Authorization"]), ("/v1/metrics", "Bearer x"))

    def test_what_was_counted_last_is_sent_at_the_end(self) -> None:
        started = self.run_one(self.more.replace("200ms", "1h"))
        self.assertEqual(self.collector.received, [])
        self.assertEqual(started.stop(), 0)
        self.wait_received()
        (total,) = self.collector.metrics()["pmmux.router.connection.total"].sum.data_points
        self.assertEqual(total.as_int, 2)

    def test_a_collector_in_trouble(self) -> None:
        self.collector.answers = [503, 500, 400]
        started = self.run_one(self.more)
        self.wait_received(5)
        messages = [event["message"] for event in started.events() if event["logger"] == "metrics.otlp"]
        self.assertIn("503", messages[0])
        wait_for(lambda: "again" in started.output(), "all is well again")

    def test_a_collector_that_is_not_there(self) -> None:
        port = free_port()
        started = self.run_one(f"otlp-endpoint = http://127.0.0.1:{port}\nmetrics-interval = 100ms")
        wait_for(lambda: "metrics cannot be sent" in started.output(), "a warning")
        self.assertEqual(started.stop(), 0)

    def test_what_a_collector_refuses_is_told_safely(self) -> None:
        self.collector.rejected = 3
        started = self.run_one(self.more)
        wait_for(lambda: "refused 3 series" in started.output(), "a warning")
        self.assertNotIn("\x1b", started.output())
