"""The log shows what changed, from time to time, and a last time."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.trial import unittest
from zope.interface.verify import verifyObject

import pmmux
from pmmux.interfaces import IMetricSink
from pmmux.logs import json_event
from pmmux.metrics.catalogue import (
    BACKEND_CONNECTIONS_ACTIVE,
    ROUTER_CONNECTION_ENDED,
    ROUTER_CONNECTION_TOTAL,
    ROUTER_SELECTION_DURATION,
)
from pmmux.metrics.log_sink import SERIES_LIMIT, LogSink
from pmmux.metrics.reporter import MetricReporter

INTERVAL_SECONDS = 30.0


class LogSinkTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        self.reporter = MetricReporter()
        self.sink = LogSink(
            self.clock, INTERVAL_SECONDS, Logger(namespace="metrics", observer=self.events.append)
        )
        self.reporter.add_sink(self.sink)
        self.reporter.start()

    def written(self) -> list[str]:
        """What was written since the last time."""
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines

    def advance(self) -> list[str]:
        self.clock.advance(INTERVAL_SECONDS)
        return self.written()

    def test_provides_the_interface(self) -> None:
        verifyObject(IMetricSink, self.sink)

    def test_one_event_for_each_metric(self) -> None:
        self.reporter.count(ROUTER_CONNECTION_TOTAL, 5, listener="front")
        self.reporter.count(ROUTER_CONNECTION_TOTAL, 2, listener="alt", zone="b")
        self.reporter.gauge(BACKEND_CONNECTIONS_ACTIVE, backend="web").set(3)
        self.assertEqual(self.written(), [])
        self.assertEqual(
            self.advance(),
            [
                "metric router.connection.total: {listener=front} 5 (+5); {listener=alt,zone=b} 2 (+2)",
                "metric backend.connections.active: {backend=web} 3 (+3)",
            ],
        )

    def test_only_what_changed(self) -> None:
        front = self.reporter.counter(ROUTER_CONNECTION_TOTAL, listener="front")
        gauge = self.reporter.gauge(BACKEND_CONNECTIONS_ACTIVE)
        self.assertEqual(self.advance(), [])
        front.add(5)
        gauge.set(4)
        self.assertEqual(len(self.advance()), 2)
        self.assertEqual(self.advance(), [])
        front.add(2)
        self.assertEqual(self.advance(), ["metric router.connection.total: {listener=front} 7 (+2)"])
        gauge.set(0)
        self.assertEqual(self.advance(), ["metric backend.connections.active: 0 (-4)"])

    def test_durations(self) -> None:
        duration = self.reporter.duration(ROUTER_SELECTION_DURATION)
        self.assertEqual(self.advance(), [])
        duration.observe(1.0)
        duration.observe(2.0)
        self.assertEqual(self.advance(), ["metric router.selection.duration: count=2 (+2) mean=1.500000s"])
        duration.observe(0.5)
        self.assertEqual(self.advance(), ["metric router.selection.duration: count=3 (+1) mean=0.500000s"])

    def test_the_last_one_at_stop(self) -> None:
        self.reporter.count(ROUTER_CONNECTION_TOTAL)
        self.reporter.stop()
        self.assertEqual(self.written(), ["metric router.connection.total: 1 (+1)"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_without_a_start(self) -> None:
        LogSink(self.clock).stop()
        self.assertEqual(self.written(), [])

    def test_many_series(self) -> None:
        for number in range(SERIES_LIMIT + 5):
            self.reporter.count(ROUTER_CONNECTION_TOTAL, number + 1, listener=str(number))
        [line] = self.advance()
        self.assertEqual(line.count(" (+"), SERIES_LIMIT)
        self.assertTrue(line.endswith("; and 5 more"))
        self.assertIn(f"listener={SERIES_LIMIT + 4}}}", line)
        self.assertNotIn("listener=0}", line)

    def test_forgotten_series(self) -> None:
        self.reporter.count(ROUTER_CONNECTION_TOTAL, listener="front")
        self.advance()
        self.reporter.forget(listener="front")
        self.assertEqual(self.advance(), [])
        self.reporter.count(ROUTER_CONNECTION_TOTAL, listener="front")
        self.assertEqual(self.advance(), ["metric router.connection.total: {listener=front} 1 (+1)"])

    def test_labels_forge_nothing(self) -> None:
        self.reporter.count(ROUTER_CONNECTION_TOTAL, sni="a\nb} 9 (+9); {sni=c")
        self.assertEqual(
            self.advance(), ['metric router.connection.total: {sni="a\\x0ab} 9 (+9); {sni\\x3dc"} 1 (+1)']
        )

    def test_events(self) -> None:
        self.reporter.event("backend.added", name="web", level="x", format="y z")
        self.assertEqual(self.written(), ['event backend.added name=web level=x format="y z"'])

    def test_level(self) -> None:
        self.reporter.event("backend.added")
        self.assertIs(self.events[0]["log_level"], LogLevel.info)

    def test_fields_are_structured(self) -> None:
        self.reporter.event("backend.added", name="web")
        self.reporter.count(ROUTER_CONNECTION_TOTAL, listener="front")
        self.clock.advance(INTERVAL_SECONDS)
        added, total = (json_event({**event, "log_time": 0.0}) for event in self.events)
        self.assertTrue(added.endswith('"event":"backend.added","fields":{"name":"web"}}'), added)
        self.assertTrue(
            total.endswith(
                '"metric":"router.connection.total","unit":"connections",'
                '"series":[{"labels":{"listener":"front"},"value":1,"change":1}]}'
            ),
            total,
        )

    def test_examples_of_the_documentation(self) -> None:
        path = os.path.join(os.path.dirname(os.path.dirname(pmmux.__file__)), "docs", "logging.md")
        if not os.path.exists(path):
            raise unittest.SkipTest("not in a source tree")
        with open(path, encoding="utf-8") as file:
            examples = file.read()
        self.reporter.count(ROUTER_CONNECTION_ENDED, 1178, outcome="closed")
        self.reporter.count(ROUTER_CONNECTION_ENDED, 6, outcome="no-backend")
        self.advance()
        self.reporter.count(ROUTER_CONNECTION_ENDED, 56, outcome="closed")
        self.reporter.count(ROUTER_CONNECTION_ENDED, 1, outcome="no-backend")
        duration = self.reporter.duration(ROUTER_SELECTION_DURATION)
        for _ in range(57):
            duration.observe(0.000213)
        self.clock.advance(INTERVAL_SECONDS)
        self.reporter.event("backend.added", backend="web", protocol="pass")
        for line in self.written():
            self.assertIn(f"2026-01-01T12:00:00.250Z info metrics: {line}\n", examples)

    def test_interval(self) -> None:
        self.assertRaises(ValueError, LogSink, self.clock, 0)

    def tearDown(self) -> None:
        self.reporter.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
