"""The health monitor: which backend is checked how, and the status that follows from all of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger
from zope.interface import implementer

from pmmux.config.settings import written
from pmmux.health.ejection import Ejections
from pmmux.health.options import BY_CONNECTION, OBSERVED_ONLY
from pmmux.health.plan import Plan, applicable, plan_of
from pmmux.health.record import HealthReport, Instruments, Record
from pmmux.health.slow_start import SlowStart
from pmmux.health.watch import Outcome, Watch
from pmmux.interfaces import IHealthCheckable, IHealthMonitor
from pmmux.members import Member
from pmmux.model import SectionValues, Status

# Below the descriptors that accepting leaves in reserve: RESERVED_DESCRIPTORS.
CHECKS_AT_A_TIME = 128
# First checks begin so far apart, and keep that distance from interval to interval.
START_SPACING_SECONDS = 0.01
# The golden ratio's fraction: its multiples spread evenly, however many there are.
_SPREAD = 0.6180339887498949

_LIFECYCLE = frozenset({Status.DRAINING, Status.STOPPED})


@implementer(IHealthMonitor)
class HealthMonitor:
    """
    Checks the router's members and keeps C{Member.status}, which routing reads.

    A member's status is that of its checks, unless clients' connections had it ejected; the
    router's own statuses, draining and stopped, are never touched.

    @ivar gets_connections: whether a member may be given connections, or datagrams only.
    @ivar left_out: called with each member that becomes unhealthy.
    @ivar is_observing: whether any backend's connections count, so that telling of them is of use.
    """

    log = Logger()

    def __init__(
        self,
        services: Any,
        router: Any,
        checks: Mapping[str, Any],
        sections: Iterable[SectionValues] = (),
    ) -> None:
        """
        @param services: L{pmmux.registry.Services}
        @param router: has C{members()}, and C{watch(watcher)}, which calls C{watcher(event, member)}
            with C{"added"} or C{"removed"} (a replacement is one of each), and returns what ends that.
        @param checks: L{pmmux.checks.interfaces.IHealthCheck} by name.
        @param sections: the C{health-check} sections, in definition order.
        """
        self.is_observing = False
        self.gets_connections: Callable[[Member], bool] = lambda member: True
        self.left_out: Callable[[Member], None] = lambda member: None
        self._services = services
        self._clock = services.reactor
        self._reporter = services.reporter
        self._router = router
        self._checks = checks
        self._plans = [plan_of(section) for section in sections]
        self._records: dict[Member, Record] = {}
        self._ending: set[Deferred[None]] = set()
        self._room = DeferredSemaphore(CHECKS_AT_A_TIME)
        self._slow_start = SlowStart(self._clock)
        self._ejections = Ejections(self._clock, router.members, self._ejection_changed)
        self._numbers = itertools.count()
        self._unwatch: Any = None

    def start(self) -> None:
        """Check from now on, what the router has and what it will have."""
        self._unwatch = self._router.watch(self._member_changed)
        for member in self._router.members():
            self._records[member] = Record(member)
        for record in self._records.values():
            self._assign(record)

    async def stop(self) -> None:
        """Check no more; returns when no check, no socket and no timer of it is left."""
        unwatch, self._unwatch = self._unwatch, None
        if unwatch is None:
            return
        unwatch()
        for record in self._records.values():
            self._end_watch(record)
        self._records.clear()
        self._ejections.stop()
        self._slow_start.stop()
        self.is_observing = False
        if self._ending:
            await DeferredList(tuple(self._ending))

    def status(self, name: str) -> Status:
        """See L{IHealthMonitor}."""
        return next((member.status for member in self._records if member.name == name), Status.UNKNOWN)

    def reports(self) -> tuple[HealthReport, ...]:
        """What is known of each backend, in definition order."""
        now = self._clock.seconds()
        ejections = self._ejections
        return tuple(
            self._records[member].report(now, ejections.seconds_left(member), ejections.times(member))
            for member in self._router.members()
            if member in self._records
        )

    def sections(self) -> tuple[SectionValues, ...]:
        """The C{health-check} sections in force."""
        return tuple(plan.section for plan in self._plans)

    def add_check(self, section: SectionValues) -> None:
        """
        Check by C{section} too; in the place of the one of its name, where there is one.

        The backends it now applies to are checked anew; what is known of them stays.
        """
        plan = plan_of(section)
        known = next((at for at, each in enumerate(self._plans) if each.name == plan.name), None)
        if known is None:
            self._plans.append(plan)
        else:
            self._plans[known] = plan
        self._reporter.event("health_check.added", check=plan.name)
        self._assign_all()

    def remove_check(self, name: str) -> None:
        """
        Check by the section C{name} no more. A backend that no other applies to is unknown then.

        @raises KeyError: there is none of that name.
        """
        known = next((plan for plan in self._plans if plan.name == name), None)
        if known is None:
            raise KeyError(name)
        self._plans.remove(known)
        self._reporter.event("health_check.removed", check=name)
        self._assign_all()

    def use(self, sections: Sequence[SectionValues]) -> None:
        """
        Check by C{sections} from now on, and by no others.

        Backends whose section is the same go on as they are.
        """
        before = {plan.name: plan for plan in self._plans}
        plans = []
        for section in sections:
            known = before.get(section.name)
            is_same = known is not None and written(known.section) == written(section)
            plans.append(known if known is not None and is_same else plan_of(section))
        if plans != self._plans:
            self._plans = plans
            self._assign_all()
            self.is_observing = any(each.ejection is not None for each in plans)

    def look_again(self) -> None:
        """See L{IHealthMonitor}."""
        self._assign_all()

    # What clients' connections tell. Each is harmless for a member that is not observed.

    def connect_failed(self, member: Member) -> None:
        """C{member} could not be connected to, for a client."""
        self._ejections.connect_failed(member)

    def connected(self, member: Member) -> None:
        """C{member} was connected to."""
        self._ejections.connected(member)

    def early_reset(self, member: Member) -> None:
        """C{member} reset a client's connection before its first octet."""
        self._ejections.early_reset(member)

    def answered(self, member: Member) -> None:
        """C{member} sent an octet, or ended a connection in order."""
        self._ejections.answered(member)

    # Who is checked how.

    def _member_changed(self, event: str, member: Member) -> None:
        if event == "added":
            record = self._records[member] = Record(member)
            self._assign(record)
        else:
            removed = self._records.pop(member, None)
            if removed is not None:
                self._end_watch(removed)
                self._ejections.observe(member, None)
                self._slow_start.end(member)

    def _assign_all(self) -> None:
        if self._unwatch is not None:
            for record in self._records.values():
                self._assign(record)

    def _assign(self, record: Record) -> None:
        member = record.member
        plan = applicable(self._plans, member.backend.spec.protocol, member.name)
        kind = "" if plan is None else self._kind_of(plan, member)
        if plan == record.plan and plan is not None and kind == record.kind:
            return
        self._end_watch(record)
        record.plan, record.kind = plan, kind
        self._ejections.observe(member, None if plan is None else plan.ejection)
        self.is_observing = any(each.ejection is not None for each in self._plans)
        if plan is None or not self._begin_watch(record, plan):
            record.forget()
        self._apply(record, "its health is looked at in another way now")

    def _kind_of(self, plan: Plan, member: Member) -> str:
        """@return: the check's name; empty where none is to be run."""
        backend = member.backend
        if plan.kind == OBSERVED_ONLY or not IHealthCheckable.providedBy(backend):
            return ""
        if plan.kind is not None:
            return plan.kind
        default: str = backend.default_check
        if default == BY_CONNECTION and not self.gets_connections(member):
            # What answers datagrams need not take connections; what it would answer only its type can say.
            return ""
        return default

    def _begin_watch(self, record: Record, plan: Plan) -> bool:
        """@return: whether it is checked now."""
        if not record.kind:
            return False
        backend = record.member.backend
        check = self._checks.get(record.kind)
        if check is None:
            self.log.error(
                "backend {backend} cannot be checked: there is no check {kind}",
                backend=record.member.name,
                kind=record.kind,
            )
            return False
        target = plan.target(backend.health_target)

        def run() -> Coroutine[Any, Any, None]:
            coroutine: Coroutine[Any, Any, None] = check.run(target, plan.section, self._services)
            return coroutine

        if record.instruments is None:
            record.instruments = Instruments(self._reporter, record.member.name)
        watch = record.watch = Watch(
            self._clock, self._room, run, lambda outcome: self._checked(record, plan, outcome)
        )
        spread_seconds = min(plan.interval_seconds, START_SPACING_SECONDS * len(self._records))
        offset_seconds = next(self._numbers) * _SPREAD % 1.0 * spread_seconds
        watch.start(plan.initial_delay_seconds + offset_seconds, plan.interval_seconds, plan.timeout_seconds)
        return True

    def _end_watch(self, record: Record) -> None:
        watch, record.watch = record.watch, None
        if watch is None:
            return
        ending = watch.stop()
        self._ending.add(ending)
        ending.addBoth(lambda _: self._ending.discard(ending))

    # What follows from it.

    def _checked(self, record: Record, plan: Plan, outcome: Outcome) -> None:
        record.take(outcome, plan, self._clock.seconds())
        if not outcome.error:
            self._ejections.readmit(record.member)
        self._apply(record, outcome.error or "the check passed")

    def _ejection_changed(self, member: Member, reason: str) -> None:
        record = self._records.get(member)
        if record is not None:
            self._apply(record, reason or "no longer left out")

    def _apply(self, record: Record, reason: str) -> None:
        member = record.member
        before = member.status
        if before in _LIFECYCLE:
            return
        status = Status.UNHEALTHY if self._ejections.is_ejected(member) else record.tally.status
        if status is not before:
            member.status = status
            self._tell(member, before, reason)
            if not status.is_offered:
                self._slow_start.end(member)
                self.left_out(member)
            elif before is Status.UNHEALTHY and record.plan is not None:
                self._slow_start.begin(member, record.plan.slow_start_seconds)
        record.show(self._reporter)

    def _tell(self, member: Member, before: Status, reason: str) -> None:
        change = {
            "backend": member.name,
            "status": member.status.value,
            "before": before.value,
            "reason": reason,
        }
        self.log.info("backend {backend} is {status}, was {before}: {reason}", **change)
        self._reporter.event("backend.status", **change)
