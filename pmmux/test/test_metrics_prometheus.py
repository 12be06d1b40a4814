from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from pmmux.interfaces import IMetricSink
from pmmux.metrics.catalogue import COUNTER, DURATION, GAUGE, STANDARD_METRICS, Metric
from pmmux.metrics.prometheus_names import sample_names
from pmmux.metrics.reporter import MetricReporter

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
    from prometheus_client.parser import text_string_to_metric_families as parse_text

    from pmmux.metrics import prometheus
except ImportError:
    prometheus = None  # type: ignore[assignment]

METRICS = (
    Metric("router.connection.total", COUNTER, "connections", "Accepted."),
    Metric("backend.connections.active", GAUGE, "connections", "Open."),
    Metric("router.selection.duration", DURATION, "seconds", "Chosen."),
)


class PrometheusCase(SynchronousTestCase):
    def setUp(self) -> None:
        if prometheus is None:
            raise SkipTest("missing: prometheus-client")
        self.reporter = MetricReporter(METRICS, label_sets_limit=2)
        self.aside: list[Any] = []

    def run_aside(self, *call: Any) -> Deferred[bytes]:
        waiting: Deferred[bytes] = Deferred()
        self.aside.append((waiting, *call))
        return waiting

    def finish_aside(self) -> None:
        waiting, write, *arguments = self.aside.pop()
        waiting.callback(write(*arguments))

    def scrape(self, head: bytes = b"GET /metrics HTTP/1.0\r\n") -> tuple[bytes, str]:
        """@return: the head and the body of the answer."""
        site = Site(prometheus.MetricsPage(self.reporter, self.run_aside), reactor=Clock())
        site.log = lambda request: None  # type: ignore[method-assign]
        channel: Any = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport: Any = StringTransportWithDisconnection()
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(head + b"\r\n")
        if self.aside:
            self.assertEqual(transport.value(), b"")
            self.finish_aside()
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return head, body.decode()

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = parse_text(self.scrape()[1])
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
            if not family.name.startswith("pmmux_process_")
        }


class PageTests(PrometheusCase):
    def test_counter_and_gauge(self) -> None:
        self.reporter.counter("router.connection.total", listener="front").add(3)
        self.reporter.gauge("backend.connections.active", lambda: 2, backend="web")
        found = self.samples()
        self.assertEqual(found["pmmux_router_connection_total", (("listener", "front"),)], 3)
        self.assertEqual(found["pmmux_backend_connections_active", (("backend", "web"),)], 2)

    def test_durations_are_histograms(self) -> None:
        duration = self.reporter.duration("router.selection.duration")
        for seconds in (0.0001, 0.02, 100.0):
            duration.observe(seconds)
        found = self.samples()
        name = "pmmux_router_selection_duration_seconds"
        self.assertEqual(found[f"{name}_bucket", (("le", "0.0001"),)], 1)
        self.assertEqual(found[f"{name}_bucket", (("le", "0.025"),)], 2)
        self.assertEqual(found[f"{name}_bucket", (("le", "+Inf"),)], 3)
        self.assertEqual(found[f"{name}_count", ()], 3)
        self.assertAlmostEqual(found[f"{name}_sum", ()], 100.0201)

    def test_further_label_sets_are_summed_up(self) -> None:
        for number in range(5):
            self.reporter.counter("router.connection.total", listener=str(number)).add()
        found = self.samples()
        self.assertEqual(found["pmmux_router_connection_total", (("overflow", "true"),)], 3)

    def test_any_label(self) -> None:
        for text in ('"\\\n', "\ud800"):
            self.reporter.counter("router.connection.total", listener=text).add()
        self.assertEqual(len(self.samples()), 2)

    def test_openmetrics(self) -> None:
        self.reporter.counter("router.connection.total").add()
        self.reporter.duration("router.selection.duration").observe(1.0)
        accept = b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text; version=1.0.0\r\n"
        head, body = self.scrape(accept)
        self.assertIn(b"openmetrics", head)
        names = {family.name for family in parse_openmetrics(body)}
        self.assertIn("pmmux_router_selection_duration_seconds", names)

    def test_much_is_written_aside(self) -> None:
        self.reporter = MetricReporter(METRICS)
        for number in range(300):
            self.reporter.counter("router.connection.total", listener=str(number)).add()
        self.assertEqual(len(self.samples()), 300)

    def test_elsewhere_there_is_nothing(self) -> None:
        for path in (b"/", b"/metrics/x", b"/metricsx", b"/%2e%2e/metrics", b"//metrics"):
            head, _ = self.scrape(b"GET " + path + b" HTTP/1.0\r\n")
            self.assertIn(b" 404 ", head)

    def test_methods(self) -> None:
        self.assertIn(b" 405 ", self.scrape(b"POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n")[0])
        head, body = self.scrape(b"HEAD /metrics HTTP/1.0\r\n")
        self.assertIn(b" 200 ", head)
        self.assertEqual(body, "")


class NameTests(PrometheusCase):
    def test_every_metric_has_a_name_of_its_own(self) -> None:
        names = [name for metric in STANDARD_METRICS for name in sample_names(metric)]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"^pmmux_[a-z_]+$")

    def test_the_standard_ones_parse(self) -> None:
        reporter = self.reporter = MetricReporter()
        for metric in STANDARD_METRICS:
            {COUNTER: reporter.counter, GAUGE: reporter.gauge, DURATION: reporter.duration}[metric.kind](
                metric.name
            )
        families = {family.name for family in parse_text(self.scrape()[1])}
        ours = {family for family in families if not family.startswith("pmmux_process_")}
        self.assertEqual(len(ours), len(STANDARD_METRICS))

    def test_contract(self) -> None:
        verifyObject(IMetricSink, prometheus.PrometheusSink(None))
