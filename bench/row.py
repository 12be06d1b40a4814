"""
What a row of the table is, and the one kind that most rows are.

To add rows, put a module into C{bench/rows} that has a sequence C{ROWS}; nothing else needs to know of it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen

import bench.rows
from bench.contenders import Routes
from bench.figures import Sample
from bench.stand import Effort, Running, Stand


@frozen(slots=True)
class Measure:
    """
    How a row's figures are written.

    @ivar name: of the value, as in C{conn/s}.
    @ivar scale: what the value is multiplied by to be written so.
    @ivar cpu_name: of the CPU time for one unit, as in C{us/conn}; empty where it is not shown.
    @ivar cpu_scale: what seconds for one unit are multiplied by.
    @ivar less_is_better: whether a ratio below 1 is the better one.
    @ivar is_compared: whether ratios are shown at all.
    """

    name: str
    scale: float = 1.0
    cpu_name: str = ""
    cpu_scale: float = 1e6
    less_is_better: bool = False
    is_compared: bool = True


class Row(Protocol):
    """A thing to measure of every contender that can route so."""

    @property
    def name(self) -> str:
        """As C{--only} names it."""

    @property
    def title(self) -> str:
        """What is measured, in words."""

    @property
    def routes(self) -> Routes:
        """What the contenders are configured for."""

    @property
    def shown(self) -> Measure:
        """How the figures are written."""

    @property
    def is_fresh(self) -> bool:
        """Whether every sample needs a process that has served nobody yet."""

    @property
    def once(self) -> bool:
        """Whether one sample of each contender says all."""

    @property
    def baseline(self) -> str:
        """Name of the row that a contender's own CPU per unit is also compared with, or empty."""

    def measure(self, stand: Stand, running: Running) -> Sample:
        """Take one sample. What fails is a fault in it; this does not raise."""


@frozen
class LoadRow:
    """
    A row that is one run of the load generator.

    @ivar mode: of the load generator.
    @ivar arguments: its arguments, for an effort.
    """

    name: str
    title: str
    mode: str
    arguments: Callable[[Effort], Sequence[object]]
    shown: Measure
    routes: Routes = field(factory=Routes)
    baseline: str = ""
    is_fresh: bool = False
    once: bool = False

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{Row}."""
        return stand.measure(running, self.mode, *self.arguments(stand.effort))


def discover_rows() -> list[Row]:
    """The rows of all modules in C{bench/rows}, by the modules' names."""
    rows: list[Row] = []
    for found in sorted(pkgutil.iter_modules(bench.rows.__path__), key=lambda found: found.name):
        rows.extend(importlib.import_module(f"bench.rows.{found.name}").ROWS)
    return rows


def select_rows(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """
    The rows that are wanted: by name, or all that begin with one and a hyphen; all where none is named.

    @raises ValueError: nothing is called so.
    """
    for name in wanted:
        if not any(_is_called(row, name) for row in rows):
            raise ValueError(f"no row is called {name!r}; there are: {', '.join(row.name for row in rows)}")
    return [row for row in rows if not wanted or any(_is_called(row, name) for name in wanted)]


def _is_called(row: Row, name: str) -> bool:
    return row.name == name or row.name.startswith(f"{name}-")
