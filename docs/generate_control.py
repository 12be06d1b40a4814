"""
Writes the table of commands into C{docs/control-protocol.md}, from the commands that there are.

    python docs/generate_control.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pmmux.control.arguments import Argument
from pmmux.control.interfaces import ICommand
from pmmux.registry import Registry

PAGE = Path(__file__).with_name("control-protocol.md")
_MARKED = re.compile(r"(<!-- commands -->\n).*?(<!-- end -->)", re.DOTALL)


def _argument(argument: Argument) -> str:
    kind = " or ".join(f"`{choice}`" for choice in argument.choices) or argument.kind
    more = "required" if argument.is_required else ""
    if argument.default not in (None, False):
        more = f"default {argument.default}"
    return f"`{argument.name}` ({', '.join(filter(None, (kind, more)))}): {argument.description}"


def _rows() -> Iterator[str]:
    registry = Registry()
    registry.load(())
    yield "| command | what it does | arguments |"
    yield "| --- | --- | --- |"
    command: Any
    for name, command in registry.all(ICommand):
        marks = (" Stream." if command.is_stream else "") + (" Changes." if command.is_changing else "")
        arguments = "<br>".join(map(_argument, command.arguments)) or "-"
        yield f"| `{name}` | {command.summary}{marks} | {arguments} |"


def render(page: str) -> str:
    """The page with its table made anew."""
    table = "\n".join(_rows()) + "\n"
    return _MARKED.sub(lambda found: f"{found[1]}{table}{found[2]}", page)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in sys.argv:
        sys.exit(0 if before == after else f"{PAGE.name} is not up to date: run this without --check")
    PAGE.write_text(after, encoding="utf-8")
