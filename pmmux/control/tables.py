"""Results as people read them: tables and lines, in which no text from outside does harm."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pmmux.escape import printable

CELL_LIMIT_CHARACTERS = 60
NOTHING = "-"
_GAP = "  "
_KIB = 1024
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3600
_DAY_SECONDS = 86400

# A number, a size, a time; or nothing.
_is_measure = re.compile(r"-|(\d+(\.\d+)?( ?[A-Za-z]+)? ?)+").fullmatch

Column = tuple[str, str]


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    empty: str,
    limit: int = CELL_LIMIT_CHARACTERS,
) -> Iterator[str]:
    """
    One line for each of C{rows}, below the titles.

    @param columns: pairs of a row's key and the title. Numbers and measures stand to the right.
    @param empty: what to say where there are no rows.
    @param limit: where longer cells are cut, in characters.
    """
    if not rows:
        yield empty
        return
    titles = [title for _, title in columns]
    cells = [[cell(row.get(key), limit) for key, _ in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    columns_of_cells = list(zip(*cells, strict=True))
    is_number = [all(map(_is_measure, each)) and set(each) != {NOTHING} for each in columns_of_cells]
    for line in (titles, *cells):
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        )
        yield _GAP.join(padded).rstrip()


def cell(value: Any, limit: int = CELL_LIMIT_CHARACTERS) -> str:
    """One value in a table or line."""
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return printable(", ".join(map(str, value)), limit)
    return printable(str(value), limit)


def show_plainly(result: Any, indent: str = "") -> Iterator[str]:
    """Names and values, one a line, what belongs together indented."""
    if isinstance(result, Mapping):
        width = max((len(str(key)) for key in result), default=0)
        for key, value in result.items():
            name = cell(key)
            if isinstance(value, Mapping) or (isinstance(value, list) and _has_mappings(value)):
                yield f"{indent}{name}:"
                yield from show_plainly(value, f"{indent}  ")
            else:
                yield f"{indent}{name.ljust(width)}  {cell(value, 1000)}"
    elif isinstance(result, list):
        for item in result:
            yield from show_plainly(item, indent)
    elif result is not None:
        yield f"{indent}{cell(result, 1000)}"


def _has_mappings(values: Iterable[Any]) -> bool:
    return any(isinstance(value, Mapping) for value in values)


def octets_text(octets: float) -> str:
    """C{octets} in three or four digits: C{1.5 MiB}."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if octets < _KIB or unit == "TiB":
            break
        octets /= _KIB
    return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"  # noqa: PLR2004


def seconds_text(seconds: float | None) -> str:
    """A time that passed: C{3d 4h}, C{5m 6s}, C{1.2s}, C{0.43ms}."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.2f}ms" if milliseconds < 10 else f"{milliseconds:.0f}ms"  # noqa: PLR2004
    if seconds < _MINUTE_SECONDS:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < _HOUR_SECONDS:
        return f"{whole // _MINUTE_SECONDS}m {whole % _MINUTE_SECONDS}s"
    if whole < _DAY_SECONDS:
        return f"{whole // _HOUR_SECONDS}h {whole % _HOUR_SECONDS // _MINUTE_SECONDS}m"
    return f"{whole // _DAY_SECONDS}d {whole % _DAY_SECONDS // _HOUR_SECONDS}h"


def clock_text(seconds: float) -> str:
    """A moment of the last days, in local time."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
