"""Tests for L{pmmux.lifecycle}: what may be done to backends, listeners and checks while all is running."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.lifecycle import DEFAULT_DRAIN_SECONDS, Lifecycle
from pmmux.members import Member
from pmmux.model import BackendSpec, OptionKey, SectionValues, Status
from pmmux.reload import Difference, ReloadReport, difference
from pmmux.router import Router
from pmmux.test.control_doubles import FakeCourse
from pmmux.test.doubles import FakeBackend, FakeReporter, FirstStrategy, run_now


def make_spec(name: str, **options: Any) -> BackendSpec:
    written = {OptionKey(key.replace("_", "-")): value for key, value in options.items()}
    return BackendSpec(name, "pass", SectionValues("backend", name, written))


def make_backend(spec: BackendSpec) -> Any:
    backend = FakeBackend(spec.name)
    backend.spec = spec
    return backend


class FakeTable:
    def __init__(self, sessions: dict[int, Any]) -> None:
        self.sessions = sessions
        self.finished: list[tuple[Any, str]] = []

    def finish(self, session: Any, outcome: str) -> None:
        self.finished.append((session, outcome))


class LifecycleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.router = Router(FirstStrategy(), FakeReporter())
        self.courses: dict[int, FakeCourse] = {}
        self.tables: list[FakeTable] = []
        self.monitor = SimpleNamespace()
        multiplexer = SimpleNamespace(courses=self.courses, session_tables=lambda: self.tables)
        self.lifecycle = Lifecycle(self.clock, self.router, multiplexer, self.monitor, make_backend)
        self.addCleanup(self.lifecycle.stop)

    def add(self, name: str, **options: Any) -> Member:
        member: Member = run_now(self.lifecycle.add_backend(make_spec(name, **options)))
        return member

    def open(self, member: Member) -> FakeCourse:
        self.router.opened(member)
        course = FakeCourse(len(self.courses) + 1, member)
        self.courses[course.identifier] = course
        return course

    def names(self) -> list[str]:
        return [member.name for member in self.router.members()]

    def test_order(self) -> None:
        for name in "abc":
            self.add(name)
        run_now(self.lifecycle.add_backend(make_spec("d"), "b"))
        self.assertEqual(self.names(), ["a", "d", "b", "c"])
        self.lifecycle.order_backends(["c", "a"])
        self.assertEqual(self.names(), ["c", "a", "d", "b"])
        self.assertRaises(ValueError, run_now, self.lifecycle.add_backend(make_spec("a")))
        self.assertRaises(KeyError, run_now, self.lifecycle.replace_backend(make_spec("x")))
        self.assertRaises(KeyError, self.lifecycle.remove_backend, "x")

    def test_idle_ones_are_stopped_at_once(self) -> None:
        self.add("a")
        self.assertEqual(self.lifecycle.remove_backend("a").status, Status.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_drain_that_ends_early(self) -> None:
        member = self.add("a", drain_timeout=60.0)
        course = self.open(member)
        self.lifecycle.remove_backend("a")
        self.assertEqual(member.status, Status.DRAINING)
        self.clock.advance(59)
        del self.courses[course.identifier]
        self.router.closed(member)
        self.assertEqual(member.status, Status.STOPPED)
        self.clock.advance(2)
        self.assertEqual(course.closed, [])

    def test_a_drain_that_ends_late(self) -> None:
        member, other = self.add("a", drain_timeout=60.0), self.add("b")
        course, beside = self.open(member), self.open(other)
        session, stranger = SimpleNamespace(member=member), SimpleNamespace(member=other)
        self.tables.append(FakeTable({1: session, 2: stranger}))
        self.lifecycle.remove_backend("a")
        self.clock.advance(59.9)
        self.assertEqual(course.closed, [])
        self.clock.advance(0.1)
        self.assertEqual(course.closed, ["drain-timeout"])
        self.assertEqual(self.tables[0].finished, [(session, "drain-timeout")])
        self.assertEqual(beside.closed, [])

    def test_a_replaced_one_drains_too(self) -> None:
        old = self.add("a")
        course = self.open(old)
        new = run_now(self.lifecycle.replace_backend(make_spec("a")))
        self.assertEqual(self.router.members(), (new,))
        self.assertEqual(old.status, Status.DRAINING)
        self.clock.advance(DEFAULT_DRAIN_SECONDS)
        self.assertEqual(course.closed, ["drain-timeout"])

    def test_bound_by_whoever_asks(self) -> None:
        member = self.add("a", drain_timeout=60.0)
        course = self.open(member)
        self.lifecycle.remove_backend("a", 0)
        self.clock.advance(0)
        self.assertEqual(course.closed, ["drain-timeout"])

    def test_unhealthy_ones(self) -> None:
        kept, closed = self.add("a"), self.add("b", on_unhealthy="close")
        courses = self.open(kept), self.open(closed)
        self.monitor.left_out(kept)
        self.monitor.left_out(closed)
        self.assertEqual([course.closed for course in courses], [[], ["killed"]])

    def test_nothing_is_left_after_the_end(self) -> None:
        self.open(self.add("a"))
        self.lifecycle.remove_backend("a")
        self.lifecycle.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_aside_and_back(self) -> None:
        member = self.add("a")
        self.lifecycle.drain_backend("a")
        self.assertEqual(member.status, Status.DRAINING)
        self.lifecycle.disable_backend("a")
        self.assertEqual(member.status, Status.STOPPED)
        self.lifecycle.enable_backend("a")
        self.assertEqual(member.status, Status.UNKNOWN)


class DifferenceTests(SynchronousTestCase):
    def test_by_name(self) -> None:
        found = difference({"a": 1, "b": 2, "c": 3}, {"d": 4, "c": 3, "b": 5})
        self.assertEqual(found, Difference(("d",), ("b",), ("a",)))
        self.assertEqual(str(found), "added d; changed b; removed a")

    def test_report(self) -> None:
        report = ReloadReport(backends=Difference(("a",)), options=("verbosity",))
        self.assertEqual(list(report.lines()), ["backends: added a", "options: changed verbosity"])
        self.assertEqual(list(ReloadReport().lines()), [])
