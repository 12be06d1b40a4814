"""L{pmmux.health.ejection}, by itself and in the monitor."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.health.ejection import EjectionPolicy, Ejections
from pmmux.members import Member
from pmmux.model import PriorityTier, Status
from pmmux.test.health_doubles import NamedCondition, member, section
from pmmux.test.test_health_monitor import MonitorCase

POLICY = EjectionPolicy(3, 30.0, 300.0)


class EjectionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.changes: list[tuple[str, str]] = []

    def make(self, *members: Member) -> Ejections:
        self.ejections = Ejections(self.clock, lambda: members, self._changed)
        for each in members:
            self.ejections.observe(each, POLICY)
        return self.ejections

    def _changed(self, changed: Member, reason: str) -> None:
        changed.status = Status.UNHEALTHY if reason else Status.HEALTHY
        self.changes.append((changed.name, reason))

    def fail(self, failing: Member, times: int = 3) -> bool:
        for _ in range(times):
            self.ejections.connect_failed(failing)
        return self.ejections.is_ejected(failing)

    def test_failures_in_a_row_eject(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two)
        self.assertFalse(self.fail(one, 2))
        self.ejections.connected(one)
        self.assertFalse(self.fail(one, 2))
        self.assertTrue(self.fail(one, 1))
        self.assertEqual(self.changes, [("one", "cannot be connected to, 3 in a row; left out for 30 s")])
        self.clock.advance(29)
        self.assertEqual(self.ejections.seconds_left(one), 1)
        self.clock.advance(1)
        self.assertFalse(self.ejections.is_ejected(one))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_early_resets_are_counted_beside(self) -> None:
        one, two = member("one"), member("two")
        ejections = self.make(one, two)
        for _ in range(2):
            ejections.connected(one)
            ejections.early_reset(one)
        ejections.answered(one)
        for _ in range(2):
            ejections.connected(one)
            ejections.early_reset(one)
        self.assertFalse(ejections.is_ejected(one))
        ejections.early_reset(one)
        self.assertTrue(ejections.is_ejected(one))
        ejections.stop()

    def test_grows_with_repetition_to_its_limit(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two)
        lengths = []
        for _ in range(12):
            self.fail(one)
            lengths.append(self.ejections.seconds_left(one))
            self.clock.advance(lengths[-1])
        self.assertEqual(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300])
        self.assertEqual(self.ejections.times(one), 12)

    def test_is_forgiven_after_good_conduct(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two)
        for _ in range(2):
            self.fail(one)
            self.clock.advance(self.ejections.seconds_left(one))
        self.clock.advance(300)
        self.fail(one)
        self.assertEqual(self.ejections.seconds_left(one), 30)
        self.ejections.stop()

    def test_at_most_half(self) -> None:
        members = [member(f"m{number}") for number in range(5)]
        self.make(*members)
        ejected = [self.fail(each) for each in members]
        self.assertEqual(ejected, [True, True, False, False, False])
        # The counts go on: as soon as one is back, the next failure ejects.
        self.ejections.readmit(members[0])
        self.assertTrue(self.fail(members[2], 1))
        self.ejections.stop()

    def test_never_the_last(self) -> None:
        self.make(only := member("only"))
        self.assertFalse(self.fail(only))
        one, two = member("one"), member("two")
        self.make(one, two)
        two.status = Status.UNHEALTHY
        self.assertFalse(self.fail(one))
        two.status = Status.DRAINING
        self.assertFalse(self.fail(one))

    def test_only_of_its_tier_and_traffic(self) -> None:
        one = member("one")
        standby = member("standby", tier=PriorityTier.STANDBY)
        other = member("other", condition=NamedCondition("detect = ssh"))
        self.make(one, standby, other)
        self.assertFalse(self.fail(one))

    def test_unobserved_does_not_count(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two).observe(one, None)
        self.assertFalse(self.fail(one, 100))
        self.ejections.early_reset(one)
        self.ejections.connected(one)
        self.ejections.answered(one)
        self.ejections.readmit(one)
        self.assertEqual((self.ejections.times(one), self.ejections.seconds_left(one)), (0, 0))

    def test_forgetting_leaves_no_timer(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two)
        self.fail(one)
        self.ejections.observe(one, None)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ObservingTests(MonitorCase):
    def eject(self, failing: Any) -> None:
        for _ in range(3):
            self.monitor.connect_failed(failing)

    def test_off_unless_set(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two)
        self.assertFalse(self.monitor.is_observing)
        self.pump(1)
        self.eject(one)
        self.assertIs(one.status, Status.HEALTHY)
        self.stop()

    def test_without_active_checks(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two, sections=(section(type="none", observe="3", slow_start="10s"),))
        self.assertTrue(self.monitor.is_observing)
        self.eject(one)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.assertEqual(self.monitor.reports()[0].ejections, 1)
        self.clock.advance(30)
        self.assertIs(one.status, Status.UNKNOWN)
        self.assertAlmostEqual(one.weight, 0.1)
        self.stop()

    def test_passed_check_lets_in_again(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two, sections=(section(observe="3"),))
        self.pump(1)
        self.eject(one)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.check.error = "refused"
        self.clock.advance(10)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.check.error = ""
        self.clock.advance(10)
        self.assertIs(one.status, Status.STABILIZING)
        self.stop()

    def test_time_over_gives_the_status_of_its_checks(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two, sections=(section(observe="3", interval="100s"),))
        self.pump(1)
        self.eject(one)
        self.clock.advance(30)
        self.assertIs(one.status, Status.HEALTHY)
        self.stop()

    def test_removed_section_lets_in_again(self) -> None:
        one, two = member("one"), member("two")
        self.make(one, two, sections=(section(type="none", observe="3"),))
        self.eject(one)
        self.monitor.remove_check("check")
        self.assertIs(one.status, Status.UNKNOWN)
        self.assertFalse(self.monitor.is_observing)
        self.monitor.early_reset(one)
        self.monitor.connected(one)
        self.monitor.answered(one)
        self.stop()
