"""
The stage for a rehearsal: a router with every backend of a configuration, none of them started, and
a clock that is turned by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from attrs import fields, frozen
from twisted.internet.task import Clock
from zope.interface import directlyProvides, providedBy

from pmmux.config.settings import ListenerSpec, Settings
from pmmux.coroutines import start
from pmmux.explain.judgement import Notes, noted
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import IBackendProtocol, IDatagramBackend, INegotiator, IRoutingStrategy
from pmmux.matching import compile_condition
from pmmux.metrics.reporter import MetricReporter
from pmmux.model import BackendSpec, PriorityTier
from pmmux.registry import Registry, Services
from pmmux.router import Router
from pmmux.tls.contexts import OFF
from pmmux.tls.options import terminates
from pmmux.transport.timeouts import TimeoutQueue

# Time is never turned by less, so that rounding cannot make it stand still.
SHORTEST_TURN_SECONDS = 1e-6
# What a client says within TLS cannot be read from outside.
NOT_PLAYED = "tls"


class StandIn:
    """A backend that is as eligible as the real one, and does nothing."""

    def __init__(self, backend: Any, notes: Notes) -> None:
        """@param backend: the L{pmmux.interfaces.IBackend} that it stands for, never started."""
        self.name: str = backend.name
        self.spec: BackendSpec = backend.spec
        self.tier: PriorityTier = backend.tier
        self.weight: int = backend.weight
        self.condition = noted(backend.condition, backend.name, notes)
        self.plain_condition = backend.condition
        directlyProvides(self, providedBy(backend))

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to release."""


@frozen
class Bounds:
    """What bounds the selection, in seconds and octets, as configured."""

    negotiation_seconds: float
    detect_seconds: float
    selection_seconds: float
    preview_octets: int


class Stage:
    """
    See the module.

    @ivar router: plays the flows of a capture one beside the other, so that what it has routed counts.
    @ivar catalogues: the probes, by transport.
    @ivar not_for_datagrams: the names of the backends that take connections only.
    """

    def __init__(self, settings: Settings, registry: Registry, clock: Clock | None = None) -> None:
        option = settings.globals.get
        self.settings = settings
        self.registry = registry
        self.clock = clock or Clock()
        self.notes = Notes()
        self._chains: dict[str, list[Any]] = {}
        self.bounds = Bounds(
            option("negotiation-timeout"),
            option("detect-timeout"),
            option("selection-timeout"),
            option("preview-buffer-limit"),
        )
        self.negotiation_timeouts = TimeoutQueue(self.clock, self.bounds.negotiation_seconds)
        self.detect_timeouts = TimeoutQueue(self.clock, self.bounds.detect_seconds)
        self.selection_timeouts = TimeoutQueue(self.clock, self.bounds.selection_seconds)
        self.catalogues: Mapping[str, ProbeCatalogue] = {
            transport: ProbeCatalogue(registry.probes(transport)) for transport in ("tcp", "udp")
        }
        # There is neither a data path nor a connector: nothing is ever reached.
        absent: dict[str, Any] = {each.name: None for each in fields(Services)}
        present = {
            "reactor": self.clock,
            "registry": registry,
            "reporter": MetricReporter(),
            "connect_seconds": option("connect-timeout"),
        }
        self._services = Services(**(absent | present))
        backends = [self._make(spec) for spec in settings.backends]
        self.router = self._make_router(backends)
        self.not_for_datagrams = frozenset(
            backend.name for backend in backends if not self._takes_datagrams(backend)
        )

    def listener(self, transport: str, name: str | None = None) -> ListenerSpec | None:
        """
        The listener C{name}, or the first one of C{transport} where that is C{None}.

        @return: C{None} where there is none.
        """
        for spec in self.settings.listeners:
            if spec.transport == transport and (spec.listen if name is None else spec.name == name):
                return spec
        return None

    def negotiators(self, listener: ListenerSpec) -> list[Any]:
        """The chain of C{listener}, without those that cannot be played."""
        known = self._chains.get(listener.name)
        if known is not None:
            return known
        chain = self._chains[listener.name] = []
        for name in self.settings.globals.get("negotiators"):
            negotiator = self.registry.get(INegotiator, name)
            if negotiator is None or name == NOT_PLAYED:
                continue
            make = getattr(negotiator, "for_listener", None)
            own = negotiator if make is None else make(listener, self.settings, self._services)
            if own is not None:
                chain.append(own)
        return chain

    def terminates_tls(self, listener: ListenerSpec) -> bool:
        """Whether TLS may be terminated there, which cannot be played."""
        is_used = NOT_PLAYED in self.settings.globals.get("negotiators")
        return is_used and terminates(listener, self.settings) != OFF

    def turn_to(self, seconds: float) -> None:
        """Turn the clock to C{seconds}, stopping for each thing that is due on the way."""
        clock = self.clock
        # In the order in which they are due.
        calls = clock.getDelayedCalls()
        while calls and calls[0].getTime() <= seconds:
            clock.advance(max(calls[0].getTime() - clock.seconds(), SHORTEST_TURN_SECONDS))
            calls = clock.getDelayedCalls()
        if seconds > clock.seconds():
            clock.advance(seconds - clock.seconds())

    def _make(self, spec: BackendSpec) -> Any:
        protocol = self.registry.get(IBackendProtocol, spec.protocol)
        return protocol.create(spec, compile_condition(spec.options), self._services)

    def _make_router(self, backends: list[Any]) -> Router:
        strategy = self.registry.get(IRoutingStrategy, self.settings.globals.get("routing-strategy"))
        # What a strategy keeps belongs to one router.
        router = Router(copy.copy(strategy), MetricReporter())
        for backend in backends:
            start(_add(router, StandIn(backend, self.notes)))
        return router

    def _takes_datagrams(self, backend: Any) -> bool:
        protocol = self.registry.get(IBackendProtocol, backend.spec.protocol)
        return IDatagramBackend.providedBy(backend) or "udp" in protocol.transports


async def _add(router: Router, backend: StandIn) -> None:
    await router.add(backend)
