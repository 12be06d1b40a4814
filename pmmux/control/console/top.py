"""C{pmmuxctl top}: a live screen of a running pmmux. Needs the extra C{top}."""

from __future__ import annotations

import argparse
import sys

from pmmux.control import exits
from pmmux.control.client import UnreachableError
from pmmux.control.console.command import ConsoleCommand, complain
from pmmux.control.console.online import add_connection_arguments, connect

EXTRA = "top"


def run(arguments: argparse.Namespace) -> int:
    """Show, until somebody quits."""
    try:
        from pmmux.control.top.screen import Screen
    except ImportError as error:
        missing = f"{error.name} is not installed: pip install 'pmmux[{EXTRA}]'"
        complain(missing, "top")
        return exits.MISSING
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain("needs a terminal", "top")
        return exits.USAGE
    try:
        # Tried before the screen is taken, so that what is wrong is said where it can be read.
        connect(arguments).close()
    except UnreachableError as error:
        complain(error)
        return exits.UNREACHABLE
    Screen(lambda: connect(arguments)).run()
    return exits.OK


command = ConsoleCommand("top", "Watch a running pmmux on a live screen.", run, add_connection_arguments)
