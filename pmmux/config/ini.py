"""
INI files: L{configparser} for the syntax, with the line of every section and option kept.

The parser asks for a section's and an option's name while it is at their line, so the line number
can be made part of the name. That gives exact places, and lets duplicates reach the check that
reports all of them, where the parser alone would stop at the first.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Sequence

from attrs import evolve

from pmmux.config.draft import DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.model import Location

# No option name can hold it, as it ends the name.
_LINE_MARK = "="
_HEADER = re.compile(r"\[(?P<header>[^\]]*)\]$")
# Above the first line, so that options before any section are found rather than ending the reading.
_NO_SECTION = "[]\n"


class _Lines:
    """The lines of a file, and the number of the one read last."""

    def __init__(self, text: str) -> None:
        self.texts = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        yield _NO_SECTION
        for number, text in enumerate(self.texts, start=1):
            self.number = number
            yield text + "\n"

    def mark(self, name: str) -> str:
        return f"{self.number}{_LINE_MARK}{name}"

    def find_value_lines(self, first: int, values: Sequence[str]) -> tuple[int, ...]:
        """The lines on which the lines of one value stand, the first of them on line C{first}."""
        found = [first]
        number = first
        for value in values[1:]:
            while number < len(self.texts):
                number += 1
                if self.texts[number - 1].strip() == value.strip():
                    break
            found.append(number)
        return tuple(found)


class _MarkedHeader:
    """What C{configparser} takes for a regular expression of section headers."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def match(self, text: str) -> _MarkedMatch | None:
        found = _HEADER.match(text)
        return None if found is None else _MarkedMatch(self._lines.mark(found["header"].strip()))


class _MarkedMatch:
    def __init__(self, header: str) -> None:
        self._header = header

    def group(self, name: str) -> str:
        return self._header


def _split_mark(marked: str) -> tuple[int, str]:
    line, _, name = marked.partition(_LINE_MARK)
    return int(line), name


def read_ini(text: str, source: str, faults: FaultList) -> list[DraftSection]:
    """
    Read C{text}.

    @param source: the file's name, for places.
    @return: the sections in their order, also those of which only a part could be read.
    """
    lines = _Lines(text)
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#", ";"), strict=False, default_section=""
    )
    parser.SECTCRE = _MarkedHeader(lines)  # type: ignore[assignment]
    parser.optionxform = lines.mark  # type: ignore[assignment, method-assign]
    try:
        parser.read_file(lines, source)
    except configparser.ParsingError as error:
        for line, _ in error.errors:
            faults.add(Location(source, line - 1), "neither a section, nor an option with '=', nor a comment")
    sections = []
    for marked in parser.sections():
        line, header = _split_mark(marked)
        entries = tuple(
            _entry(lines, source, header, option, value)
            for option, value in parser.items(marked, raw=True)
            if not option.endswith(_LINE_MARK)  # an option without a name is among the errors already
        )
        if line == 0:
            for entry in entries:
                faults.add(entry.location, "stands before the first section", "a section such as [pmmux]")
            continue
        location = Location(source, line, header)
        kind, _, name = header.partition(" ")
        if not header:
            faults.add(location, "a section without a name")
            continue
        sections.append(DraftSection(kind, name.strip(), entries, location))
    return sections


def _entry(lines: _Lines, source: str, section: str, marked: str, value: str) -> Entry:
    line, option = _split_mark(marked)
    location = Location(source, line, section, option)
    value_lines = lines.find_value_lines(line, value.split("\n"))
    return Entry(option, value, location, tuple(evolve(location, line=line) for line in value_lines))
