"""
Several sources made one: the command line over the environment over the file.

  - A plain option, also one that is a list of names, is taken whole from the highest source that
    has it.
  - Sections with names, and the compact forms of them, are merged by name: one of a higher source
    takes the place of the one of its name, whole, and new names come after those of lower sources.
  - Health checks are what they check: one of a higher source takes the place of the one for the
    same protocol and backend, whatever their names.

What a higher source has replaced is not checked further. Within one source, everything that is
there twice is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from pmmux.config.checking import read_plainly
from pmmux.config.compact import expand_list
from pmmux.config.draft import BACKEND, HEALTH_CHECK, LISTENER, PMMUX, DraftSection, Entry
from pmmux.config.faults import FaultList, clean
from pmmux.config.schema import COMPACT_LISTS, canonical_name
from pmmux.model import Location

# What a section is recognised by; the number tells apart what is there twice in one source.
_Key = tuple[str, str, int]


@frozen
class Draft:
    """
    What was written, made one.

    @ivar pmmux: the options for the whole service, without the compact lists.
    @ivar sections: all others, in their order within each kind.
    """

    pmmux: DraftSection
    sections: tuple[DraftSection, ...]


def merge(sources: Sequence[Sequence[DraftSection]], faults: FaultList) -> Draft:
    """
    @param sources: the sections of each source, the lowest source first; references replaced.
    """
    expanded = [_expand(sections, faults) for sections in sources]
    named = [
        [each for each in sections if not _is_global(each) and each.kind != HEALTH_CHECK]
        for sections in expanded
    ]
    merged = _overlay([[(each.kind, each.name, each) for each in sections] for sections in named], faults)
    protocols = {each.name: read_plainly(each, "protocol") or "" for each in merged if each.kind == BACKEND}
    checks = [[each for each in sections if each.kind == HEALTH_CHECK] for sections in expanded]
    _report_equal_names(checks, faults)
    merged += _overlay(
        [[(*_scope(each, protocols), each) for each in sections] for sections in checks], faults
    )
    return Draft(_merge_options(expanded, faults), tuple(merged))


def _is_global(section: DraftSection) -> bool:
    # [pmmux NAME] is none, and is refused with the other sections.
    return section.kind == PMMUX and not section.name


def _expand(sections: Sequence[DraftSection], faults: FaultList) -> list[DraftSection]:
    """Put the sections that [pmmux] holds in compact form after the others."""
    taken = {each.name for each in sections if each.kind == LISTENER}
    plain: list[DraftSection] = []
    made: list[DraftSection] = []
    for section in sections:
        if not _is_global(section):
            plain.append(section)
            continue
        entries: list[Entry] = []
        for entry in section.entries:
            kind = COMPACT_LISTS.get(canonical_name(PMMUX, entry.option))
            if kind is None:
                entries.append(entry)
            else:
                made += expand_list(entry, kind, taken, faults)
        plain.append(evolve(section, entries=tuple(entries)))
    return plain + made


def _overlay(
    sources: Sequence[Sequence[tuple[str, str, DraftSection]]], faults: FaultList
) -> list[DraftSection]:
    """Lay each source's sections over those before; a section stands with what it is recognised by."""
    merged: dict[_Key, DraftSection] = {}
    for sections in sources:
        own: dict[_Key, DraftSection] = {}
        for first, second, section in sections:
            count = 0
            while (first, second, count) in own:
                count += 1
            if count:
                _report_twice(section, own[first, second, 0].location, faults)
            own[first, second, count] = section
        merged.update(own)
    return list(merged.values())


def _report_twice(section: DraftSection, first: Location, faults: FaultList) -> None:
    later = section.location
    if first.line is not None and later.line is not None and first.line > later.line:
        first, later = later, first
    where = f" on line {first.line}" if first.line is not None else ""
    faults.add(later, f"is there already, as [{clean(first.section)}]{where}")


def _scope(check: DraftSection, protocols: Mapping[str, str]) -> tuple[str, str]:
    """What C{check} is for: its protocol, or that of its backend, and its backend."""
    backend = read_plainly(check, "backend") or ""
    return read_plainly(check, "protocol") or protocols.get(backend, ""), backend


def _report_equal_names(sources: Sequence[Sequence[DraftSection]], faults: FaultList) -> None:
    for sections in sources:
        found: dict[str, Location] = {}
        for section in sections:
            first = found.setdefault(section.name, section.location)
            if first is not section.location:
                _report_twice(section, first, faults)


def _merge_options(sources: Sequence[Sequence[DraftSection]], faults: FaultList) -> DraftSection:
    merged: dict[str, list[Entry]] = {}
    location = Location("defaults")
    for sections in sources:
        own: dict[str, list[Entry]] = {}
        found = [section for section in sections if _is_global(section)]
        for section in found:
            if section is not found[0]:
                _report_twice(section, found[0].location, faults)
            for entry in section.entries:
                own.setdefault(canonical_name(PMMUX, entry.option), []).append(entry)
        merged.update(own)
        if found and location.source == "defaults":
            location = found[0].location
    entries = tuple(entry for entries in merged.values() for entry in entries)
    return DraftSection(PMMUX, "", entries, location)
