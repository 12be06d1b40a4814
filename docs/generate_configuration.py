"""
Writes the tables of options into C{docs/configuration.md}, from what the program itself accepts.

    python docs/generate_configuration.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pmmux.config.options import Option
from pmmux.config.schema import Schema
from pmmux.interfaces import IBackendProtocol
from pmmux.loading import schema_of
from pmmux.registry import Registry

PAGE = Path(__file__).with_name("configuration.md")
_MARKED = re.compile(r"(<!-- options: ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MINUTE_SECONDS, _HOUR_SECONDS = 60, 3600
_KIB, _MIB = 1 << 10, 1 << 20


def _loaded() -> tuple[Registry, Schema]:
    registry = Registry()
    registry.load(())
    return registry, schema_of(registry)


def _default(option: Option) -> str:
    value: Any = option.default
    if value is None or value in ((), ""):
        return "required" if option.required else "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    if isinstance(value, float):
        return f"`{_duration(value)}`"
    if isinstance(value, int) and "size" in option.expected:
        return f"`{value // _MIB}MiB`" if value % _MIB == 0 else f"`{value // _KIB}KiB`"
    return f"`{value}`"


def _duration(seconds: float) -> str:
    for unit_seconds, unit in ((_HOUR_SECONDS, "h"), (_MINUTE_SECONDS, "m"), (1, "s")):
        if seconds >= unit_seconds and seconds % unit_seconds == 0:
            return f"{seconds / unit_seconds:g}{unit}"
    return f"{seconds * 1000:g}ms"


def _written(option: Option) -> str:
    return f"`{option.name}[…]`" if option.keyed else f"`{option.name}`"


def _table(options: Sequence[Option]) -> str:
    rows = ["| option | default | what it takes | what it does |", "| --- | --- | --- | --- |"]
    for option in options:
        expected = option.expected
        if option.negatable:
            expected += "; `!` negates"
        if option.multiple:
            expected += "; `;` separates several"
        cells = (_written(option), _default(option), expected, option.description)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _options_for(what: str) -> Sequence[Option]:
    registry, schema = _loaded()
    kind, _, name = what.partition(" ")
    if kind == "standard":
        return schema.standard_backend_options
    if kind == "backend" and name:
        options: Sequence[Option] = registry.get(IBackendProtocol, name).options
        return options
    if kind == "check":
        return registry.options("health-check")
    return schema.options(kind)


def render(page: str) -> str:
    """The page with its tables made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}{_table(_options_for(found[2].strip()))}{found[3]}", page)


def documented() -> set[str]:
    """What the tables of the page are about: kinds of sections, and backend protocols."""
    return {found.group(2).strip() for found in _MARKED.finditer(PAGE.read_text(encoding="utf-8"))}


def needed() -> set[str]:
    """What there is to be documented."""
    registry, schema = _loaded()
    kinds = {kind for kind in schema.sections if schema.options(kind)}
    protocols = {f"backend {name}" for name, each in registry.all(IBackendProtocol) if each.options}
    checks = {"check"} if registry.options("health-check") else set()
    return kinds | protocols | checks | {"standard"}


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in sys.argv:
        sys.exit(0 if before == after else f"{PAGE.name} is not up to date: run this without --check")
    PAGE.write_text(after, encoding="utf-8")
