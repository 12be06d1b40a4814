"""What a C{health-check} section asks for, and which section applies to a backend."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from pmmux.config.values import Target
from pmmux.health.ejection import EjectionPolicy
from pmmux.health.options import (
    DEFAULT_EJECTION_LIMIT_SECONDS,
    DEFAULT_EJECTION_SECONDS,
    DEFAULT_FAILURE_THRESHOLD,
    DEFAULT_INTERVAL_SECONDS,
    DEFAULT_RECOVERY_THRESHOLD,
    DEFAULT_TIMEOUT_SECONDS,
)
from pmmux.model import SectionValues


@frozen(slots=True)
class Plan:
    """
    One C{health-check} section, read once.

    @ivar kind: the name of the L{pmmux.checks.interfaces.IHealthCheck}; C{None} for the backend's
        own default.
    @ivar port: where to check, in place of the target's.
    @ivar ejection: C{None} where clients' connections are not observed.
    @ivar slow_start_seconds: 0 for none.
    """

    section: SectionValues
    kind: str | None
    port: int | None
    interval_seconds: float
    timeout_seconds: float
    initial_delay_seconds: float
    failure_threshold: int
    recovery_threshold: int
    ejection: EjectionPolicy | None
    slow_start_seconds: float

    @property
    def name(self) -> str:
        """The section's name."""
        return self.section.name

    def target(self, target: Target | None) -> Target | None:
        """Where to check a backend whose traffic goes to C{target}."""
        if self.port is None or target is None or target.unix_path is not None:
            return target
        return evolve(target, port=self.port)


def plan_of(section: SectionValues) -> Plan:
    """Read C{section}; what it does not say has its default."""
    observe: int | None = section.get("observe")
    ejection = None
    if observe is not None:
        ejection = EjectionPolicy(
            observe,
            section.get("ejection-time") or DEFAULT_EJECTION_SECONDS,
            section.get("ejection-time-limit") or DEFAULT_EJECTION_LIMIT_SECONDS,
        )
    return Plan(
        section,
        section.get("type"),
        section.get("port"),
        section.get("interval") or DEFAULT_INTERVAL_SECONDS,
        section.get("timeout") or DEFAULT_TIMEOUT_SECONDS,
        section.get("initial-delay") or 0.0,
        section.get("failure-threshold") or DEFAULT_FAILURE_THRESHOLD,
        section.get("recovery-threshold") or DEFAULT_RECOVERY_THRESHOLD,
        ejection,
        section.get("slow-start") or 0.0,
    )


def applicable(plans: Iterable[Plan], protocol: str, backend: str) -> Plan | None:
    """
    The plan for a backend: the one for it by name, else the one for its protocol, else the one for
    all; of several that are equally near, the first.
    """
    best: Plan | None = None
    nearest = -1
    for plan in plans:
        its_protocol, its_backend = plan.section.get("protocol"), plan.section.get("backend")
        if its_protocol not in (None, protocol) or its_backend not in (None, backend):
            continue
        nearness = 2 * (its_backend is not None) + (its_protocol is not None)
        if nearness > nearest:
            best, nearest = plan, nearness
    return best
