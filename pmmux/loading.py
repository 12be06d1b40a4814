"""What the configuration may hold, as the registry has it, and settings loaded against that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from pmmux.checks.interfaces import IHealthCheck
from pmmux.clients import list_faults
from pmmux.config.load import load, wanted_extensions
from pmmux.config.schema import Schema, core_sections
from pmmux.config.settings import Settings
from pmmux.errors import ConfigurationError, Fault, PluginError
from pmmux.health.options import section_faults, section_options
from pmmux.inspection import Inspection, ProbeCatalogue
from pmmux.interfaces import IBackendProtocol, INATDriver, INegotiator, IRoutingStrategy
from pmmux.matching import compile_condition, standard_options
from pmmux.model import Address, BackendSpec, Client, Location, Properties, SectionValues
from pmmux.nat.composing import find_section
from pmmux.nat.wanted import find_faults
from pmmux.preview import Preview
from pmmux.registry import Registry


def schema_of(registry: Registry) -> Schema:
    """All that may be configured with what C{registry} holds."""
    probes = {probe.name for transport in ("tcp", "udp") for probe in registry.probes(transport)}
    silence = _silence(registry)
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
        validate_backend=lambda spec, globals_: _deferring_faults(spec, globals_, silence),
        validate_check=lambda section: _check_faults(section, registry),
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
    schema = evolve(schema_of(registry), validate=lambda settings: _faults_of(settings, registry))
    return load(overrides, environment, path, schema)


def _faults_of(settings: Settings, registry: Registry) -> list[Fault]:
    """What goes with what beyond single sections."""
    faults = [
        fault
        for _, negotiator in registry.all(INegotiator)
        if hasattr(negotiator, "validate")
        for fault in negotiator.validate(settings)
    ]
    faults.extend(find_faults(find_section(settings), registry.names(INATDriver)))
    faults += list_faults(settings)
    if not settings.listeners:
        faults.append(_no_listener(settings.source))
    return faults


def _check_faults(section: SectionValues, registry: Registry) -> list[Fault]:
    protocol = registry.get(IBackendProtocol, section.get("protocol") or "")
    checks = dict(registry.all(IHealthCheck))
    return section_faults(section, checks, getattr(protocol, "default_check", None))


def _no_listener(path: str | None) -> Fault:
    expected = "a section [listener NAME], or -p PUBLIC:LOCAL:PROTOCOL"
    return Fault(Location(path or "command line"), "there is no listener", expected)


def _deferring_faults(spec: BackendSpec, globals_: SectionValues, silence: Inspection) -> list[Fault]:
    """A rule that silence can reach is never reached where the system holds silent clients back."""
    if not globals_.get("defer-accept") or not compile_condition(spec.options).can_match_silence(silence):
        return []
    return [
        Fault(
            spec.options.location,
            "it can be reached by clients that say nothing, and defer-accept holds them back",
            "a condition on what the client says, or defer-accept = false",
        )
    ]


def _silence(registry: Registry) -> Inspection:
    nobody = Client("tcp", Address("0.0.0.0", 0), Address("0.0.0.0", 0))
    nothing = Preview(1)
    nothing.finish()
    return Inspection(nobody, Properties(), nothing, ProbeCatalogue(registry.probes("tcp")))
