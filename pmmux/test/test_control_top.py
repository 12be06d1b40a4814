from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pmmux.control.ring import describe_route
from pmmux.control.top.overview import Overview
from pmmux.test.control_doubles import make_record, make_trace


def make_status(total: int = 0, octets: int = 0, pid: int = 1) -> dict[str, Any]:
    return {
        "version": "0.1",
        "pid": pid,
        "uptime_seconds": 90061.0,
        "connections_open": 2,
        "sessions_open": 0,
        "connections_total": total,
        "connections_failed": 0,
        "octets_from_clients": octets,
        "octets_to_clients": 0,
        "memory_octets": 50 << 20,
        "descriptors_open": 20,
    }


def make_backend(name: str = "web", routed: int = 0, status: str = "healthy") -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "active": 1,
        "routed": routed,
        "connect_seconds": 0.002,
        "connects": 10,
        "connects_sum_seconds": 0.02,
        "answer_seconds": None,
        "answers": 0,
        "answers_sum_seconds": 0.0,
        "check_seconds": None,
        "target": "127.0.0.1:80",
        "error": "",
    }


class OverviewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.overview = Overview()

    def test_rates(self) -> None:
        self.overview.take(make_status(10, 1000), [make_backend(routed=10)], [], 100.0)
        self.assertEqual(self.overview.connections_per_second, 0.0)
        self.overview.take(make_status(30, 5096), [make_backend(routed=14)], [], 102.0)
        self.assertEqual(self.overview.connections_per_second, 10.0)
        self.assertEqual(self.overview.octets_in_per_second, 2048.0)
        self.assertIn("in 2.0 KiB/s", self.overview.totals()[1])
        self.assertIn("2.0", self.overview.backend_lines()[1].text.split())

    def test_times_are_those_since_the_last_look(self) -> None:
        before = make_backend()
        self.overview.take(make_status(), [before], [], 1.0)
        self.assertIn("2.00ms", self.overview.backend_lines()[1].text)
        later = {
            **before,
            "connects": 12,
            "connects_sum_seconds": 0.12,
            "answers": 1,
            "answers_sum_seconds": 3.0,
        }
        self.overview.take(make_status(), [later], [], 2.0)
        self.overview.take(make_status(), [later], [], 3.0)
        self.assertIn(" 50ms ", self.overview.backend_lines()[1].text)
        self.assertIn(" 3.0s ", self.overview.backend_lines()[1].text)

    def test_another_process_is_not_compared(self) -> None:
        self.overview.take(make_status(1000), [], [], 1.0)
        self.overview.take(make_status(5, pid=2), [], [], 2.0)
        self.assertEqual(self.overview.connections_per_second, 0.0)

    def test_a_sum_that_falls_is_no_rate(self) -> None:
        self.overview.take(make_status(1, 1000), [], [], 1.0)
        self.overview.take(make_status(1, 900), [], [], 2.0)
        self.assertEqual(self.overview.octets_in_per_second, 0.0)

    def test_styles(self) -> None:
        backends = [make_backend(status=status) for status in ("healthy", "unhealthy", "draining")]
        self.overview.take(make_status(), backends, [], 1.0)
        self.assertEqual([line.style for line in self.overview.backend_lines()[1:]], ["good", "bad", "aside"])

    def test_routes(self) -> None:
        records = [make_record(1), make_record(2, backend="", outcome="no-backend", sni="\x1b[2J")]
        routes = [describe_route((record, make_trace())) for record in records]
        self.overview.take(make_status(), [], routes, 1.0)
        self.assertEqual([line.identity for line in self.overview.route_lines()], [None, 1, 2])
        (_, refused) = self.overview.route_lines(refused_only=True)
        self.assertEqual((refused.identity, refused.style), (2, "bad"))
        self.assertNotIn("\x1b", refused.text)

    def test_nothing_yet(self) -> None:
        self.assertEqual(len(self.overview.backend_lines()), 1)
        self.assertEqual(self.overview.sparkline(), "")
        self.overview.heading()
        self.overview.totals()

    def test_sparkline(self) -> None:
        for second in range(100):
            self.overview.take(make_status(0, second * second), [], [], float(second))
        line = self.overview.sparkline()
        self.assertEqual(len(line), 60)
        self.assertEqual(line[-1], "█")
