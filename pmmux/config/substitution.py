"""
References to environment variables in values: C{{{env:NAME}}} and C{{{env:NAME:-otherwise}}}.

They are replaced before a value is read, also before a compact text is taken apart, so that a
variable may hold any part of it. What a variable holds is not searched for references again, and
is never shown in a fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import evolve

from pmmux.config.draft import PMMUX, DraftSection, Entry
from pmmux.config.faults import FaultList, clean
from pmmux.config.schema import COMPACT_LISTS, canonical_name
from pmmux.model import Location

REFERENCE_FORM = "{{env:NAME}} or {{env:NAME:-otherwise}}"
_REFERENCE_BEGIN = "{{env:"
_REFERENCE = re.compile(r"\{\{env:(?:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*?))?\}\})?", re.DOTALL)


def substitute(section: DraftSection, environment: Mapping[str, str], faults: FaultList) -> DraftSection:
    """
    C{section} with every reference replaced, and with values that no option may hold taken out.

    The options that hold whole sections in compact form come out as tuples, so that one item that
    cannot be read leaves the others.
    """
    entries = []
    for entry in section.entries:
        is_compact = section.kind == PMMUX and canonical_name(PMMUX, entry.option) in COMPACT_LISTS
        entries.append(_substitute_entry(_as_items(entry) if is_compact else entry, environment, faults))
    return evolve(section, entries=tuple(entries))


def _as_items(entry: Entry) -> Entry:
    items = entry.items()
    return evolve(
        entry, value=tuple(text for text, _ in items), item_locations=tuple(place for _, place in items)
    )


def _substitute_entry(entry: Entry, environment: Mapping[str, str], faults: FaultList) -> Entry:
    if isinstance(entry.value, str):
        text = _substitute_text(entry.value, entry.location, environment, faults)
        return evolve(entry, value=text, is_hidden=_REFERENCE_BEGIN in entry.value)
    if entry.value is None:
        return entry
    read = [
        (text, place)
        for written, place in entry.items()
        if (text := _substitute_text(written, place, environment, faults)) is not None
    ]
    return evolve(
        entry,
        value=tuple(text for text, _ in read),
        item_locations=tuple(place for _, place in read),
        is_hidden=any(_REFERENCE_BEGIN in text for text in entry.value),
    )


def _substitute_text(
    written: str, location: Location, environment: Mapping[str, str], faults: FaultList
) -> str | None:
    problems: list[tuple[str, str]] = []
    text = _replace(written, environment, problems)
    if "\0" in text:
        problems.append(("holds a NUL character", ""))
    elif not _is_unicode(text):
        problems.append(("is not valid UTF-8", ""))
    for message, expected in problems:
        faults.add(location, message, expected)
    return None if problems else text


def _replace(text: str, environment: Mapping[str, str], problems: list[tuple[str, str]]) -> str:
    def look_up(found: re.Match[str]) -> str:
        name, otherwise = found.groups()
        if name is None:
            problems.append(("a broken reference to an environment variable", REFERENCE_FORM))
        elif name in environment:
            return environment[name]
        elif otherwise is not None:
            return str(otherwise)
        else:
            problems.append((f"the environment variable {clean(name)} is not set", ""))
        return ""

    return _REFERENCE.sub(look_up, text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
