"""
Options of C{[pmmux]} from environment variables: C{PMMUX__SELECTION_TIMEOUT}, C{PMMUX__BACKENDS__0}.

The items of a list are taken by their numbers; numbers may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pmmux.config.draft import PMMUX, DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.options import Option
from pmmux.config.schema import ALIASES
from pmmux.config.suggest import nearest
from pmmux.model import Location

SOURCE = "environment"
PREFIX = "PMMUX__"
_INDEXED = re.compile(r"(.+)__([0-9]{1,9})", re.DOTALL)


def variable_name(option: str) -> str:
    """The variable that sets C{option}."""
    return PREFIX + option.upper().replace("-", "_").replace(".", "_")


def read_environment(
    environment: Mapping[str, str], options: Sequence[Option], faults: FaultList
) -> DraftSection:
    """
    Read what in C{environment} begins with C{PMMUX__}.

    @param options: those of C{[pmmux]}.
    """
    spellings = _spellings(options)
    plain: dict[str, list[tuple[int, str, str]]] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        base, index = variable, -1
        indexed = _INDEXED.fullmatch(variable)
        if indexed is not None and indexed[1] in spellings:
            base, index = indexed[1], int(indexed[2])
        option = spellings.get(base)
        if option is None or (index >= 0 and not option[1]):
            faults.add(
                Location(SOURCE, None, "", variable),
                "unknown variable" if option is None else "takes one value, not a numbered list",
                nearest=nearest(variable, spellings) if option is None else "",
            )
            continue
        plain.setdefault(base, []).append((index, variable, value))
    entries = tuple(_entry(spellings[base], base, sorted(items)) for base, items in sorted(plain.items()))
    return DraftSection(PMMUX, "", entries, Location(SOURCE))


def _spellings(options: Sequence[Option]) -> dict[str, tuple[str, bool]]:
    """By variable: the option as spelt there, and whether it is a list."""
    listed = {option.name: option.listed or option.multiple for option in options}
    spellings = {variable_name(name): (name, is_list) for name, is_list in listed.items()}
    for alias, name in ALIASES[PMMUX].items():
        spellings.setdefault(variable_name(alias), (alias, listed.get(name, False)))
    return spellings


def _entry(option: tuple[str, bool], base: str, items: Sequence[tuple[int, str, str]]) -> Entry:
    name, is_list = option
    location = Location(SOURCE, None, "", base)
    if not is_list or (len(items) == 1 and items[0][0] < 0):
        return Entry(name, items[0][2], location)
    places = tuple(Location(SOURCE, None, "", variable) for _, variable, _ in items)
    return Entry(name, tuple(value for _, _, value in items), location, places)
