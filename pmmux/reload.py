"""Taking in a changed configuration: the difference to what runs, applied as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from pmmux.config.settings import Settings, written
from pmmux.errors import PmmuxError
from pmmux.interfaces import INATDriver, INegotiator, IRoutingStrategy
from pmmux.model import BackendSpec, SectionValues
from pmmux.nat.composing import make_service, use_settings
from pmmux.tls.interfaces import ICertificateStore
from pmmux.tls.store import CertificateStore
from pmmux.transport.relaying import RelayLimits

_COMPACT = frozenset({"port-bindings", "backends", "health-checks"})
_AT_ONCE = frozenset(
    {
        "routing-strategy",
        "negotiators",
        "selection-timeout",
        "detect-timeout",
        "negotiation-timeout",
        "connect-timeout",
        "connect-retries",
        "preview-buffer-limit",
        "idle-timeout",
        "half-closed-timeout",
        "udp-idle-timeout",
        "drain-timeout",
        "max-connections",
        "max-connections-per-address",
        "max-connection-rate-per-address",
        "allow",
        "allow-file",
        "deny",
        "deny-file",
        "verbosity",
        "mux-only",
        "portmap-only",
        "gateway",
        "network-interface",
        "port-map-protocol",
        "port-map-lifetime",
        "port-map-renewal-lead",
    }
)


@frozen(auto_exc=True, slots=False)
class ReloadError(PmmuxError):
    """The new configuration cannot be had; nothing has changed."""

    faults: tuple[str, ...]
    outcome = "reload-failed"

    def __str__(self) -> str:
        return "\n".join(self.faults)


@frozen
class Difference:
    """
    What has changed of one kind, by name.

    @ivar changed: those that were replaced.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        return "; ".join(f"{what} {', '.join(names)}" for what, names in parts if names)


@frozen
class ReloadReport:
    """
    What a reload did.

    @ivar options: those of C{[pmmux]} that have changed at once.
    @ivar not_until_restart: those that have changed in the file only.
    """

    listeners: Difference = field(factory=Difference)
    backends: Difference = field(factory=Difference)
    health_checks: Difference = field(factory=Difference)
    options: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    not_until_restart: tuple[str, ...] = ()

    def lines(self) -> Iterable[str]:
        """What has changed, for the log."""
        for kind, difference in (
            ("listeners", self.listeners),
            ("backends", self.backends),
            ("health checks", self.health_checks),
        ):
            if str(difference):
                yield f"{kind}: {difference}"
        for kind, names in (("options", self.options), ("sections", self.sections)):
            if names:
                yield f"{kind}: changed {', '.join(names)}"


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """@param before: what is compared, by name."""
    return Difference(
        tuple(name for name in after if name not in before),
        tuple(name for name, value in after.items() if name in before and before[name] != value),
        tuple(name for name in before if name not in after),
    )


def _backend_written(spec: BackendSpec) -> Any:
    return spec.protocol, written(spec.options)


def _changed_options(before: SectionValues, after: SectionValues) -> list[str]:
    names = {*before.raw, *after.raw} - _COMPACT
    return sorted(name for name in names if before.raw.get(name) != after.raw.get(name))


