"""From the merged draft to L{Settings}: what a section may hold, and what goes with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from pmmux.config import values
from pmmux.config.checking import check_section, read_plainly
from pmmux.config.draft import BACKEND, HEALTH_CHECK, LISTENER, PMMUX, DraftSection
from pmmux.config.faults import FaultList, clean, show
from pmmux.config.listeners import make_listener, report_conflicts
from pmmux.config.merging import Draft
from pmmux.config.options import Option
from pmmux.config.schema import Schema
from pmmux.config.settings import Settings
from pmmux.config.suggest import nearest, one_of
from pmmux.errors import Fault
from pmmux.model import BackendSpec, OptionKey, SectionValues

CORE_KINDS = (PMMUX, LISTENER, BACKEND, HEALTH_CHECK)


def assemble(draft: Draft, schema: Schema, source: str | None, faults: FaultList) -> Settings:
    """
    Check C{draft} against C{schema}.

    @return: settings that are right where C{faults} stayed empty.
    """
    by_kind: dict[str, list[DraftSection]] = {kind: [] for kind in (*CORE_KINDS, *schema.sections)}
    for section in draft.sections:
        if _is_known(section, schema, faults):
            by_kind[section.kind].append(section)
    globals_ = _check_globals(draft.pmmux, schema, faults)
    listeners = [
        make_listener(check_section(each, schema.options(LISTENER), faults), faults)
        for each in by_kind[LISTENER]
    ]
    report_conflicts(listeners, faults)
    extra = {
        kind: tuple(check_section(each, schema.options(kind), faults) for each in found)
        for kind, found in by_kind.items()
        if kind not in CORE_KINDS
    }
    are_right = not faults
    backends = [_check_backend(each, globals_, schema, faults) for each in by_kind[BACKEND]]
    protocols = {backend.name: backend.protocol for backend in backends if backend.name}
    checks = [_check_health_check(each, protocols, schema, faults) for each in by_kind[HEALTH_CHECK]]
    settings = Settings(globals_, tuple(listeners), tuple(backends), tuple(checks), extra, source)
    if are_right:
        _add(schema.validate(settings), faults)
    else:
        _add_further(schema.validate, settings, 0, faults)
    return settings


def _add(found: Sequence[Fault], faults: FaultList) -> None:
    for fault in found:
        faults.add(fault.location, fault.message, fault.expected, fault.nearest)


def _add_further(
    validate: Callable[[Any], Sequence[Fault]], found: Any, before: int, faults: FaultList
) -> None:
    """
    Add what C{validate} says of C{found}: a section, what was made of one, or all settings.

    @param before: how many faults there were before it was read.
    """
    if len(faults) == before:
        _add(validate(found), faults)
        return
    try:
        further = validate(found)
    except Exception:  # it misses what could not be read
        return
    # What single options got wrong would only be said again, or appear to be missing.
    known = faults.places(before)
    _add([each for each in further if each.location.option and each.location not in known], faults)


def _is_known(section: DraftSection, schema: Schema, faults: FaultList) -> bool:
    """Whether there are sections of this kind, with or without names as this one is."""
    kind = schema.sections.get(section.kind)
    if kind is None:
        close = nearest(section.kind, schema.sections)
        faults.add(section.location, "unknown section", "" if close else one_of(schema.sections), close)
        return False
    if not kind.named:
        if section.name:
            faults.add(section.location, "takes no name", f"[{kind.kind}]")
        return not section.name
    try:
        values.name(section.name)
    except ValueError as error:
        reason = f"bad name {show(section.name)}: {error}" if section.name else "needs a name"
        faults.add(section.location, reason, f"[{kind.kind} NAME]")
    return True


def _check_globals(section: DraftSection, schema: Schema, faults: FaultList) -> SectionValues:
    options = schema.options(PMMUX)
    known = {each.name: names for each in options if (names := schema.names_for(each.name)) is not None}
    found = check_section(section, options, faults, known)
    if found.get("mux-only") and found.get("portmap-only"):
        faults.add(found.where(OptionKey("portmap-only")), "excludes mux-only")
    if found.get("control-listen") is not None and not found.get("control-token"):
        place = found.where(OptionKey("control-listen"))
        faults.add(place, "needs a control-token", "control-token = a secret of 16 characters or more")
    lead, lifetime = found.get("port-map-renewal-lead"), found.get("port-map-lifetime")
    if lead is not None and lifetime is not None and lead >= lifetime:
        place = found.where(OptionKey("port-map-renewal-lead"))
        faults.add(place, f"is not shorter than port-map-lifetime, which is {lifetime:g}s")
    return found


def _check_backend(
    section: DraftSection, globals_: SectionValues, schema: Schema, faults: FaultList
) -> BackendSpec:
    protocol = read_plainly(section, "protocol") or ""
    own = schema.backend_protocols.get(protocol)
    options: Sequence[Option] = (*schema.options(BACKEND), *schema.standard_backend_options, *(own or ()))
    known = {"protocol": schema.backend_protocols}
    before = len(faults)
    found = check_section(section, options, faults, known, is_complete=own is not None)
    spec = BackendSpec(section.name, protocol, found)
    validate = schema.validators.get(protocol)
    if validate is not None:
        _add_further(validate, spec, before, faults)
    if len(faults) == before:
        _add(schema.validate_backend(spec, globals_), faults)
    return spec


def _check_health_check(
    section: DraftSection, protocols: Mapping[str, str], schema: Schema, faults: FaultList
) -> SectionValues:
    """
    @param protocols: of each backend by its name.
    """
    backend = read_plainly(section, "backend") or ""
    implied = protocols.get(backend, "")
    protocol = read_plainly(section, "protocol") or implied
    own = schema.check_protocols.get(protocol)
    is_complete = own is not None or not (protocol or backend)
    known = {"backend": protocols, "protocol": schema.backend_protocols}
    before = len(faults)
    found = check_section(section, (*schema.options(HEALTH_CHECK), *(own or ())), faults, known, is_complete)
    place = found.where(OptionKey("protocol"))
    if implied and protocol != implied and protocol in schema.backend_protocols:
        message = f"the backend {clean(backend)} is of another protocol, {clean(implied)}"
        faults.add(place, message)
    elif own is None and protocol in schema.backend_protocols:
        message = f"backends of the protocol {clean(protocol)} have no health check"
        faults.add(place, message, one_of(schema.check_protocols))
    if implied:
        found = evolve(found, defaults={**found.defaults, "protocol": implied})
    _add_further(schema.validate_check, found, before, faults)
    return found
