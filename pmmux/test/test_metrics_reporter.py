"""What is counted is what is collected, in bounded memory, whatever a sink does."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

from attrs.exceptions import FrozenInstanceError
from twisted.logger import capturedLogs
from twisted.trial import unittest
from zope.interface import implementer

from pmmux.interfaces import IMetricSink
from pmmux.metrics import catalogue
from pmmux.metrics.catalogue import COUNTER, STANDARD_METRICS, Metric
from pmmux.metrics.instruments import BUCKET_BOUNDS_SECONDS, Distribution
from pmmux.metrics.reporter import OVERFLOW_LABELS, MetricReporter

TOTAL = catalogue.ROUTER_CONNECTION_TOTAL
ACTIVE = catalogue.BACKEND_CONNECTIONS_ACTIVE
SELECTION = catalogue.ROUTER_SELECTION_DURATION


@implementer(IMetricSink)
class RecordingSink:
    """Remembers what it is told, in order."""

    def __init__(self, told: list[Any] | None = None, name: str = "") -> None:
        self.told: list[Any] = [] if told is None else told
        self.name = name

    def event(self, name: str, fields: Mapping[str, str]) -> None:
        self.told.append(("event", name, dict(fields)))

    def start(self, reporter: MetricReporter) -> None:
        self.told.append(("start" + self.name, reporter))

    def stop(self) -> None:
        self.told.append(("stop" + self.name,))


@implementer(IMetricSink)
class BrokenSink:
    def event(self, name: str, fields: Mapping[str, str]) -> None:
        raise RuntimeError("event")

    def start(self, reporter: MetricReporter) -> None:
        raise RuntimeError("start")

    def stop(self) -> None:
        raise RuntimeError("stop")


class ReporterTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.reporter = MetricReporter(label_sets_limit=3)

    def collected(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], Any]:
        return {(sample.metric.name, sample.labels): sample.value for sample in self.reporter.collect()}

    def test_counter(self) -> None:
        counter = self.reporter.counter(TOTAL, listener="front")
        counter.add()
        counter.add(2)
        self.assertEqual(counter.value, 3)
        self.assertEqual(self.collected(), {(TOTAL, (("listener", "front"),)): 3})

    def test_the_same_labels_are_the_same_instrument(self) -> None:
        first = self.reporter.counter(TOTAL, listener="front", transport="tcp")
        self.assertIs(self.reporter.counter(TOTAL, transport="tcp", listener="front"), first)
        self.assertIsNot(self.reporter.counter(TOTAL, listener="front"), first)

    def test_labels_of_any_name(self) -> None:
        self.reporter.count(TOTAL, name="a", self="b", value="c")
        self.assertEqual(self.collected(), {(TOTAL, (("name", "a"), ("self", "b"), ("value", "c"))): 1})

    def test_count(self) -> None:
        self.reporter.count(TOTAL)
        self.reporter.count(TOTAL, 4)
        self.assertEqual(self.collected(), {(TOTAL, ()): 5})

    def test_gauge(self) -> None:
        gauge = self.reporter.gauge(ACTIVE, backend="web")
        gauge.set(5)
        gauge.add(-2)
        gauge.add()
        self.assertEqual(self.collected(), {(ACTIVE, (("backend", "web"),)): 4})

    def test_gauge_asked_when_collected(self) -> None:
        connections: list[int] = []
        self.reporter.gauge(ACTIVE, lambda: len(connections), backend="web")
        connections.append(1)
        self.assertEqual(self.collected(), {(ACTIVE, (("backend", "web"),)): 1})
        self.reporter.gauge(ACTIVE, lambda: 9, backend="web")
        self.assertEqual(self.collected(), {(ACTIVE, (("backend", "web"),)): 9})

    def test_a_broken_gauge_hides_nothing_and_is_logged_once(self) -> None:
        self.reporter.gauge(ACTIVE, lambda: 1 // 0, backend="web")
        self.reporter.gauge(ACTIVE, backend="rest").set(2)
        with capturedLogs() as events:
            for _ in range(3):
                self.assertEqual(self.collected(), {(ACTIVE, (("backend", "rest"),)): 2})
        self.assertEqual([event["metric"] for event in events], [ACTIVE])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_duration(self) -> None:
        duration = self.reporter.duration(SELECTION)
        for seconds in (0.0, 0.0001, 0.0002, 2.5, 1000.0):
            duration.observe(seconds)
        [value] = self.collected().values()
        self.assertEqual((value.count, value.sum_seconds), (5, 1002.5003))
        buckets = dict(zip(BUCKET_BOUNDS_SECONDS, value.buckets, strict=True))
        self.assertEqual((buckets[0.0001], buckets[0.00025], buckets[1.0]), (2, 3, 3))
        self.assertEqual((buckets[2.5], buckets[10.0]), (4, 4))

    def test_nothing_observed(self) -> None:
        self.reporter.duration(SELECTION)
        self.assertEqual(
            list(self.collected().values()), [Distribution(0, 0.0, (0,) * len(BUCKET_BOUNDS_SECONDS))]
        )

    def test_what_is_collected_stays_as_it_was(self) -> None:
        counter = self.reporter.counter(TOTAL)
        [sample] = self.reporter.collect()
        counter.add()
        self.assertEqual(sample.value, 0)
        with self.assertRaises(FrozenInstanceError):
            sample.value = 1  # type: ignore[misc]

    def test_too_many_label_sets(self) -> None:
        with capturedLogs() as events:
            for number in range(10):
                self.reporter.count(TOTAL, client=str(number))
        found = self.collected()
        self.assertEqual(len(found), 4)
        self.assertEqual(found[TOTAL, OVERFLOW_LABELS], 7)
        self.assertEqual([(event["metric"], event["limit"]) for event in events], [(TOTAL, 3)])

    def test_each_metric_has_its_own_limit(self) -> None:
        for number in range(4):
            self.reporter.count(TOTAL, client=str(number))
        self.reporter.gauge(ACTIVE, backend="web").set(1)
        self.assertEqual(self.collected()[ACTIVE, (("backend", "web"),)], 1)

    def test_forgotten_series_make_room(self) -> None:
        for number in range(3):
            self.reporter.count(TOTAL, listener="front", backend=str(number))
        kept = self.reporter.counter(TOTAL, listener="front", backend="2")
        self.reporter.forget(backend="1")
        self.reporter.forget(listener="front", backend="0")
        self.reporter.forget(listener="other", backend="2")
        self.reporter.count(TOTAL, backend="new")
        self.assertNotIn((TOTAL, OVERFLOW_LABELS), self.collected())
        self.assertEqual(len(self.collected()), 2)
        self.assertIs(self.reporter.counter(TOTAL, listener="front", backend="2"), kept)

    def test_durations_by_label_are_not_kept_when_forgotten(self) -> None:
        durations = self.reporter.durations(SELECTION, "backend")
        self.assertIs(self.reporter.durations(SELECTION, "backend"), durations)
        self.assertIs(durations["web"], self.reporter.duration(SELECTION, backend="web"))
        durations["web"].observe(1.0)
        self.reporter.forget(backend="web")
        durations["web"].observe(2.0)
        found = self.collected()[SELECTION, (("backend", "web"),)]
        self.assertEqual((found.count, found.sum_seconds), (1, 2.0))

    def test_unknown_name(self) -> None:
        error = self.assertRaises(ValueError, self.reporter.counter, "router.conection.total")
        self.assertIn("router.conection.total", str(error))

    def test_another_kind(self) -> None:
        self.assertRaises(ValueError, self.reporter.gauge, TOTAL)
        self.assertRaises(ValueError, self.reporter.count, SELECTION)
        self.assertRaises(ValueError, self.reporter.duration, ACTIVE)

    def test_a_name_of_an_extension(self) -> None:
        metric = Metric("shop.orders", COUNTER, "orders", "Orders seen.")
        self.reporter.register(metric)
        self.reporter.register(metric)
        self.reporter.count("shop.orders")
        self.assertEqual(self.collected(), {("shop.orders", ()): 1})

    def test_a_name_is_one_metric(self) -> None:
        self.assertRaises(ValueError, self.reporter.register, Metric(TOTAL, COUNTER, "other", "Other."))
        self.assertRaises(ValueError, self.reporter.register, Metric("new", "other", "other", "Other."))


class SinkTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.reporter = MetricReporter()
        self.sink = RecordingSink()

    def test_life(self) -> None:
        self.reporter.add_sink(self.sink)
        self.assertEqual(self.sink.told, [])
        self.reporter.start()
        self.reporter.stop()
        self.reporter.stop()
        self.assertEqual(self.sink.told, [("start", self.reporter), ("stop",)])

    def test_the_last_one_stops_first(self) -> None:
        told: list[Any] = []
        self.reporter.add_sink(RecordingSink(told, " a"))
        self.reporter.add_sink(RecordingSink(told, " b"))
        self.reporter.start()
        self.reporter.stop()
        self.assertEqual([entry[0] for entry in told], ["start a", "start b", "stop b", "stop a"])

    def test_added_while_running(self) -> None:
        self.reporter.start()
        self.reporter.add_sink(self.sink)
        self.assertEqual(self.sink.told, [("start", self.reporter)])

    def test_events_are_told_as_text(self) -> None:
        self.reporter.add_sink(self.sink)
        self.reporter.event("portmap.added", name="web", port=8443)
        self.assertEqual(self.sink.told, [("event", "portmap.added", {"name": "web", "port": "8443"})])

    def test_a_broken_sink_stops_nothing(self) -> None:
        self.reporter.add_sink(BrokenSink())
        self.reporter.add_sink(self.sink)
        self.reporter.start()
        self.reporter.event("backend.added")
        self.reporter.stop()
        self.assertEqual([entry[0] for entry in self.sink.told], ["start", "event", "stop"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_not_a_sink(self) -> None:
        self.assertRaises(ValueError, self.reporter.add_sink, object())


class CatalogueTests(unittest.SynchronousTestCase):
    def test_every_constant_is_described_once(self) -> None:
        assigned = {
            node.targets[0].id: node.value.value
            for node in ast.parse(inspect.getsource(catalogue)).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        names = [
            value
            for constant, value in assigned.items()
            if not constant.startswith("EVENT_") and constant not in {"COUNTER", "GAUGE", "DURATION"}
        ]
        self.assertEqual([metric.name for metric in STANDARD_METRICS], names)

    def test_each_has_a_unit_and_a_sentence(self) -> None:
        for metric in STANDARD_METRICS:
            self.assertTrue(metric.unit)
            self.assertTrue(metric.description.endswith("."), metric.name)
