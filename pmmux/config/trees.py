"""
TOML, JSON and YAML, each made into the same tree of texts with line numbers.

Every scalar becomes text again, because options read text. YAML and its reader know their lines;
for TOML and JSON the line is where the key is found in the text, in the order of the document.
"""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from typing import Any

from attrs import frozen

from pmmux.config.faults import FaultList, clean
from pmmux.model import Location

# Sections, their names, and options written as tables of tables; more is no configuration.
DEPTH_LIMIT = 8
NODE_LIMIT = 200_000
# A value is looked for by its beginning, as what follows may be escaped in the text.
_FOUND_BY_CHARACTERS = 40


@frozen(slots=True)
class Leaf:
    """
    One value.

    @ivar text: C{None} where it is no value that an option can have.
    """

    text: str | None
    line: int | None


@frozen(slots=True)
class Row:
    """A list."""

    items: tuple[Node, ...]
    line: int | None


@frozen(slots=True)
class Branch:
    """A table; a key may be there more than once."""

    items: tuple[tuple[str, Node], ...]
    line: int | None


Node = Leaf | Row | Branch


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every key that was written."""


class _TooLargeError(ValueError):
    """More nodes, or deeper, than in any configuration."""

    def __init__(self) -> None:
        super().__init__("nested too deeply, or too large, for a configuration")


class _LineFinder:
    """Finds keys and values in a text, each after the one found before it where there is one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._cursor = 0
        self._line = 1
        self._counted_to = 0

    def _line_at(self, position: int) -> int:
        if position < self._counted_to:
            self._line, self._counted_to = 1, 0
        self._line += self._text.count("\n", self._counted_to, position)
        self._counted_to = position
        return self._line

    def find_key(self, key: str) -> int | None:
        """The line of C{key}."""
        name = rf"""["']?{re.escape(key)}["']?\s*"""
        pattern = re.compile(rf"(?<![\w.-]){name}[\]=:.]|\.\s*{name}[\]=.]")
        found = pattern.search(self._text, self._cursor) or pattern.search(self._text)
        if found is None:
            return None
        # Not beyond a dot or bracket, which the next part of the same name begins with.
        self._cursor = found.end() - 1
        return self._line_at(found.start())

    def find_value(self, value: str) -> int | None:
        """The line of the list item C{value}."""
        part = re.split(r'["\\\n]', value[:_FOUND_BY_CHARACTERS], maxsplit=1)[0]
        position = self._text.find(part, self._cursor) if part else -1
        if position < 0:
            return None
        self._cursor = position + len(part)
        return self._line_at(position)


class _Planter:
    """Makes a tree of what the TOML and JSON readers return."""

    def __init__(self, text: str) -> None:
        self._finder = _LineFinder(text)
        self._count = 0

    def plant(self, value: Any, line: int | None, depth: int = 0, is_item: bool = False) -> Node:
        self._count += 1
        if depth > DEPTH_LIMIT or self._count > NODE_LIMIT:
            raise _TooLargeError
        if isinstance(value, dict | _Pairs):
            pairs = value.items() if isinstance(value, dict) else value
            return Branch(tuple((key, self._plant_key(key, child, depth)) for key, child in pairs), line)
        if isinstance(value, list):
            return Row(tuple(self.plant(item, line, depth + 1, True) for item in value), line)
        if value is None:
            return Leaf(None, line)
        text = ("false", "true")[value] if isinstance(value, bool) else str(value)
        return Leaf(text, (self._finder.find_value(text) or line) if is_item else line)

    def _plant_key(self, key: str, value: Any, depth: int) -> Node:
        return self.plant(value, self._finder.find_key(key), depth + 1)


def read_toml(text: str, source: str, faults: FaultList) -> Branch | None:
    """
    Read C{text}.

    @return: C{None} where it is no TOML, which was reported then.
    """
    try:
        table = tomllib.loads(text, parse_float=str)
        return _as_root(_Planter(text).plant(table, 1), source, faults)
    except RecursionError:
        faults.add(Location(source), "nested too deeply")
    except ValueError as error:
        reason = str(error)
        found = re.search(r"\(at line ([0-9]{1,9}), column [0-9]+\)$", reason)
        line = int(found[1]) if found else None
        if found:
            reason = reason[: found.start()].rstrip()
        faults.add(Location(source, line), f"not valid TOML: {clean(reason)}")
    return None


def read_json(text: str, source: str, faults: FaultList) -> Branch | None:
    """
    Read C{text}.

    @return: C{None} where it is no JSON, which was reported then.
    """
    try:
        table = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str)
        return _as_root(_Planter(text).plant(table, 1), source, faults)
    except RecursionError:
        faults.add(Location(source), "nested too deeply")
    except json.JSONDecodeError as error:
        faults.add(Location(source, error.lineno), f"not valid JSON: {clean(error.msg)}")
    except ValueError as error:
        faults.add(Location(source), f"not valid JSON: {clean(str(error))}")
    return None


def read_yaml(text: str, source: str, faults: FaultList) -> Branch | None:
    """
    Read C{text} with the optional package PyYAML.

    @return: C{None} where it is no YAML or the package is missing, which was reported then.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        faults.add(
            Location(source),
            "YAML needs the package PyYAML, which is not installed; INI, TOML and JSON do not",
        )
        return None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _as_root(Branch((), 1) if node is None else _YAMLPlanter(yaml).plant(node), source, faults)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "syntax"
        faults.add(Location(source, mark.line + 1 if mark else None), f"not valid YAML: {clean(str(reason))}")
    except RecursionError:
        faults.add(Location(source), "nested too deeply")
    except ValueError as error:
        faults.add(Location(source), f"not valid YAML: {clean(str(error))}")
    return None


class _YAMLPlanter:
    """Makes a tree of composed YAML, whose scalars are still the text as written."""

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._count = 0

    def plant(self, node: Any, depth: int = 0) -> Node:
        self._count += 1
        if depth > DEPTH_LIMIT or self._count > NODE_LIMIT:
            raise _TooLargeError
        line = node.start_mark.line + 1
        if isinstance(node, self._yaml.MappingNode):
            return Branch(
                tuple((self._key(key), self.plant(value, depth + 1)) for key, value in node.value), line
            )
        if isinstance(node, self._yaml.SequenceNode):
            return Row(tuple(self.plant(item, depth + 1) for item in node.value), line)
        return Leaf(None if node.tag.endswith(":null") else str(node.value), line)

    def _key(self, node: Any) -> str:
        if not isinstance(node, self._yaml.ScalarNode):
            raise ValueError(f"a key that is no text on line {node.start_mark.line + 1}")
        return str(node.value)


def _as_root(node: Node, source: str, faults: FaultList) -> Branch | None:
    if isinstance(node, Branch):
        return node
    faults.add(Location(source, node.line), "not a table of sections")
    return None
