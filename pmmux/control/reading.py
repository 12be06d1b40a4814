"""Backends, listeners and health checks described in a request, read and checked as those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from pmmux.checks.interfaces import IHealthCheck
from pmmux.clients import list_faults
from pmmux.config.assembling import assemble
from pmmux.config.draft import BACKEND, HEALTH_CHECK, LISTENER, PMMUX, DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.merging import Draft
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.control import protocol
from pmmux.control.protocol import CommandError
from pmmux.errors import Fault
from pmmux.health.options import section_faults
from pmmux.interfaces import IBackendProtocol, INegotiator
from pmmux.loading import schema_of
from pmmux.model import BackendSpec, Location, SectionValues
from pmmux.registry import Registry

SOURCE = "control"
# What runs already stands beside what is read, and is not judged again.
_RUNNING = "running"


def read_backend(
    registry: Registry, settings: Settings, name: str, protocol_name: str, options: Mapping[str, Any]
) -> BackendSpec:
    """
    @param settings: those in force.
    @param options: text by option, as they would stand in the file. There, C{{{env:...}}} is replaced;
        here it is not.
    @raises CommandError: with every fault.
    """
    section = _section(BACKEND, name, {"protocol": protocol_name, **options})
    globals_ = _section(PMMUX, "", settings.globals.raw, _RUNNING)
    found, faults = _read(registry, section, globals_=globals_)
    _refuse("backend", faults)
    return found.backends[0]


def read_listener(
    registry: Registry,
    settings: Settings,
    running: Iterable[ListenerSpec],
    name: str,
    options: Mapping[str, Any],
) -> ListenerSpec:
    """
    @param settings: those in force: what a listener may refer to.
    @param running: the listeners there will be beside it.
    @param options: see L{read_backend}.
    @raises CommandError: with every fault.
    """
    sections = chain(*settings.sections.values(), (spec.options for spec in running))
    beside = [_section(each.kind, each.name, each.raw, _RUNNING) for each in sections]
    globals_ = _section(PMMUX, "", settings.globals.raw, _RUNNING)
    found, faults = _read(registry, _section(LISTENER, name, options), beside, globals_)
    _refuse("listener", faults)
    validators = [each for _, each in registry.all(INegotiator) if hasattr(each, "validate")]
    _add([*(fault for each in validators for fault in each.validate(found)), *list_faults(found)], faults)
    _refuse("listener", faults)
    return found.listeners[-1]


def read_check(
    registry: Registry, backends: Iterable[BackendSpec], name: str, options: Mapping[str, Any]
) -> SectionValues:
    """
    @param backends: those that run, which the check may name.
    @param options: see L{read_backend}.
    @raises CommandError: with every fault.
    """
    beside = [_section(BACKEND, each.name, {"protocol": each.protocol}, _RUNNING) for each in backends]
    found, faults = _read(registry, _section(HEALTH_CHECK, name, options), beside)
    _refuse("health check", faults)
    (section,) = found.health_checks
    made = registry.get(IBackendProtocol, section.get("protocol") or "")
    kinds = dict(registry.all(IHealthCheck))
    _add(section_faults(section, kinds, getattr(made, "default_check", None)), faults)
    _refuse("health check", faults)
    return section


def _section(kind: str, name: str, options: Mapping[str, Any], source: str = SOURCE) -> DraftSection:
    title = f"{kind} {name}" if name else kind
    entries = tuple(
        Entry(option, text, Location(source, None, title, option)) for option, text in options.items()
    )
    return DraftSection(kind, name, entries, Location(source, None, title))


_NO_GLOBALS = _section(PMMUX, "", {}, _RUNNING)


def _read(
    registry: Registry,
    section: DraftSection,
    beside: Iterable[DraftSection] = (),
    globals_: DraftSection = _NO_GLOBALS,
) -> tuple[Settings, FaultList]:
    faults = FaultList([SOURCE])
    settings = assemble(Draft(globals_, (*beside, section)), schema_of(registry), None, faults)
    return settings, faults


def _add(found: Iterable[Fault], faults: FaultList) -> None:
    for fault in found:
        faults.add(fault.location, fault.message, fault.expected, fault.nearest)


def _refuse(what: str, faults: FaultList) -> None:
    told = tuple(str(fault) for fault in faults.error().faults if fault.location.source == SOURCE)
    if told:
        raise CommandError(protocol.BAD_ARGUMENTS, f"the {what} is not right", told)
