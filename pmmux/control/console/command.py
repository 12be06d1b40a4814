"""What the built-in console commands are made with, and what they share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from attrs import frozen
from zope.interface import implementer

from pmmux.config.settings import Settings
from pmmux.control.interfaces import IConsoleCommand
from pmmux.errors import ConfigurationError, Fault
from pmmux.escape import one_line
from pmmux.loading import load_settings
from pmmux.model import Location
from pmmux.registry import Registry

DEFAULT_FILES = ("pmmux.ini", "pmmux.toml")


@implementer(IConsoleCommand)
@frozen
class ConsoleCommand:
    """A command whose parts are functions; see L{IConsoleCommand}."""

    name: str
    summary: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Let a command be given a configuration file."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the configuration file; pmmux.ini or pmmux.toml in this folder where it is not given",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Let a command write for programs."""
    parser.add_argument("--json", action="store_true", help="write JSON, one object a line")


def complain(what: object, command: str = "") -> None:
    """Tell on standard error C{what} is wrong, every line of it made safe."""
    lines = "\n".join(map(one_line, str(what).split("\n")))
    print(f"pmmuxctl{command and ' '}{command}: {lines}", file=sys.stderr)


def find_config(path: str | None) -> str | None:
    """C{path}, or where that is C{None} the file that C{twistd pmmux} would take."""
    return path or next((name for name in DEFAULT_FILES if os.path.exists(name)), None)


def load_config(path: str | None) -> tuple[Settings, Registry]:
    """
    The configuration as the service would load it: the environment has its part in it.

    @raises pmmux.errors.ConfigurationError: with every fault.
    """
    found = find_config(path)
    try:
        return load_settings([], os.environ, found)
    except ConfigurationError as error:
        if found is not None:
            raise
        names = " or ".join(DEFAULT_FILES)
        fault = Fault(
            Location("command line"), f"no --config is given, and there is no {names} in this folder"
        )
        raise ConfigurationError((fault, *error.faults)) from None
