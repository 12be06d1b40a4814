"""Backends described in a request, read and checked as those of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pmmux.config.assembling import assemble
from pmmux.config.draft import BACKEND, PMMUX, DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.merging import Draft
from pmmux.control import protocol
from pmmux.control.protocol import CommandError
from pmmux.loading import schema_of
from pmmux.model import BackendSpec, Location
from pmmux.registry import Registry

SOURCE = "control"


def read_backend(
    registry: Registry, name: str, protocol_name: str, options: Mapping[str, Any]
) -> BackendSpec:
    """
    @param options: text by option, as they would stand in the file. There, C{{{env:...}}} is replaced;
        here it is not.
    @raises CommandError: with every fault.
    """
    section = f"{BACKEND} {name}"
    entries = tuple(
        Entry(option, text, Location(SOURCE, None, section, option))
        for option, text in (("protocol", protocol_name), *options.items())
    )
    faults = FaultList([SOURCE])
    place = Location(SOURCE, None, section)
    draft = Draft(
        DraftSection(PMMUX, "", (), Location(SOURCE, None, PMMUX)),
        (DraftSection(BACKEND, name, entries, place),),
    )
    settings = assemble(draft, schema_of(registry), None, faults)
    if faults:
        told = tuple(str(fault) for fault in faults.error().faults)
        raise CommandError(protocol.BAD_ARGUMENTS, "the backend is not right", told)
    return settings.backends[0]
