"""
The status machine: which status follows a check's result. Data and arithmetic; no clock, no I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from attrs import define

from pmmux.model import Status


class Input(enum.Enum):
    """
    What can happen to a backend.

    A result is C{_ENOUGH} where as many of its kind came in a row as its threshold asks for; else it
    is C{_AFTER_…} where it is the first of its kind; else it is plain, as the very first one is.
    """

    PASSED = "passed"
    PASSED_AFTER_FAILURE = "passed after a failure"
    PASSED_ENOUGH = "passed often enough"
    FAILED = "failed"
    FAILED_AFTER_SUCCESS = "failed after a success"
    FAILED_ENOUGH = "failed often enough"
    DRAIN = "drain"
    STOP = "stop"


# fmt: off
_ROWS: Mapping[Status, tuple[Status, ...]] = {
    Status.UNKNOWN: (
        Status.HEALTHY, Status.STABILIZING, Status.HEALTHY,
        Status.UNHEALTHY, Status.DEGRADED, Status.UNHEALTHY,
        Status.DRAINING, Status.STOPPED,
    ),
    Status.HEALTHY: (
        Status.HEALTHY, Status.STABILIZING, Status.HEALTHY,
        Status.UNHEALTHY, Status.DEGRADED, Status.UNHEALTHY,
        Status.DRAINING, Status.STOPPED,
    ),
    Status.UNHEALTHY: (
        Status.HEALTHY, Status.STABILIZING, Status.HEALTHY,
        Status.UNHEALTHY, Status.DEGRADED, Status.UNHEALTHY,
        Status.DRAINING, Status.STOPPED,
    ),
    Status.DEGRADED: (
        Status.HEALTHY, Status.STABILIZING, Status.HEALTHY,
        Status.DEGRADED, Status.DEGRADED, Status.UNHEALTHY,
        Status.DRAINING, Status.STOPPED,
    ),
    Status.STABILIZING: (
        Status.STABILIZING, Status.STABILIZING, Status.HEALTHY,
        Status.UNHEALTHY, Status.DEGRADED, Status.UNHEALTHY,
        Status.DRAINING, Status.STOPPED,
    ),
    Status.DRAINING: (Status.DRAINING,) * 7 + (Status.STOPPED,),
    Status.STOPPED: (Status.STOPPED,) * 8,
}
# fmt: on

TRANSITIONS: Mapping[tuple[Status, Input], Status] = MappingProxyType(
    {
        (status, event): following
        for status, row in _ROWS.items()
        for event, following in zip(Input, row, strict=True)
    }
)


def transition(status: Status, event: Input) -> Status:
    """The status that follows C{status} when C{event} happens."""
    return TRANSITIONS[status, event]


@define(slots=True, eq=False)
class Tally:
    """
    Results counted, and the status by them alone.

    @ivar failures: in a row, up to now; 0 after a success.
    @ivar successes: in a row, up to now; 0 after a failure.
    """

    status: Status = Status.UNKNOWN
    failures: int = 0
    successes: int = 0

    def passed(self, recovery_threshold: int) -> Status:
        """A check passed. @return: the status now."""
        after_failure = self.failures > 0
        self.failures = 0
        self.successes += 1
        if self.successes >= recovery_threshold:
            event = Input.PASSED_ENOUGH
        else:
            event = Input.PASSED_AFTER_FAILURE if after_failure else Input.PASSED
        self.status = transition(self.status, event)
        return self.status

    def failed(self, failure_threshold: int) -> Status:
        """A check failed. @return: the status now."""
        after_success = self.successes > 0
        self.successes = 0
        self.failures += 1
        if self.failures >= failure_threshold:
            event = Input.FAILED_ENOUGH
        else:
            event = Input.FAILED_AFTER_SUCCESS if after_success else Input.FAILED
        self.status = transition(self.status, event)
        return self.status

    def reset(self) -> None:
        """Know nothing any more."""
        self.status = Status.UNKNOWN
        self.failures = self.successes = 0
