"""
The component registry: every service looked up by its interface, every plugin by its name.

It is C{zope.interface}'s own, with the discovery of plugins and the assembly of the configuration's
schema around it. What is built in comes through L{IExtension} like everything else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define
from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.registry import Components
from zope.interface.verify import verifyObject

import pmmux.plugins
from pmmux.config.options import Option, SectionSchema
from pmmux.errors import PluginError
from pmmux.interfaces import (
    IBackendProtocol,
    IExtension,
    INATDriver,
    INegotiator,
    IProbe,
    IRoutingStrategy,
)

BUILTIN_EXTENSION = "builtin"


# Not frozen: what a reload changes is changed for all that have it.
@define(slots=True, eq=False)
class Services:
    """
    What backends and negotiators are given to work with.

    @ivar connect_seconds: the bound on connecting where a backend states none; may change at a reload.
    """

    reactor: Any
    data_path: Any
    connector: Any
    registry: Registry
    reporter: Any
    connect_seconds: float
    datagrams: Any = None


class Registry:
    """Components by interface and name, and what the configuration may hold."""

    def __init__(self) -> None:
        self.components = Components("pmmux")
        self._options: dict[str, list[Option]] = {}
        self._sections: dict[str, SectionSchema] = {}
        self._probes: dict[str, list[str]] = {"tcp": [], "udp": []}
        self._makers: dict[Any, Callable[..., Any]] = {}

    def register(self, interface: Any, component: Any, name: str = "", replace: bool = False) -> None:
        """
        Register C{component} as the one that provides C{interface} under C{name}.

        @param replace: whether it may take the place of another.
        @raises PluginError: it does not provide the interface, or there is one of that name.
        """
        try:
            verifyObject(interface, component, tentative=True)
        except Invalid as invalid:
            raise PluginError(name or interface.getName(), str(invalid)) from None
        if not replace and self.components.queryUtility(interface, name=name) is not None:
            raise PluginError(
                name or interface.getName(), f"there are two {interface.getName()} of this name"
            )
        self.components.registerUtility(component, interface, name=name, event=False)

    def get(self, interface: Any, name: str = "") -> Any:
        """The component, or C{None} where there is none."""
        return self.components.queryUtility(interface, name=name)

    def provide(self, interface: Any, make: Callable[..., Any]) -> None:
        """
        Replace one of the services that the process is composed of.

        @param interface: L{pmmux.interfaces.IRouter}, C{IMultiplexer}, C{IHealthMonitor} or C{IDataPath}.
        @param make: called once with the maker of ours and what that takes; returns the service, which may be
            of a subclass of ours, or stand before it.
        @raises PluginError: another extension has replaced it.
        """
        if interface in self._makers:
            raise PluginError(interface.getName(), "replaced by two extensions")
        self._makers[interface] = make

    def make(self, interface: Any, ours: Callable[..., Any], *arguments: Any) -> Any:
        """
        Make a service, ours or what L{provide} has put in its place, to be found by L{get}.

        @raises PluginError: it does not provide the interface.
        """
        make = self._makers.get(interface)
        made = ours(*arguments) if make is None else make(ours, *arguments)
        self.register(interface, made, replace=True)
        return made

    def all(self, interface: Any) -> list[tuple[str, Any]]:
        """Names and components, sorted by name."""
        return sorted(self.components.getUtilitiesFor(interface), key=lambda pair: pair[0])

    def names(self, interface: Any) -> tuple[str, ...]:
        """The names under which C{interface} is provided."""
        return tuple(name for name, _ in self.all(interface))

    def add_probe(self, probe: Any, replace: bool = False) -> None:
        """
        Register an L{IProbe}; those added first are preferred where several match, and one that takes
        the place of another takes that too.
        """
        name = f"{probe.transport}:{probe.name}"
        self.register(IProbe, probe, name, replace)
        if name not in self._probes[probe.transport]:
            self._probes[probe.transport].append(name)

    def probes(self, transport: str) -> Sequence[Any]:
        """The probes for C{"tcp"} or C{"udp"}, the preferred first."""
        return tuple(self.get(IProbe, name) for name in self._probes[transport])

    def add_strategy(self, strategy: Any, replace: bool = False) -> None:
        """Register an L{IRoutingStrategy}."""
        self.register(IRoutingStrategy, strategy, strategy.name, replace)

    def add_negotiator(self, negotiator: Any, replace: bool = False) -> None:
        """Register an L{INegotiator}."""
        self.register(INegotiator, negotiator, negotiator.name, replace)

    def add_backend_protocol(self, protocol: Any, replace: bool = False) -> None:
        """Register an L{IBackendProtocol}."""
        self.register(IBackendProtocol, protocol, protocol.name, replace)

    def add_nat_driver(self, driver: Any, replace: bool = False) -> None:
        """Register an L{INATDriver}."""
        self.register(INATDriver, driver, driver.name, replace)

    def add_options(self, kind: str, options: Iterable[Option]) -> None:
        """Let sections of C{kind} (C{pmmux}, C{listener}, C{backend}, C{health-check}) hold more."""
        self._options.setdefault(kind, []).extend(options)

    def add_section(self, schema: SectionSchema) -> None:
        """Let the configuration have sections of another kind."""
        if schema.kind in self._sections:
            raise PluginError(schema.kind, "there are two sections of this kind")
        self._sections[schema.kind] = schema

    def options(self, kind: str) -> tuple[Option, ...]:
        """What L{add_options} added for C{kind}."""
        return tuple(self._options.get(kind, ()))

    def sections(self) -> tuple[SectionSchema, ...]:
        """What L{add_section} added."""
        return tuple(self._sections.values())

    def load(self, extensions: Sequence[str]) -> None:
        """
        Let the built-in extension, and then each of C{extensions}, register what it has.

        @raises PluginError: one is missing, there twice, or broken; it says which and why.
        """
        found: dict[str, list[Any]] = {}
        for plugin in getPlugins(IExtension, pmmux.plugins):
            found.setdefault(plugin.name, []).append(plugin)
        for name in (BUILTIN_EXTENSION, *extensions):
            plugins = found.get(name, [])
            if len(plugins) > 1:
                raise PluginError(name, "installed more than once")
            if not plugins:
                raise PluginError(name, _explain_absence(sorted(set(found) - {BUILTIN_EXTENSION})))
            try:
                plugins[0].register(self)
            except PluginError:
                raise
            except Exception as error:  # a third party's code: whatever it raises is its fault, and named
                raise PluginError(name, f"{type(error).__name__}: {error}") from error


def _explain_absence(others: Sequence[str]) -> str:
    # getPlugins passes over drop-ins that cannot be imported; say which and why.
    broken = []
    for module in pkgutil.iter_modules(pmmux.plugins.__path__, "pmmux.plugins."):
        try:
            importlib.import_module(module.name)
        except Exception as error:  # anything a third party's module raises at import
            broken.append(f"{module.name} cannot be imported ({type(error).__name__}: {error})")
    text = "not installed" if not broken else "not found; " + "; ".join(broken)
    return text + (f"; installed are {', '.join(others)}" if others else "")
