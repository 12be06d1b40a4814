"""What the configuration may hold, as the registry has it, and settings loaded against that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pmmux.checks.interfaces import IHealthCheck
from pmmux.clients import list_faults
from pmmux.config.load import load, wanted_extensions
from pmmux.config.schema import Schema, core_sections
from pmmux.config.settings import Settings
from pmmux.errors import ConfigurationError, Fault, PluginError
from pmmux.health.options import section_faults, section_options
from pmmux.interfaces import IBackendProtocol, INATDriver, INegotiator, IRoutingStrategy
from pmmux.matching import compile_condition, standard_options
from pmmux.model import Location, OptionKey
from pmmux.nat.composing import find_section
from pmmux.nat.wanted import find_faults
from pmmux.registry import Registry


def schema_of(registry: Registry) -> Schema:
    """All that may be configured with what C{registry} holds."""
    probes = {probe.name for transport in ("tcp", "udp") for probe in registry.probes(transport)}
    schema = Schema(
        sections=core_sections(),
        backend_protocols={name: each.options for name, each in registry.all(IBackendProtocol)},
        standard_backend_options=(*standard_options(sorted(probes)), *registry.options("backend")),
        check_protocols={
            name: () for name, each in registry.all(IBackendProtocol) if hasattr(each, "default_check")
        },
        known_names={
            "routing-strategy": registry.names(IRoutingStrategy),
            "negotiators": registry.names(INegotiator),
            "port-map-protocol": ("all", *registry.names(INATDriver)),
        },
        validators={name: each.validate for name, each in registry.all(IBackendProtocol)},
    )
    for section in registry.sections():
        schema = schema.with_section(section)
    schema = schema.with_options("health-check", *section_options(dict(registry.all(IHealthCheck))))
    for kind in ("pmmux", "listener", "health-check"):
        schema = schema.with_options(kind, *registry.options(kind))
    return schema


def load_settings(
    overrides: Sequence[tuple[str, str]], environment: Mapping[str, str], path: str | None
) -> tuple[Settings, Registry]:
    """
    Load the extensions that are asked for, and then the settings.

    @param overrides: see L{pmmux.config.load.load}.
    @raises ConfigurationError: with every fault.
    """
    registry = Registry()
    try:
        registry.load(wanted_extensions(overrides, environment, path))
    except PluginError as error:
        location = Location(path or "command line", None, "pmmux", "extensions")
        raise ConfigurationError((Fault(location, str(error)),)) from error
    return read_settings(registry, overrides, environment, path), registry


def read_settings(
    registry: Registry, overrides: Sequence[tuple[str, str]], environment: Mapping[str, str], path: str | None
) -> Settings:
    """
    Load the settings, with the extensions that C{registry} has; where it is not the first time, anew.

    @raises ConfigurationError: with every fault.
    """
    settings = load(overrides, environment, path, schema_of(registry))
    faults = [
        fault
        for _, negotiator in registry.all(INegotiator)
        if hasattr(negotiator, "validate")
        for fault in negotiator.validate(settings)
    ]
    faults.extend(find_faults(find_section(settings), registry.names(INATDriver)))
    faults += _deferring_faults(settings)
    faults += _check_faults(settings, registry)
    faults += list_faults(settings)
    if faults:
        raise ConfigurationError(tuple(faults))
    if not settings.listeners:
        raise ConfigurationError((_no_listener(path),))
    return settings


def _check_faults(settings: Settings, registry: Registry) -> list[Fault]:
    checks = dict(registry.all(IHealthCheck))
    faults = []
    for section in settings.health_checks:
        protocol = registry.get(IBackendProtocol, section.get("protocol") or "")
        faults += section_faults(section, checks, getattr(protocol, "default_check", None))
    return faults


def _no_listener(path: str | None) -> Fault:
    expected = "a section [listener NAME], or -p PUBLIC:LOCAL:PROTOCOL"
    return Fault(Location(path or "command line"), "there is no listener", expected)


def _deferring_faults(settings: Settings) -> list[Fault]:
    """A rule that silence can reach is never reached where the system holds silent clients back."""
    if not settings.globals.get("defer-accept"):
        return []
    where = settings.globals.where(OptionKey("defer-accept"))
    reached = [
        spec.name for spec in settings.backends if not compile_condition(spec.options).depends_on_octets
    ]
    return [
        Fault(
            where,
            f"the backend {name} can be reached by clients that say nothing, and they would be held back",
            "defer-accept = false, or a condition on what the client says",
        )
        for name in reached
    ]
