"""
Sections from the tables of a TOML, JSON or YAML file, in either of two shapes.

The shape of the reference has one table C{pmmux} with lists of compact texts; the other is that of
the INI file: C{[listener.front]} for C{[listener front]}. Both may stand in one file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import evolve

from pmmux.config.draft import DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.trees import Branch, Leaf, Row
from pmmux.model import Location

NAME_DELIMITER = "."


def read_tables(
    root: Branch, source: str, named_kinds: Collection[str], faults: FaultList
) -> list[DraftSection]:
    """
    @param named_kinds: the kinds of sections that have names.
    @return: the sections in the order of the file.
    """
    sections = []
    for kind, node in root.items:
        location = Location(source, node.line, kind)
        if not isinstance(node, Branch):
            faults.add(
                Location(source, node.line, "", kind), "stands outside any section", "a table such as [pmmux]"
            )
        elif kind not in named_kinds:
            sections.append(_section(kind, "", node, location, faults))
        else:
            for name, child in node.items:
                place = Location(source, child.line, f"{kind} {name}")
                if isinstance(child, Branch):
                    sections.append(_section(kind, name, child, place, faults))
                else:
                    faults.add(place, "not a table of options", f"a table [{kind}.NAME]")
    return sections


def _section(kind: str, name: str, node: Branch, location: Location, faults: FaultList) -> DraftSection:
    return DraftSection(kind, name, tuple(_entries(node, "", location, faults)), location)


def _entries(node: Branch, prefix: str, section: Location, faults: FaultList) -> Iterator[Entry]:
    """The options of a section; a table within it is a part of their names, as in C{target.ip}."""
    for key, child in node.items:
        option = prefix + key
        if isinstance(child, Branch):
            yield from _entries(child, option + NAME_DELIMITER, section, faults)
            continue
        location = Location(section.source, child.line, section.section, option)
        value, lines = _value(child)
        if value is None:
            faults.add(location, "neither text, nor a number, nor true or false, nor a list of these")
        yield Entry(option, value, location, tuple(evolve(location, line=line) for line in lines))


def _value(node: Leaf | Row) -> tuple[str | tuple[str, ...] | None, tuple[int | None, ...]]:
    if isinstance(node, Leaf):
        return node.text, ()
    texts = tuple(item.text for item in node.items if isinstance(item, Leaf) and item.text is not None)
    return texts if len(texts) == len(node.items) else None, tuple(item.line for item in node.items)
