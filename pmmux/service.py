"""The composition root: from settings, a registry and a reactor to one service."""

from __future__ import annotations

import copy
import math
import os
import select
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger

from pmmux.access import AccessLog, AccessRecord
from pmmux.checks.interfaces import IHealthCheck
from pmmux.clients import ClientLimits, is_announced
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.control.feed import EventFeed
from pmmux.control.ring import TraceRing
from pmmux.control.server import ControlServer
from pmmux.course import Course
from pmmux.course_services import CourseServices, CourseSettings
from pmmux.datagrams.log_budget import LogBudget
from pmmux.datagrams.services import DatagramServices, DatagramSettings
from pmmux.datagrams.session import DatagramSession
from pmmux.errors import ConfigurationError, ListenError
from pmmux.health.monitor import HealthMonitor
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import (
    IBackendProtocol,
    IHealthMonitor,
    IMetricSink,
    IMultiplexer,
    INATDriver,
    INegotiator,
    IRouter,
    IRoutingStrategy,
)
from pmmux.lifecycle import Lifecycle
from pmmux.listening import most_connections
from pmmux.logs import LineObserver, install
from pmmux.matching import compile_condition
from pmmux.metrics.exporting import make_sinks
from pmmux.metrics.reporter import DEFAULT_LABEL_SETS_LIMIT, CountersByLabel, MetricReporter
from pmmux.model import BackendSpec, Status
from pmmux.multiplexer import Multiplexer
from pmmux.nat.composing import make_service
from pmmux.nat.service import NATService
from pmmux.registry import Registry, Services
from pmmux.reload import Reload, ReloadError, ReloadReport
from pmmux.router import Router
from pmmux.session import Session
from pmmux.systemd import Notifier
from pmmux.transport.accepting import ConnectionLimit
from pmmux.transport.connecting import Connector
from pmmux.transport.datagram import DatagramPath
from pmmux.transport.fast import FastDataPath
from pmmux.transport.handover import SocketPool
from pmmux.transport.interfaces import IDataPath
from pmmux.transport.portable import PortableDataPath
from pmmux.transport.relaying import RelayLimits
from pmmux.transport.sockets import ListeningOptions

# A backend's status is one series for each status there is.
SERIES_PER_BACKEND = len(Status)


