"""What all datagram listeners of this process share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from pmmux.datagrams.idle import IdleQueue
from pmmux.inspection import ProbeCatalogue
from pmmux.members import Member
from pmmux.model import SectionValues
from pmmux.router import Router
from pmmux.transport.datagram import DatagramPath
from pmmux.transport.timeouts import TimeoutQueue


@frozen(slots=True)
class DatagramSettings:
    """
    The bounds on one session.

    @ivar most: how many sessions a listener may have that states no number of its own.
    """

    detect_seconds: float
    selection_seconds: float
    idle_seconds: float
    connect_retries: int
    most: int
    preview_octets: int

    @classmethod
    def of(cls, options: SectionValues) -> DatagramSettings:
        """@param options: those of C{[pmmux]}."""
        option = options.get
        return cls(
            detect_seconds=option("detect-timeout"),
            selection_seconds=option("selection-timeout"),
            idle_seconds=option("udp-idle-timeout"),
            connect_retries=option("connect-retries"),
            most=option("max-udp-sessions"),
            preview_octets=option("preview-buffer-limit"),
        )


class DatagramServices:
    """
    See the module.

    @ivar own_names: addresses and ports of our own sockets. What comes from there would go round
        for ever.
    @ivar upstream_hosts: where sessions have upstreams, and how many.
    @ivar is_listed_out: whether lists keep a client's host from a listener.
    @ivar failed: told of each backend that could not be reached, and why.
    @ivar answered: told of each backend that answered a session for the first time.
    """

    def __init__(
        self,
        clock: Any,
        router: Router,
        path: DatagramPath,
        catalogue: ProbeCatalogue,
        settings: DatagramSettings,
        reporter: Any,
        identifiers: Iterator[int],
        finished: Callable[[Any, str], None],
    ) -> None:
        """
        @param catalogue: the probes of datagrams.
        @param identifiers: unique among connections and sessions of this process.
        @param finished: called once for each L{pmmux.datagrams.session.DatagramSession} that ended, with its
            outcome.
        """
        self.clock = clock
        self.router = router
        self.path = path
        self.catalogue = catalogue
        self.settings = settings
        self.identifiers = identifiers
        self.finished = finished
        self.own_names: set[tuple[str, int]] = set()
        self.upstream_hosts: Counter[str] = Counter()
        self.idle = IdleQueue(clock, settings.idle_seconds)
        self.detect_timeouts = TimeoutQueue(clock, settings.detect_seconds)
        self.selection_timeouts = TimeoutQueue(clock, settings.selection_seconds)
        self.failed: Callable[[Member, str], None] = lambda member, reason: None
        self.is_listed_out: Callable[[str, str], bool] = lambda listener, host: False
        self.answered: Callable[[Member], None] = lambda member: None
        self.reporter = reporter
        self.total = reporter.counter("router.message.total")
        self.octets = reporter.counter("router.message.bytes")
        self.routed = reporter.counter("router.message.routed")
        self.ingress = reporter.counter("client.ingress.bytes")
        self.egress = reporter.counter("client.egress.bytes")
        self.selection_duration = reporter.duration("router.message.selection.duration")

    def change(self, settings: DatagramSettings) -> None:
        """Take other bounds; how many sessions a listener may have changes for those to come."""
        self.settings = settings
        self.idle.change(settings.idle_seconds)
        self.detect_timeouts.change(settings.detect_seconds)
        self.selection_timeouts.change(settings.selection_seconds)
