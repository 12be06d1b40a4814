"""What a C{health-check} section may hold besides when to check, and what goes with what in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pmmux.config import values
from pmmux.config.faults import show
from pmmux.config.options import Option
from pmmux.config.suggest import nearest, one_of
from pmmux.errors import Fault
from pmmux.model import OptionKey, SectionValues

DEFAULT_INTERVAL_SECONDS = 10.0
DEFAULT_TIMEOUT_SECONDS = 5.0
DEFAULT_FAILURE_THRESHOLD = 3
DEFAULT_RECOVERY_THRESHOLD = 5
DEFAULT_EJECTION_SECONDS = 30.0
DEFAULT_EJECTION_LIMIT_SECONDS = 300.0
SHORTEST_EJECTION_SECONDS = 0.001

# The kind of check for which nothing is run: clients' connections alone are observed.
OBSERVED_ONLY = "none"

# The default kind of check that says something of what takes connections only.
BY_CONNECTION = "connect"

_duration = values.duration_between(SHORTEST_EJECTION_SECONDS)
_DURATION = "a duration such as 30s or 5m, above 0"

HEALTH_OPTIONS = (
    Option("type", values.name, "the kind of check", description="How to check; absent: as the backend is."),
    Option("port", values.port, "a port", description="Port to check; absent: that of the traffic."),
    Option(
        "observe",
        values.integer(1, 1000),
        "a number from 1 to 1000",
        description="Clients' connections in a row that fail before a backend is left out for a while; "
        "absent: they do not count.",
    ),
    Option(
        "ejection-time",
        _duration,
        _DURATION,
        DEFAULT_EJECTION_SECONDS,
        description="How long it is left out the first time; twice as long the second time, and so on.",
    ),
    Option(
        "ejection-time-limit",
        _duration,
        _DURATION,
        DEFAULT_EJECTION_LIMIT_SECONDS,
        description="The longest it is left out.",
    ),
    Option(
        "slow-start",
        values.duration_between(0.0),
        "a duration such as 30s, or 0",
        0.0,
        description="Time over which a backend that recovered gets back its full weight.",
    ),
)


def section_options(checks: Mapping[str, Any]) -> tuple[Option, ...]:
    """
    All that sections may hold where there are C{checks}.

    @param checks: L{pmmux.checks.interfaces.IHealthCheck} by name. What several of them call by one
        name they read alike.
    """
    options = {option.name: option for option in HEALTH_OPTIONS}
    for check in checks.values():
        for option in check.options:
            options.setdefault(option.name, option)
    return tuple(options.values())


def section_faults(
    section: SectionValues, checks: Mapping[str, Any], default_type: str | None = None
) -> list[Fault]:
    """
    What single options of C{section} cannot tell: an unknown kind of check, parameters of another
    kind, and what the check itself refuses.

    @param default_type: the kind where the section states none; C{None} where that depends on the
        backend: parameters are then let pass.
    """
    kind = section.get("type") or default_type
    if kind is None:
        return []
    if kind == OBSERVED_ONLY:
        faults = _foreign(section, checks, OBSERVED_ONLY, ())
        if section.get("observe") is None:
            faults.append(Fault(section.where(OptionKey("type")), "with type = none, observe is needed"))
        return faults
    check = checks.get(kind)
    if check is None:
        known = sorted((*checks, OBSERVED_ONLY))
        where = section.where(OptionKey("type"))
        return [Fault(where, f"there is no kind of check {show(kind)}", one_of(known), nearest(kind, known))]
    return _foreign(section, checks, kind, check.options) + list(check.validate(section))


def _foreign(
    section: SectionValues, checks: Mapping[str, Any], kind: str, own: Sequence[Option]
) -> list[Fault]:
    own_names = {option.name for option in own}
    others = {option.name for check in checks.values() for option in check.options} - own_names
    return [
        Fault(section.where(key), f"a check of type {kind} has no {key.name}")
        for key in section.values
        if key.name in others
    ]
