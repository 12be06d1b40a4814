"""Health checks that change while they run: what is the same goes on, what is known stays."""

from __future__ import annotations

from pmmux.model import Status
from pmmux.test.health_doubles import member, section
from pmmux.test.test_health_monitor import MonitorCase


class UseTests(MonitorCase):
    def test_the_same_sections_change_nothing(self) -> None:
        one = member("one")
        self.make(one, sections=(section(interval="10s"),))
        self.clock.advance(0)
        self.assertIs(one.status, Status.HEALTHY)
        self.clock.advance(6)
        self.monitor.use([section(interval="10s")])
        self.clock.advance(3.9)
        self.assertEqual(len(self.check.targets), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.check.targets), 2)
        self.stop()

    def test_another_interval(self) -> None:
        one = member("one")
        self.make(one, sections=(section(interval="10s"),))
        self.clock.advance(0)
        self.monitor.use([section(interval="1s")])
        # Not unknown meanwhile.
        self.assertIs(one.status, Status.HEALTHY)
        self.pump(3)
        self.assertGreaterEqual(len(self.check.targets), 3)
        self.stop()

    def test_none_any_more(self) -> None:
        one = member("one")
        self.make(one, sections=(section(observe="3"),))
        self.clock.advance(0)
        self.assertTrue(self.monitor.is_observing)
        self.monitor.use([])
        self.assertFalse(self.monitor.is_observing)
        self.assertIs(one.status, Status.UNKNOWN)
        self.pump(30)
        self.assertEqual(len(self.check.targets), 1)
        self.stop()

    def test_told_of_what_becomes_unhealthy(self) -> None:
        left_out: list[str] = []
        one = member("one")
        self.make(one, sections=(section(failure_threshold="2"),))
        self.monitor.left_out = lambda each: left_out.append(each.name)
        self.clock.advance(0)
        self.check.error = "refused"
        self.pump(10)
        self.assertEqual(left_out, [])
        self.pump(30)
        self.assertEqual(left_out, ["one"])
        self.stop()