class Reload:
    """One change from what runs to other settings."""

    log = Logger()

    def __init__(self, service: Any, settings: Settings) -> None:
        """@param service: the running L{pmmux.service.PmmuxService}"""
        self._service = service
        self._before: Settings = service.settings
        self._after = settings
        self._options = _changed_options(self._before.globals, settings.globals)
        self._sections = tuple(
            kind
            for kind in {**self._before.sections, **settings.sections}
            if [written(each) for each in self._before.sections.get(kind, ())]
            != [written(each) for each in settings.sections.get(kind, ())]
        )

    async def run(self) -> ReloadReport:
        """
        Apply the difference.

        @raises ReloadError: a listener cannot be opened, or a backend cannot be made: nothing has changed.
        """
        service, after = self._service, self._after
        multiplexer, lifecycle = service.multiplexer, service.lifecycle
        wanted = {spec.name: spec for spec in service.wanted_listeners(after)}
        running = {listener.spec.name: listener.spec for listener in multiplexer.listeners()}
        listeners = difference(running, wanted)
        specs = {spec.name: spec for spec in after.backends}
        members = {member.name: member.backend.spec for member in service.router.members()}
        backends = difference(
            {name: _backend_written(spec) for name, spec in members.items()},
            {name: _backend_written(spec) for name, spec in specs.items()},
        )
        checks = difference(
            {section.name: written(section) for section in service.health.sections()},
            {section.name: written(section) for section in after.health_checks},
        )
        ready = self._make_backends([specs[name] for name in (*backends.added, *backends.changed)])
        leaving = (*listeners.removed, *listeners.changed)
        made, faults = multiplexer.prepare(
            [wanted[name] for name in (*listeners.added, *listeners.changed)], leaving
        )
        if faults:
            raise ReloadError(tuple(map(str, faults)))
        # From here on nothing is refused any more.
        service.make_room(len(specs))
        service.settings = after
        self._change_options()
        service.health.use(after.health_checks)
        for name in backends.changed:
            await self._start(lifecycle.replace_made(ready[name]), name)
        for name in backends.added:
            await self._start(lifecycle.add_made(ready[name]), name)
        for name in backends.removed:
            lifecycle.remove_backend(name)
        lifecycle.order_backends(list(specs))
        multiplexer.put(made, leaving, list(wanted))
        service.health.look_again()
        for listener in made:
            service.log_listener(listener)
        self._change_components()
        later = await self._change_port_mapping()
        at_once = tuple(name for name in self._options if name in _AT_ONCE)
        return ReloadReport(
            listeners,
            backends,
            checks,
            at_once,
            self._sections,
            (*(name for name in self._options if name not in _AT_ONCE), *later),
        )

    def _make_backends(self, specs: Iterable[BackendSpec]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for spec in specs:
            try:
                made[spec.name] = self._service.make_backend(spec)
            except Exception as error:  # a protocol may be an extension's
                raise ReloadError(
                    (f"{spec.options.location}: {type(error).__name__} while it was made: {error}",)
                ) from error
        return made

    async def _start(self, starting: Any, name: str) -> None:
        try:
            await starting
        except Exception:  # an extension's backend that does not start must not stop the others
            self.log.failure("backend {name} could not be started", name=name)

    def _change_options(self) -> None:
        service, changed = self._service, set(self._options)
        option = self._after.globals.get
        if "routing-strategy" in changed:
            service.router.use(service.registry.get(IRoutingStrategy, option("routing-strategy")))
        if "verbosity" in changed and service.observer is not None:
            service.observer.set_level(option("verbosity"))
        if "max-connections" in changed:
            service.limit_connections()
        if changed & {"idle-timeout", "half-closed-timeout"} and hasattr(service.data_path, "limits"):
            service.data_path.limits = RelayLimits(option("idle-timeout"), option("half-closed-timeout"))
        service.wiring.connect_seconds = option("connect-timeout")

    def _change_components(self) -> None:
        service = self._service
        if self._sections:
            store = service.registry.get(ICertificateStore)
            if isinstance(store, CertificateStore) and not hasattr(store, "reconfigure"):
                # Whoever needs it next makes another.
                service.registry.components.unregisterUtility(store, ICertificateStore)
            negotiators = [each for _, each in service.registry.all(INegotiator)]
            for component in (store, *negotiators):
                reconfigure = getattr(component, "reconfigure", None)
                if reconfigure is not None:
                    reconfigure(self._after)
        # A file that was replaced is taken in now, not when somebody connects.
        read_again = getattr(service.registry.get(ICertificateStore), "reload", None)
        if read_again is not None:
            read_again()
        if self._sections or self._options:
            service.share_anew()

    async def _change_port_mapping(self) -> tuple[str, ...]:
        """@return: what of it changes only when pmmux is started again."""
        service, nat = self._service, self._service.nat
        listeners = service.multiplexer.listeners()
        is_wanted = not self._after.globals.get("mux-only")
        if nat is not None and is_wanted:
            return use_settings(nat, self._after, listeners)
        if nat is not None:
            service.nat = None
            await nat.stop()
        elif is_wanted:
            drivers = [driver for _, driver in service.registry.all(INATDriver)]
            reactor = service.wiring.reactor
            service.nat = make_service(reactor, self._after, drivers, listeners, service.reporter)
            service.nat.start()
        return ()
