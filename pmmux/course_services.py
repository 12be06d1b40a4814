"""What the courses of a listener share: components, bounds, queues of time-outs and counters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from pmmux.connection import Connection
from pmmux.inspection import ProbeCatalogue
from pmmux.model import SectionValues
from pmmux.router import Router
from pmmux.session import Session
from pmmux.transport.relaying import RelayLimits
from pmmux.transport.timeouts import ProgressWheel, TimeoutQueue


class Unobserved:
    """In the place of the L{pmmux.interfaces.IHealthMonitor}, where nobody observes."""

    is_observing = False


@frozen(slots=True)
class CourseSettings:
    """The bounds on one connection, in seconds."""

    negotiation_seconds: float
    detect_seconds: float
    selection_seconds: float
    connect_retries: int
    limits: RelayLimits

    @classmethod
    def of(cls, options: SectionValues) -> CourseSettings:
        """@param options: those of C{[pmmux]}."""
        option = options.get
        return cls(
            negotiation_seconds=option("negotiation-timeout"),
            detect_seconds=option("detect-timeout"),
            selection_seconds=option("selection-timeout"),
            connect_retries=option("connect-retries"),
            limits=RelayLimits(option("idle-timeout"), option("half-closed-timeout")),
        )


class CourseServices:
    """What every course shares."""

    def __init__(
        self,
        clock: Any,
        router: Router,
        data_path: Any,
        negotiators: Sequence[Any],
        catalogue: ProbeCatalogue,
        settings: CourseSettings,
        reporter: Any,
        taken_up: Callable[[Session], None],
        finished: Callable[[Any, str], None],
    ) -> None:
        """
        @param negotiators: L{pmmux.interfaces.INegotiator}s, in the order they run.
        @param taken_up: called with the session that takes the place of a course.
        @param finished: called once at the end of each L{pmmux.course.Course} or L{Session}, with its
            outcome.
        @ivar clients: the L{pmmux.clients.ClientLimits} to be asked after negotiation; C{None} for none.
        @ivar monitor: the L{pmmux.interfaces.IHealthMonitor} that clients' connections are told of.
        """
        self.monitor: Any = Unobserved()
        self.clients: Any = None
        self.clock = clock
        self.router = router
        self.data_path = data_path
        self.negotiators = tuple(negotiators)
        self.catalogue = catalogue
        self.settings = settings
        self.taken_up = taken_up
        self.finished = finished
        self.negotiation_timeouts = TimeoutQueue(clock, settings.negotiation_seconds)
        self.detect_timeouts = TimeoutQueue(clock, settings.detect_seconds)
        self.selection_timeouts = TimeoutQueue(clock, settings.selection_seconds)
        # Silence decides where the bound on choosing leaves it the time.
        self.silence_decides = settings.detect_seconds < settings.selection_seconds
        self.first_octet_timeouts = self.detect_timeouts if self.silence_decides else self.selection_timeouts
        self.wheel = ProgressWheel(clock)
        self.reporter = reporter
        self.total = reporter.counter("router.connection.total")
        self.routed = reporter.counter("router.connection.routed")
        self.failed = reporter.counter("router.connection.failed")
        self.negotiation_duration = reporter.duration("router.negotiation.duration")
        self.selection_duration = reporter.duration("router.selection.duration")
        self._take_negotiators(negotiators)

    def _take_negotiators(self, negotiators: Sequence[Any]) -> None:
        self.negotiators = tuple(negotiators)
        self.annotators: tuple[Any, ...] = tuple(getattr(each, "annotate", None) for each in self.negotiators)
        self.negotiates = None in self.annotators

    def with_negotiators(self, negotiators: Sequence[Any]) -> CourseServices:
        """The same, queues and counters shared, with another chain: for the listeners that have their own."""
        if tuple(negotiators) == self.negotiators:
            return self
        other = copy.copy(self)
        other._take_negotiators(negotiators)
        return other

    def admit(self, connection: Connection) -> None:
        """
        Negotiation is over: who the client is, is known.

        @raises RouteError: it may not be.
        """
        if self.clients is not None:
            self.clients.admit_announced(connection.identifier, connection.listener, connection.client)

    def must_hear_first(self) -> bool:
        """
        Whether no connection can be decided before its first octet: then nothing is begun until it is
        there, which saves a wait.
        """
        return not self.negotiates and self.router.must_hear_first(self.catalogue.probes)