class PmmuxService(MultiService):
    """
    Everything of one pmmux process.

    Its listening sockets are opened by L{open}, before twistd forks and gives up privileges.

    @ivar lifecycle: changes what it consists of.
    @ivar read_again: reads the configuration anew, for L{reload}; C{None} where it cannot be.
    @ivar notifier: the service manager's, where there may be one.
    @ivar nat: asks gateways for public ports, from L{open} on; C{None} where that is not wanted.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, settings: Settings, registry: Registry, observer: LineObserver | None = None
    ) -> None:
        """@param observer: writes the log; C{None} where that is left to twistd."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.settings = settings
        self.registry = registry
        self.reporter = MetricReporter()
        self.make_room(len(settings.backends))
        self.nat: NATService | None = None
        self._reactor = reactor
        self._observer = observer
        self._access = AccessLog()
        self.feed = EventFeed()
        self.ring = TraceRing(settings.globals.get("trace-length"))
        self.control = ControlServer(reactor, self, settings.globals)
        option = settings.globals.get
        self.data_path: Any = registry.make(IDataPath, self._make_data_path)
        self.wiring = Services(
            reactor=reactor,
            data_path=self.data_path,
            connector=Connector(reactor, self.data_path),
            registry=registry,
            reporter=self.reporter,
            connect_seconds=option("connect-timeout"),
            datagrams=DatagramPath(reactor, self.data_path),
        )
        strategy = registry.get(IRoutingStrategy, option("routing-strategy"))
        self.router: Any = registry.make(IRouter, Router, strategy, self.reporter)
        checks = dict(registry.all(IHealthCheck))
        self.health: Any = registry.make(
            IHealthMonitor, HealthMonitor, self.wiring, self.router, checks, settings.health_checks
        )
        self._limit = ConnectionLimit(most_connections(option("max-connections")))
        self.multiplexer: Any = registry.make(
            IMultiplexer,
            Multiplexer,
            reactor,
            self.data_path,
            self._limit,
            option("preview-buffer-limit"),
            option("queue-length"),
            self._log_finished,
        )
        self.multiplexer.listening_options = ListeningOptions(
            option("congestion-control") or "",
            math.ceil(option("detect-timeout")) if option("defer-accept") else 0,
            option("tcp-fast-open"),
        )
        self._datagram_budget = LogBudget(reactor)
        self._refusal_budget = LogBudget(reactor)
        self._clients = ClientLimits(reactor, self.reporter, self._log_refused)
        self._limit_clients()
        self.multiplexer.use(self._course_services(), isinstance(self.data_path, FastDataPath))
        self.multiplexer.services_for = self._services_for
        self.multiplexer.datagram_services = self._datagram_services()
        self.health.gets_connections = self.multiplexer.gives_connections
        self.lifecycle = Lifecycle(reactor, self.router, self.multiplexer, self.health, self.make_backend)
        self.notifier: Notifier | None = None
        self._is_stopping = False
        self.read_again: Callable[[], Settings] | None = None
        self._reloading: DeferredLock = DeferredLock()
        self._ingress = self.reporter.counter("client.ingress.bytes")
        self._egress = self.reporter.counter("client.egress.bytes")
        self._ended = CountersByLabel(self.reporter, "router.connection.ended", "outcome")

    def open(self, pool: SocketPool | None = None) -> list[ListenError]:
        """
        Open every listener's sockets.

        @param pool: sockets that the process was started with.
        @return: every fault; empty where all are open.
        """
        specs = self.wanted_listeners(self.settings)
        sinks, unopened = make_sinks(self._reactor, self.settings.globals)
        faults = [*self.multiplexer.open(specs, pool), *self.control.open(os.environ), *unopened]
        for sink in sinks:
            self.reporter.add_sink(sink)
        if faults:
            self.control.stop()
            return faults
        drivers = [driver for _, driver in self.registry.all(INATDriver)]
        listeners = self.multiplexer.listeners()
        self.nat = make_service(self._reactor, self.settings, drivers, listeners, self.reporter)
        return faults

    def wanted_listeners(self, settings: Settings) -> list[ListenerSpec]:
        """Those of C{settings} that are to be listened on."""
        maps_only = settings.globals.get("portmap-only")
        return [spec for spec in settings.listeners if spec.listen and not maps_only]

    @property
    def observer(self) -> LineObserver | None:
        """What writes the log; C{None} where that is left to twistd."""
        return self._observer

    def setServiceParent(self, parent: Any) -> None:
        """twistd gives the application here, before it begins logging."""
        install(parent, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start the backends, then accept."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._observer is not None:
            self._observer.output.start_buffering(self._reactor)
        self._start_metrics()
        self.control.start()
        started = self._reloading.run(lambda: Deferred.fromCoroutine(self._start()))
        started.addErrback(lambda failure: self.log.failure("cannot start", failure))

    def stopService(self) -> Deferred[None]:
        """Let connections end within C{drain-timeout}, then close what is left."""
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """End a drain that is going on at once."""
        Deferred.fromCoroutine(self.multiplexer.stop(0))

    async def _start(self) -> None:
        for spec in self.settings.backends:
            await self.router.add(self.make_backend(spec))
        self.health.start()
        self.multiplexer.start()
        for listener in self.multiplexer.listeners():
            self.log_listener(listener)
        if self.nat is not None:
            self.nat.start()
        self._tell_ready()

    def _tell_ready(self) -> None:
        if self.notifier is not None:
            counts = len(self.multiplexer.listeners()), len(self.router.members())
            self.notifier.ready("{} listeners, {} backends".format(*counts))

    def log_listener(self, listener: Any) -> None:
        """Say where C{listener} accepts."""
        places = ", ".join(map(str, listener.addresses()))
        self.log.info("listener {name} accepts on {places}", name=listener.spec.name, places=places)

    def reload(self) -> Deferred[ReloadReport]:
        """
        Read the configuration anew and change to it, after any reload that is going on.

        @return: fails with L{ReloadError} where it is wrong: then nothing has changed.
        """
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._tell_and_reload()))

    async def _tell_and_reload(self) -> ReloadReport:
        if self._is_stopping:
            raise ReloadError(("pmmux is ending",))
        if self.notifier is not None:
            self.notifier.reloading()
        try:
            return await self._reload()
        finally:
            self._tell_ready()

    async def _reload(self) -> ReloadReport:
        try:
            if self.read_again is None:
                raise ReloadError(("there is nothing to read it from",))
            try:
                settings = self.read_again()
            except ConfigurationError as error:
                raise ReloadError(tuple(map(str, error.faults))) from error
            report = await Reload(self, settings).run()
        except ReloadError as error:
            for fault in error.faults:
                self.log.error("not reloaded: {fault}", fault=fault)
            self.log.error("the configuration was not reloaded: nothing has changed")
            raise
        for line in report.lines():
            self.log.info("reloaded: {line}", line=line)
        for name in report.not_until_restart:
            self.log.warn("reloaded: {name} changes only when pmmux is started again", name=name)
        self.log.info("the configuration was reloaded")
        return report

    def limit_connections(self) -> None:
        """Bound connections as the settings now say."""
        self._limit.change(most_connections(self.settings.globals.get("max-connections")))

    def _limit_clients(self) -> None:
        self._clients.use(self.settings)
        if self._clients.is_configured:
            self.multiplexer.clients = self._clients

    def share_anew(self) -> None:
        """Let connections and sessions to come have what the settings now say."""
        self._limit_clients()
        self.multiplexer.preview_limit_octets = self.settings.globals.get("preview-buffer-limit")
        self.multiplexer.use(self._course_services(), isinstance(self.data_path, FastDataPath))
        self.multiplexer.datagram_services.change(DatagramSettings.of(self.settings.globals))

    async def _stop(self) -> None:
        self._is_stopping = True
        if self.notifier is not None:
            self.notifier.stopping(f"{len(self.multiplexer.courses)} connections may end")
        self.lifecycle.stop()
        nat_stopped = self.nat.stop() if self.nat is not None else succeed(None)
        await self.multiplexer.stop(self.settings.globals.get("drain-timeout"))
        await nat_stopped
        self.control.stop()
        await self.health.stop()
        await self.router.stop()
        await self.reporter.stop()
        stopped = super().stopService()  # type: ignore[no-untyped-call]
        if stopped is not None:
            await stopped
        if self.notifier is not None:
            self.notifier.close()
        if self._observer is not None:
            self._observer.output.stop_buffering()

    def make_room(self, backends: int) -> None:
        """Let so many backends, and as many that drain, have metrics of their own."""
        self.reporter.label_sets_limit = max(
            DEFAULT_LABEL_SETS_LIMIT, 2 * backends * SERIES_PER_BACKEND, self.reporter.label_sets_limit
        )

    def make_backend(self, spec: BackendSpec) -> Any:
        """The L{pmmux.interfaces.IBackend} that C{spec} describes."""
        protocol = self.registry.get(IBackendProtocol, spec.protocol)
        return protocol.create(spec, compile_condition(spec.options), self.wiring)

    def _make_data_path(self) -> Any:
        option = self.settings.globals.get
        if os.environ.get("PMMUX_PORTABLE") or not hasattr(select, "epoll"):
            return PortableDataPath(self._reactor, option("congestion-control") or "")
        return FastDataPath(
            self._reactor,
            RelayLimits(option("idle-timeout"), option("half-closed-timeout")),
            option("congestion-control") or "",
            option("splice") == "auto",
            option("buffer-size"),
        )

    def _course_services(self) -> CourseServices:
        shared = [each for each in self._negotiators() if not hasattr(each, "for_listener")]
        services = CourseServices(
            self._reactor,
            self.router,
            self.data_path,
            shared,
            ProbeCatalogue(self.registry.probes("tcp")),
            CourseSettings.of(self.settings.globals),
            self.reporter,
            self.multiplexer.taken_up,
            self.multiplexer.finished,
        )
        services.monitor = self.health
        return services

    def _negotiators(self) -> list[Any]:
        found = (self.registry.get(INegotiator, name) for name in self.settings.globals.get("negotiators"))
        return [negotiator for negotiator in found if negotiator is not None]

    def _services_for(self, listener: ListenerSpec) -> CourseServices:
        chain = []
        for negotiator in self._negotiators():
            make = getattr(negotiator, "for_listener", None)
            own = negotiator if make is None else make(listener, self.settings, self.wiring)
            if own is not None:
                chain.append(own)
        services: CourseServices = self.multiplexer.course_services.with_negotiators(chain)
        if is_announced(listener) and self._clients.are_for(listener.name):
            services = copy.copy(services)
            services.clients = self._clients
        return services

    def _datagram_services(self) -> DatagramServices:
        services = DatagramServices(
            self._reactor,
            self.router,
            self.wiring.datagrams,
            ProbeCatalogue(self.registry.probes("udp")),
            DatagramSettings.of(self.settings.globals),
            self.reporter,
            self.multiplexer.identifiers,
            self._log_datagrams,
        )
        services.failed = lambda member, reason: self.health.connect_failed(member)
        services.answered = self.health.answered
        services.is_listed_out = self._clients.is_listed_out
        return services

    def _start_metrics(self) -> None:
        self.reporter.add_sink(self.feed)
        for _, sink in self.registry.all(IMetricSink):
            self.reporter.add_sink(sink)
        self.reporter.start()

    def _log_finished(self, course: Course | Session, outcome: str) -> None:
        record = course.record(outcome)
        self._ingress.value += record.octets_from_client
        self._egress.value += record.octets_from_upstream
        self._ended[outcome].value += 1
        self._access.write(record)
        trace = course.trace if isinstance(course, Session) else course.connection.trace
        self.ring.add((record, trace))

    def _log_refused(self, record: AccessRecord) -> None:
        if self._refusal_budget.allows():
            self._access.write(record)

    def _log_datagrams(self, session: DatagramSession, outcome: str) -> None:
        if self._datagram_budget.allows():
            record = session.record(outcome)
            self._access.write(record)
            self.ring.add((record, session.trace))
