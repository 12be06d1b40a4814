"""What pmmux brings itself, registered through the same door that third parties use."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

import pmmux.backends
import pmmux.control.commands
import pmmux.negotiators
import pmmux.probes
import pmmux.strategies
from pmmux.capacity import CAPACITY_OPTIONS
from pmmux.checks.catalogue import builtin_checks
from pmmux.checks.interfaces import IHealthCheck
from pmmux.clients import CLIENT_OPTIONS, LIST_OPTIONS
from pmmux.control.interfaces import ICommand
from pmmux.datagrams.options import BACKEND_OPTIONS, LISTENER_OPTIONS
from pmmux.interfaces import IExtension
from pmmux.lifecycle import LIFECYCLE_OPTIONS
from pmmux.nat.service import make_drivers
from pmmux.nat.settings import NAT_SECTION
from pmmux.registry import BUILTIN_EXTENSION, Registry

# Where several probes match, the first of these is preferred; the others follow by name.
PREFERRED_PROBES = ("tls", "http2", "http", "ssh", "quic", "dns")


@implementer(IPlugin, IExtension)
class BuiltinExtension:
    """Registers the C{probe}, C{make_strategy}, C{negotiator} or C{protocol} of each module of its room."""

    name = BUILTIN_EXTENSION

    def register(self, registry: Registry) -> None:
        """See L{IExtension}."""
        probes = _collect(pmmux.probes, "probe")
        for probe in sorted(probes, key=_preference):
            registry.add_probe(probe)
        for make_strategy in _collect(pmmux.strategies, "make_strategy"):
            registry.add_strategy(make_strategy())
        for negotiator in _collect(pmmux.negotiators, "negotiator"):
            registry.add_negotiator(negotiator)
            add_options = getattr(negotiator, "add_options", None)
            if add_options is not None:
                add_options(registry)
        for protocol in _collect(pmmux.backends, "protocol"):
            registry.add_backend_protocol(protocol)
        for name, check in builtin_checks().items():
            registry.register(IHealthCheck, check, name)
        for commands in _collect(pmmux.control.commands, "commands"):
            for command in commands:
                registry.register(ICommand, command, command.name)
        for driver in make_drivers():
            registry.add_nat_driver(driver)
        registry.add_section(NAT_SECTION)
        registry.add_options("listener", (*LISTENER_OPTIONS, *LIST_OPTIONS))
        registry.add_options("pmmux", CLIENT_OPTIONS)
        registry.add_options("backend", (*BACKEND_OPTIONS, *CAPACITY_OPTIONS, *LIFECYCLE_OPTIONS))


def _preference(probe: Any) -> tuple[int, str]:
    known = PREFERRED_PROBES.index(probe.name) if probe.name in PREFERRED_PROBES else len(PREFERRED_PROBES)
    return known, probe.name


def _collect(package: Any, attribute: str) -> list[Any]:
    modules = (
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    )
    return [getattr(module, attribute) for module in modules if hasattr(module, attribute)]
