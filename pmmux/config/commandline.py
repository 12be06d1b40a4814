"""Options of C{[pmmux]} from the command line, given as pairs of an option's name and its value."""

from __future__ import annotations

from collections.abc import Sequence

from pmmux.config.draft import PMMUX, DraftSection, Entry
from pmmux.config.options import Option
from pmmux.config.schema import canonical_name
from pmmux.model import Location

SOURCE = "command line"


def read_command_line(overrides: Sequence[tuple[str, str]], options: Sequence[Option]) -> DraftSection:
    """
    Lists grow with each time that they are given; of anything else the last one counts.

    @param overrides: names without dashes in front, in either spelling (C{backend}, C{backends}).
    @param options: those of C{[pmmux]}.
    """
    lists = {option.name for option in options if option.listed or option.multiple}
    given: dict[str, Entry] = {}
    for option, value in overrides:
        name = canonical_name(PMMUX, option)
        location = Location(SOURCE, None, "", option)
        if name not in lists:
            given[name] = Entry(option, value, location)
            continue
        before = given.get(name)
        items = before.value if before is not None and isinstance(before.value, tuple) else ()
        places = before.item_locations if before is not None else ()
        given[name] = Entry(option, (*items, value), location, (*places, location))
    return DraftSection(PMMUX, "", tuple(given.values()), Location(SOURCE))
