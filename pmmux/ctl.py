"""
C{pmmuxctl}: asks and steers a running pmmux, and explains and checks configurations without one.

An entry point. Every L{IConsoleCommand} in the registry is a sub-command.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, NoReturn

import pmmux.control.console
from pmmux import __version__
from pmmux.config.load import wanted_extensions
from pmmux.config.suggest import nearest
from pmmux.control import exits
from pmmux.control.console.command import complain, find_config
from pmmux.control.console.online import add_connection_arguments
from pmmux.control.interfaces import IConsoleCommand
from pmmux.errors import ConfigurationError, PluginError
from pmmux.registry import Registry

PROGRAM = "pmmuxctl"
EPILOG = (
    "exit status: 0 done; 1 faults found, or refused; 2 wrong usage, or a file that cannot be read; "
    "3 no running pmmux answers; 4 something is not installed; 5 advice only (check); 130 interrupted"
)

_JSON_FIRST = "json_first"
_INVALID_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class _Parser(argparse.ArgumentParser):
    """With the word that was meant, where a word is close to it."""

    def error(self, message: str) -> NoReturn:
        found = _INVALID_CHOICE.search(message)
        close = nearest(found[1], re.findall(r"[\w.-]+", found[2])) if found else ""
        super().error(f"{message}; did you mean {close!r}?" if close else message)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    @param argv: what follows the program's name; that of this process where it is C{None}.
    @return: the exit status: see L{pmmux.control.exits}.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Where the terminal's encoding lacks a character, its escape will do.
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    registry = Registry()
    add_console_commands(registry)
    if _first_word(given) not in registry.names(IConsoleCommand):
        _load_extensions(registry, given)
    parser = make_parser(registry)
    try:
        arguments = parser.parse_args(given)
        if getattr(arguments, _JSON_FIRST):
            arguments.json = True
        return int(arguments.run(arguments))
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return exits.REFUSED
    except BrokenPipeError:
        # Whoever read has had enough. What is still buffered must not be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def add_console_commands(registry: Registry) -> None:
    """Register the C{command}, or the C{commands}, of each module of L{pmmux.control.console}."""
    package = pmmux.control.console
    for module in pkgutil.iter_modules(package.__path__):
        found = importlib.import_module(f"{package.__name__}.{module.name}")
        for command in (*getattr(found, "commands", ()), getattr(found, "command", None)):
            if command is not None:
                registry.register(IConsoleCommand, command, command.name)


def make_parser(registry: Registry) -> argparse.ArgumentParser:
    """The command line with every L{IConsoleCommand} of C{registry}."""
    parser = _Parser(prog=PROGRAM, description=_summary(), epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    add_connection_arguments(parser, None)
    parser.add_argument("--json", dest=_JSON_FIRST, action="store_true", help="as after the command")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in registry.all(IConsoleCommand):
        sub: Any = commands.add_parser(name, help=command.summary, description=command.summary)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, parser=parser)
    return parser


def _summary() -> str:
    return "Asks and steers a running pmmux; explains and checks configurations without one."


def _first_word(given: Sequence[str]) -> str:
    return next((word for word in given if not word.startswith("-")), "")


def _load_extensions(registry: Registry, given: Sequence[str]) -> None:
    """Extensions may bring commands: those that the configuration at hand asks for."""
    path = find_config(_config_in(given))
    if path is None:
        return
    try:
        registry.load(wanted_extensions([], os.environ, path))
    except PluginError as error:
        complain(error)


def _config_in(given: Sequence[str]) -> str | None:
    for word, following in zip(given, [*given, ""][1:], strict=True):
        if word in ("-c", "--config"):
            return following or None
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None


if __name__ == "__main__":
    sys.exit(main())
