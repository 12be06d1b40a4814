"""What the built-in console commands are made with, and what they share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from attrs import frozen
from zope.interface import implementer

from pmmux.config.settings import Settings
from pmmux.control.interfaces import IConsoleCommand
from pmmux.loading import load_settings
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


def find_config(path: str | None) -> str | None:
    """C{path}, or where that is C{None} the file that C{twistd pmmux} would take."""
    return path or next((name for name in DEFAULT_FILES if os.path.exists(name)), None)


def load_config(path: str | None) -> tuple[Settings, Registry]:
    """
    The configuration as the service would load it: the environment has its part in it.

    @raises pmmux.errors.ConfigurationError: with every fault.
    """
    return load_settings([], os.environ, find_config(path))
