"""What is known of one backend's health, how it is reported, and how it is measured."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from pmmux.health.machine import Tally
from pmmux.health.plan import Plan
from pmmux.health.watch import Outcome, Watch
from pmmux.members import Member
from pmmux.model import Status


@frozen(slots=True)
class HealthReport:
    """
    What is known of one backend's health at one moment.

    @ivar check: the section's name; empty where no section applies.
    @ivar error: why the last check failed; empty where it passed.
    @ivar age_seconds: how long ago the last check ended; C{None} where there was none.
    @ivar duration_seconds: how long it took.
    @ivar ejected_seconds: how long it will still be left out because of clients' connections; 0 for
        not at all.
    @ivar ejections: how often it was left out, as it counts for the next time.
    """

    backend: str
    check: str
    status: Status
    consecutive_failures: int
    consecutive_successes: int
    error: str
    age_seconds: float | None
    duration_seconds: float
    ejected_seconds: float
    ejections: int


class Instruments:
    """The metrics of one checked backend, fetched once."""

    def __init__(self, reporter: Any, backend: str) -> None:
        """@param reporter: L{pmmux.metrics.reporter.MetricReporter}"""
        name = "backend.health_check"
        self._passed = reporter.counter(f"{name}.total", backend=backend, result="passed")
        self._failed = reporter.counter(f"{name}.total", backend=backend, result="failed")
        self._duration = reporter.duration(f"{name}.duration", backend=backend)
        self._failures = reporter.gauge(f"{name}.consecutive_failures", backend=backend)
        self._successes = reporter.gauge(f"{name}.consecutive_successes", backend=backend)

    def measure(self, outcome: Outcome, tally: Tally) -> None:
        """Take in one check, counted in C{tally} already."""
        (self._failed if outcome.error else self._passed).add(1)
        self._duration.observe(outcome.seconds)
        self._failures.set(tally.failures)
        self._successes.set(tally.successes)


@define(slots=True, eq=False)
class Record:
    """
    One member with what is known of it.

    @ivar kind: the name of the check by which it is checked; empty where it is not.
    @ivar ended_at: when the last check ended, on the reactor's clock.
    @ivar shown: the status that the gauge shows.
    """

    member: Member
    plan: Plan | None = None
    kind: str = ""
    watch: Watch | None = None
    instruments: Instruments | None = None
    tally: Tally = field(factory=Tally)
    error: str = ""
    ended_at: float | None = None
    seconds: float = 0.0
    shown: Status | None = None

    def take(self, outcome: Outcome, plan: Plan, now_seconds: float) -> None:
        """Count what one check came to."""
        self.error = outcome.error
        self.seconds = outcome.seconds
        self.ended_at = now_seconds
        if outcome.error:
            self.tally.failed(plan.failure_threshold)
        else:
            self.tally.passed(plan.recovery_threshold)
        if self.instruments is not None:
            self.instruments.measure(outcome, self.tally)

    def forget(self) -> None:
        """Know nothing any more of what checks came to."""
        self.tally.reset()
        self.error = ""
        self.ended_at = None
        self.seconds = 0.0

    def show(self, reporter: Any) -> None:
        """Let the gauge show the member's status."""
        status = self.member.status
        if status is self.shown:
            return
        if self.shown is not None:
            self._gauge(reporter, self.shown).set(0)
        self.shown = status
        self._gauge(reporter, status).set(1)

    def report(self, now_seconds: float, ejected_seconds: float, ejections: int) -> HealthReport:
        """What is known now."""
        return HealthReport(
            self.member.name,
            "" if self.plan is None else self.plan.name,
            self.member.status,
            self.tally.failures,
            self.tally.successes,
            self.error,
            None if self.ended_at is None else now_seconds - self.ended_at,
            self.seconds,
            ejected_seconds,
            ejections,
        )

    def _gauge(self, reporter: Any, status: Status) -> Any:
        return reporter.gauge("backend.status", backend=self.member.name, status=status.value)
