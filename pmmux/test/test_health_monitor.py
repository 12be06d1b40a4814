"""L{pmmux.health.monitor}, with the watches, plans and slow start below it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.health import monitor as monitor_module
from pmmux.health.monitor import HealthMonitor
from pmmux.health.options import section_faults
from pmmux.health.plan import applicable, plan_of
from pmmux.interfaces import IHealthMonitor
from pmmux.members import Member
from pmmux.model import SectionValues, Status
from pmmux.test.health_doubles import DoubleCheck, StubRouter, StubServices, member, section


class MonitorCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.check = DoubleCheck()
        self.services = StubServices()
        self.clock = self.services.reactor
        self.reporter = self.services.reporter
        self.router = StubRouter()

    def make(self, *members: Member, sections: tuple[SectionValues, ...] | None = None) -> HealthMonitor:
        self.router.list.extend(members)
        sections = (section(),) if sections is None else sections
        self.monitor = HealthMonitor(self.services, self.router, {"double": self.check}, sections)
        self.monitor.start()
        return self.monitor

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.monitor.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.router.watchers, [])
        self.assertEqual(self.check.open, [])

    def pump(self, seconds: float, step: float = 1.0) -> None:
        self.clock.pump([step] * round(seconds / step))


class CheckingTests(MonitorCase):
    def test_provides(self) -> None:
        verifyObject(IHealthMonitor, self.make())
        self.stop()

    def test_statuses_follow_results(self) -> None:
        one = member("one")
        self.make(one)
        seen = []
        for error in ("", "refused", "refused", "refused", "", "", "", "", ""):
            self.check.error = error
            self.clock.advance(0 if not seen else 10)
            seen.append(one.status.value)
        self.assertEqual(
            seen,
            ["healthy", "degraded", "degraded", "unhealthy", *["stabilizing"] * 4, "healthy"],
        )
        self.assertIs(self.monitor.status("one"), Status.HEALTHY)
        self.assertIs(self.monitor.status("nobody"), Status.UNKNOWN)
        self.stop()

    def test_interval_is_from_start_to_start(self) -> None:
        self.make(member("one"), sections=(section(interval="10s", initial_delay="2s"),))
        self.clock.advance(1.9)
        self.assertEqual(len(self.check.targets), 0)
        self.clock.advance(0.1)
        self.assertEqual(len(self.check.targets), 1)
        self.check.hangs = True
        self.clock.advance(10)
        self.assertEqual(len(self.check.targets), 2)
        self.clock.advance(3)
        self.check.open[0].callback(None)
        self.clock.advance(6.9)
        self.assertEqual(len(self.check.targets), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.check.targets), 3)
        self.stop()

    def test_checks_never_pile_up(self) -> None:
        self.check.hangs = True
        self.make(member("one"), sections=(section(interval="1s", timeout="5s"),))
        for _ in range(60):
            self.clock.advance(0.5)
            self.assertLessEqual(len(self.check.open), 1)
        self.assertEqual(len(self.check.targets), 6)
        self.stop()

    def test_late_check_is_cancelled_and_failed(self) -> None:
        self.check.hangs = True
        one = member("one")
        self.make(one)
        self.clock.advance(0)
        self.clock.advance(5)
        self.assertEqual((self.check.cancelled, self.check.open), (1, []))
        self.assertIs(one.status, Status.UNHEALTHY)
        self.assertEqual(self.monitor.reports()[0].error, "no result within 5 s")
        self.stop()

    def test_late_check_that_passes_after_all_has_failed(self) -> None:
        self.check.hangs = self.check.deaf = True
        one = member("one")
        self.make(one)
        self.clock.advance(0)
        self.clock.advance(5)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.stop()

    def test_broken_check_counts_as_failed_and_is_logged_once(self) -> None:
        self.check.raises = ZeroDivisionError()
        one = member("one")
        self.make(one)
        self.pump(30)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.assertEqual(self.monitor.reports()[0].error, "the check is broken: ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.stop()

    def test_starts_are_spread(self) -> None:
        members = [member(f"m{number}") for number in range(1000)]
        self.make(*members)
        counts = []
        for _ in range(20):
            before = len(self.check.targets)
            self.clock.advance(0.5)
            counts.append(len(self.check.targets) - before)
        self.assertEqual(len(self.check.targets), 1000)
        self.assertLessEqual(max(counts), 55)
        self.assertEqual(set(self.check.targets), {members[0].backend.health_target})
        self.stop()

    def test_few_backends_are_checked_soon(self) -> None:
        self.make(*[member(f"m{number}") for number in range(10)])
        self.pump(0.1, 0.01)
        self.assertEqual(len(self.check.targets), 10)
        self.stop()

    def test_no_more_at_a_time_than_there_is_room(self) -> None:
        self.check.hangs = True
        count = monitor_module.CHECKS_AT_A_TIME + 20
        self.make(*[member(f"m{number}") for number in range(count)])
        self.pump(4, 0.1)
        self.assertEqual(len(self.check.open), monitor_module.CHECKS_AT_A_TIME)
        self.pump(5, 0.1)
        self.assertEqual(len(self.check.targets), count)
        self.stop()

    def test_stop_cancels_what_runs(self) -> None:
        self.check.hangs = True
        one = member("one")
        self.make(one)
        self.clock.advance(0)
        self.stop()
        self.assertEqual(self.check.cancelled, 1)
        self.assertIs(one.status, Status.UNKNOWN)
        self.successResultOf(Deferred.fromCoroutine(self.monitor.stop()))

    def test_stop_out_of_an_event(self) -> None:
        self.make(member("one"))
        stopped: list[Any] = []
        self.reporter.event = lambda name, **fields: stopped.append(
            Deferred.fromCoroutine(self.monitor.stop())
        )
        self.clock.advance(0)
        self.successResultOf(stopped[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_port_of_its_own(self) -> None:
        self.make(member("one"), sections=(section(port="8081"),))
        self.clock.advance(0)
        self.assertEqual(str(self.check.targets[0]), "192.0.2.1:8081")
        self.stop()

    def test_unknown_kind_is_logged(self) -> None:
        self.make(member("one", default_check="third-party"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.monitor.status("one"), Status.UNKNOWN)
        self.stop()

    def test_who_gets_datagrams_only_is_not_connected_to(self) -> None:
        one = member("one", default_check="connect")
        self.router.list.append(one)
        self.monitor = HealthMonitor(self.services, self.router, {"connect": self.check}, (section(),))
        listens: list[bool] = []
        self.monitor.gets_connections = lambda each: bool(listens)
        self.monitor.start()
        self.pump(30)
        self.assertEqual(self.check.targets, [])
        listens.append(True)
        self.monitor.look_again()
        self.pump(5)
        self.assertEqual(len(self.check.targets), 1)
        self.assertIs(one.status, Status.HEALTHY)
        # What is the same goes on.
        self.monitor.look_again()
        self.pump(5)
        self.assertEqual(len(self.check.targets), 1)
        listens.clear()
        self.monitor.look_again()
        self.pump(30)
        self.assertIs(one.status, Status.UNKNOWN)
        self.stop()

    def test_a_type_that_is_stated_counts(self) -> None:
        one = member("one", default_check="connect")
        self.router.list.append(one)
        checks = {"udp": self.check}
        self.monitor = HealthMonitor(self.services, self.router, checks, (section(type="udp", send="a"),))
        self.monitor.gets_connections = lambda each: False
        self.monitor.start()
        self.clock.advance(0)
        self.assertIs(one.status, Status.HEALTHY)
        self.stop()

    def test_lifecycle_statuses_stay(self) -> None:
        one = member("one")
        self.make(one)
        self.clock.advance(0)
        one.status = Status.DRAINING
        self.check.error = "refused"
        self.pump(40)
        self.assertIs(one.status, Status.DRAINING)
        self.stop()


class ReportingTests(MonitorCase):
    def test_metrics_and_events(self) -> None:
        self.make(member("one"))
        self.clock.advance(0)
        self.check.error = "refused"
        self.pump(20)
        read = {
            (sample.metric.name, sample.labels): sample.value
            for sample in self.reporter.collect()
            if not sample.metric.name.endswith("duration")
        }
        one = ("backend", "one")
        self.assertEqual(
            read,
            {
                ("backend.health_check.total", (one, ("result", "passed"))): 1,
                ("backend.health_check.total", (one, ("result", "failed"))): 2,
                ("backend.health_check.consecutive_failures", (one,)): 2,
                ("backend.health_check.consecutive_successes", (one,)): 0,
                ("backend.status", (one, ("status", "unknown"))): 0,
                ("backend.status", (one, ("status", "healthy"))): 0,
                ("backend.status", (one, ("status", "degraded"))): 1,
            },
        )
        changed = {"backend": "one", "status": "degraded", "before": "healthy", "reason": "refused"}
        self.assertEqual(self.reporter.events[-1], ("backend.status", changed))
        self.stop()

    def test_report(self) -> None:
        self.make(member("one"))
        self.assertIs(self.monitor.reports()[0].age_seconds, None)
        self.clock.advance(0)
        self.check.error = "refused"
        self.clock.advance(10)
        self.clock.advance(3)
        report = self.monitor.reports()[0]
        self.assertEqual(
            (report.backend, report.check, report.status, report.consecutive_failures, report.error),
            ("one", "check", Status.DEGRADED, 1, "refused"),
        )
        self.assertEqual((report.age_seconds, report.ejected_seconds, report.ejections), (3, 0, 0))
        self.stop()


class ChangingTests(MonitorCase):
    def test_backends_come_and_go(self) -> None:
        self.make()
        one = member("one")
        self.router.add(one)
        self.clock.advance(0)
        self.assertIs(one.status, Status.HEALTHY)
        self.check.hangs = True
        self.clock.advance(10)
        self.router.remove(one)
        self.assertEqual((self.check.open, self.clock.getDelayedCalls()), ([], []))
        self.assertIs(one.status, Status.DRAINING)
        self.stop()

    def test_check_is_added_and_removed(self) -> None:
        one = member("one")
        self.make(one, sections=())
        self.pump(20)
        self.assertIs(one.status, Status.UNKNOWN)
        self.check.error = "refused"
        self.monitor.add_check(section("late"))
        self.clock.advance(0)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.assertEqual([each.name for each in self.monitor.sections()], ["late"])
        self.monitor.remove_check("late")
        self.assertIs(one.status, Status.UNKNOWN)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertRaises(KeyError, self.monitor.remove_check, "late")
        names = [name for name, _ in self.reporter.events if name.startswith("health_check")]
        self.assertEqual(names, ["health_check.added", "health_check.removed"])
        self.stop()

    def test_changed_check_keeps_what_is_known(self) -> None:
        one = member("one")
        self.make(one)
        self.clock.advance(0)
        self.monitor.add_check(section("check", interval="1s"))
        self.assertIs(one.status, Status.HEALTHY)
        self.assertEqual(len(self.monitor.sections()), 1)
        before = len(self.check.targets)
        self.pump(5)
        self.assertGreaterEqual(len(self.check.targets) - before, 5)
        self.stop()

    def test_other_backends_are_not_disturbed(self) -> None:
        self.make(member("one"), member("two"))
        self.pump(0.1, 0.01)
        self.monitor.add_check(section("two", backend="two", interval="100s"))
        self.pump(5)
        self.assertEqual(len(self.check.targets), 3)
        self.stop()


class SlowStartTests(MonitorCase):
    def test_weight_grows_after_recovery(self) -> None:
        one = member("one", weight=100)
        self.make(one, sections=(section(slow_start="20s", interval="1s"),))
        self.clock.advance(0)
        self.assertEqual(one.weight, 100)
        self.check.error = "refused"
        self.pump(4)
        self.assertIs(one.status, Status.UNHEALTHY)
        self.check.error = ""
        self.clock.advance(1)
        self.assertEqual(one.weight, 10)
        self.pump(5)
        self.assertAlmostEqual(one.weight, 25)
        self.pump(10)
        self.assertAlmostEqual(one.weight, 75)
        self.pump(6)
        self.assertEqual(one.weight, 100)
        self.stop()

    def test_ends_with_the_next_failure_and_at_stop(self) -> None:
        one = member("one", weight=100)
        self.make(one, sections=(section(slow_start="60s", interval="1s"),))
        self.check.error = "refused"
        self.clock.advance(0)
        self.check.error = ""
        self.clock.advance(1)
        self.assertEqual(one.weight, 10)
        self.check.error = "refused"
        self.pump(3)
        self.assertEqual((one.status, one.weight), (Status.UNHEALTHY, 100))
        self.check.error = ""
        self.clock.advance(1)
        self.stop()
        self.assertEqual(one.weight, 100)

    def test_off_unless_set(self) -> None:
        one = member("one", weight=100)
        self.make(one)
        self.check.error = "refused"
        self.clock.advance(0)
        self.check.error = ""
        self.clock.advance(10)
        self.assertEqual((one.status, one.weight), (Status.STABILIZING, 100))
        self.stop()


class PlanTests(SynchronousTestCase):
    def test_the_nearest_applies(self) -> None:
        everything = plan_of(section("everything"))
        protocol = plan_of(section("protocol", protocol="pass"))
        name = plan_of(section("name", protocol="pass", backend="web"))
        other = plan_of(section("other", protocol="pass", backend="other"))
        plans = [everything, protocol, other, name]
        self.assertIs(applicable(plans, "pass", "web"), name)
        self.assertIs(applicable(plans, "pass", "ssh"), protocol)
        self.assertIs(applicable(plans, "http-proxy", "web"), everything)
        self.assertIs(applicable([protocol], "http-proxy", "web"), None)

    def test_the_first_of_equals_applies(self) -> None:
        first, second = plan_of(section("first")), plan_of(section("second"))
        self.assertIs(applicable([first, second], "pass", "web"), first)

    def test_defaults(self) -> None:
        plan = plan_of(SectionValues("health-check", "bare"))
        self.assertEqual(
            (plan.interval_seconds, plan.timeout_seconds, plan.initial_delay_seconds), (10, 5, 0)
        )
        self.assertEqual((plan.failure_threshold, plan.recovery_threshold), (3, 5))
        self.assertEqual(
            (plan.ejection, plan.slow_start_seconds, plan.kind, plan.port), (None, 0, None, None)
        )

    def test_ejection(self) -> None:
        policy = plan_of(section(observe="4")).ejection
        assert policy is not None
        self.assertEqual((policy.failures, policy.base_seconds, policy.limit_seconds), (4, 30, 300))


class FaultTests(SynchronousTestCase):
    def faults(self, default: str | None = None, **options: str) -> list[str]:
        from pmmux.checks.catalogue import builtin_checks

        return [each.message for each in section_faults(section(**options), builtin_checks(), default)]

    def test_unknown_kind(self) -> None:
        self.assertEqual(self.faults(type="htpp"), ["there is no kind of check 'htpp'"])

    def test_parameters_of_another_kind(self) -> None:
        self.assertEqual(self.faults(type="connect", path="/"), ["a check of type connect has no path"])
        self.assertEqual(self.faults("connect", path="/"), ["a check of type connect has no path"])
        self.assertEqual(self.faults(path="/"), [])

    def test_what_the_check_refuses(self) -> None:
        self.assertEqual(self.faults(type="exec"), ["command is missing"])
        self.assertEqual(self.faults(type="tcp"), ["a check of type tcp needs send or expect"])

    def test_observed_only(self) -> None:
        self.assertEqual(self.faults(type="none"), ["with type = none, observe is needed"])
        self.assertEqual(self.faults(type="none", observe="3"), [])
