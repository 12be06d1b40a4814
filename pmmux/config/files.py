"""A configuration file, of whatever format its name says, as sections of text."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from pmmux.config.draft import DraftSection
from pmmux.config.faults import FaultList
from pmmux.config.ini import read_ini
from pmmux.config.tables import read_tables
from pmmux.config.trees import Branch, read_json, read_toml, read_yaml
from pmmux.model import Location

# Far above any configuration; it bounds what a wrong path (a device, a log) can do.
FILE_LIMIT_OCTETS = 16 << 20

_TREES: Mapping[str, Callable[[str, str, FaultList], Branch | None]] = MappingProxyType(
    {".toml": read_toml, ".json": read_json, ".yaml": read_yaml, ".yml": read_yaml}
)


def read_file(path: str, named_kinds: Collection[str], faults: FaultList) -> list[DraftSection]:
    """
    Read the file C{path}; one that is not named as TOML, JSON or YAML is INI.

    @param named_kinds: the kinds of sections that have names.
    @return: what sections could be read; everything else was reported.
    """
    text = _read_text(path, faults)
    if text is None:
        return []
    read_tree = _TREES.get(os.path.splitext(path)[1].lower())
    if read_tree is None:
        return read_ini(text, path, faults)
    root = read_tree(text, path, faults)
    return [] if root is None else read_tables(root, path, named_kinds, faults)


def _read_text(path: str, faults: FaultList) -> str | None:
    location = Location(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(FILE_LIMIT_OCTETS + 1)
    except OSError as error:
        faults.add(location, f"cannot be read: {error.strerror or type(error).__name__}")
        return None
    except ValueError:
        faults.add(location, "is not the path of a file")
        return None
    if len(octets) > FILE_LIMIT_OCTETS:
        faults.add(location, f"has more than {FILE_LIMIT_OCTETS >> 20} MiB")
        return None
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        faults.add(Location(path, line), "is not valid UTF-8")
        return None
