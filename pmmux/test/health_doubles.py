"""Doubles for tests of health: a router, backends, a reporter and a connector that do no I/O."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from zope.interface import implementer

from pmmux.checks.catalogue import builtin_checks
from pmmux.checks.interfaces import IHealthCheck
from pmmux.config.checking import check_section
from pmmux.config.draft import DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.schema import HEALTH_CHECK_SECTION
from pmmux.config.values import Target
from pmmux.errors import UpstreamError
from pmmux.health.options import section_options
from pmmux.interfaces import IHealthCheckable
from pmmux.members import Member
from pmmux.metrics.reporter import MetricReporter
from pmmux.model import BackendSpec, Location, PriorityTier, SectionValues, Status
from pmmux.preview import PreviewTransport

TARGET = Target("192.0.2.1", 80)


def section(section_name: str = "check", /, **options: str) -> SectionValues:
    """A health-check section as the configuration would give it; C{_} in names is written C{-}."""
    entries = tuple(
        Entry(name.replace("_", "-"), value, Location("test", 1, "", name)) for name, value in options.items()
    )
    return written_section(section_name, entries)


def written_section(section_name: str, entries: tuple[Entry, ...]) -> SectionValues:
    """The same from entries."""
    faults = FaultList(["test"])
    options = (*HEALTH_CHECK_SECTION.options, *section_options(builtin_checks()))
    draft = DraftSection("health-check", section_name, entries, Location("test"))
    found = check_section(draft, options, faults)
    if faults:
        raise faults.error()
    return found


@frozen
class NamedCondition:
    text: str = ""

    def describe(self) -> str:
        return self.text


@implementer(IHealthCheckable)
@define(eq=False)
class CheckableBackend:
    name: str
    tier: PriorityTier = PriorityTier.NORMAL
    weight: int = 1
    condition: Any = field(factory=NamedCondition)
    protocol: str = "pass"
    health_target: Any = TARGET
    default_check: str = "double"

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec(self.name, self.protocol, SectionValues("backend", self.name))


def member(name: str, **options: Any) -> Member:
    return Member(CheckableBackend(name, **options))


class StubRouter:
    """The part of the router that the monitor uses."""

    def __init__(self, *members: Member) -> None:
        self.list = list(members)
        self.watchers: list[Any] = []

    def members(self) -> tuple[Member, ...]:
        return tuple(self.list)

    def watch(self, watcher: Any) -> Any:
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def add(self, added: Member) -> None:
        self.list.append(added)
        for watcher in self.watchers:
            watcher("added", added)

    def remove(self, removed: Member) -> None:
        self.list.remove(removed)
        removed.status = Status.DRAINING
        for watcher in self.watchers:
            watcher("removed", removed)


@implementer(IHealthCheck)
class DoubleCheck:
    """A check whose results the test decides."""

    name = "double"
    options = ()

    def __init__(self) -> None:
        self.error = ""
        self.targets: list[Any] = []
        self.hangs = False
        self.deaf = False
        self.raises: Exception | None = None
        self.cancelled = 0
        self.open: list[Deferred[None]] = []

    def validate(self, check: Any) -> tuple[()]:
        return ()

    async def run(self, target: Any, check: Any, services: Any) -> None:
        self.targets.append(target)
        if self.hangs:
            waiting: Deferred[None] = Deferred(self._cancel)
            self.open.append(waiting)
            try:
                await waiting
            finally:
                self.open.remove(waiting)
        if self.raises is not None:
            raise self.raises
        if self.error:
            raise UpstreamError(str(target), self.error)

    def _cancel(self, waiting: Deferred[None]) -> None:
        self.cancelled += 1
        if self.deaf:
            waiting.callback(None)


class EventSink(MetricReporter):
    """A reporter that also keeps the events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, /, **fields: Any) -> None:
        self.events.append((name, fields))


class ScriptedTransport(StringTransportWithDisconnection):
    """Remembers how it was closed, and tells its protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.connected:
            super().loseConnection()


class StubConnector:
    """Connects to nothing: each stream's transport is there for the test to play the upstream."""

    def __init__(self) -> None:
        self.targets: list[Any] = []
        self.transports: list[ScriptedTransport] = []
        self.error: Exception | None = None

    async def connect(self, target: Any, timeout_seconds: float) -> PreviewTransport:
        self.targets.append(target)
        if self.error is not None:
            raise self.error
        transport = ScriptedTransport()
        stream = PreviewTransport(65536, lambda _: None)
        transport.protocol = stream
        stream.makeConnection(transport)
        self.transports.append(transport)
        return stream


@define
class StubServices:
    """What checks and the monitor take of the services."""

    reactor: Any = field(factory=Clock)
    connector: Any = field(factory=StubConnector)
    reporter: Any = field(factory=EventSink)
