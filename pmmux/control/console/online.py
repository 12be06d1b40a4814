"""
The sub-commands that ask a running pmmux: one for each L{pmmux.control.interfaces.ICommand}.

C{backends.add} is C{pmmuxctl backends add}; C{backends} alone is C{backends.list}.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen
from zope.interface import implementer

import pmmux.control.commands
from pmmux.control import exits
from pmmux.control.arguments import BOOLEAN, INTEGER, LIST, MAPPING, Argument
from pmmux.control.client import ANSWER_SECONDS, TOKEN_VARIABLE, ControlClient, UnreachableError, find_place
from pmmux.control.console.command import ConsoleCommand, add_json_argument, complain
from pmmux.control.interfaces import IConsoleCommand
from pmmux.control.protocol import BAD_ARGUMENTS, CommandError
from pmmux.control.tables import show_plainly

DEFAULT_WORD = "list"
SOCKET_VARIABLE = "PMMUX_CONTROL_SOCKET"
# Told by pmmuxctl itself, of itself.
_NOT_HERE = frozenset({"version"})
_PREFIX = "argument_"


def add_connection_arguments(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """
    Let it be said which pmmux is meant.

    @param default: C{None} for the whole program's parser, so that it stands before or after the command.
    """
    parser.add_argument(
        "--socket",
        metavar="PLACE",
        default=default,
        help="the control socket's path, or HOST:PORT; absent: where pmmux puts it "
        f"(also {SOCKET_VARIABLE}; the token for HOST:PORT in {TOKEN_VARIABLE})",
    )


def connect(arguments: argparse.Namespace) -> ControlClient:
    """
    Connect to the pmmux that is meant.

    @raises UnreachableError: there is none.
    """
    given = getattr(arguments, "socket", None) or os.environ.get(SOCKET_VARIABLE)
    return ControlClient(find_place(given, os.environ), os.environ.get(TOKEN_VARIABLE))


@implementer(IConsoleCommand)
@frozen
class OnlineCommand:
    """
    One word of the command line, with the L{ICommand}s behind it.

    @ivar own: the command that the word alone stands for; C{None} where another word must follow.
    @ivar parts: by the word that follows.
    """

    name: str
    own: Any
    parts: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """See L{IConsoleCommand}."""
        if not self.parts:
            return str(self.own.summary)
        words = ", ".join(self.parts)
        return f"{self.own.summary if self.own else 'What follows says what.'} Also: {words}."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See L{IConsoleCommand}."""
        if self.own is not None:
            _describe(parser, self.own)
        if not self.parts:
            return
        parts = parser.add_subparsers(metavar="WHAT", required=self.own is None)
        for word, command in self.parts.items():
            part = parts.add_parser(word, help=command.summary, description=command.summary)
            _describe(part, command)

    def run(self, arguments: argparse.Namespace) -> int:
        """See L{IConsoleCommand}."""
        try:
            given = _given(arguments.command, arguments)
        except ValueError as error:
            complain(error)
            return exits.USAGE
        return ask(arguments.command, given, arguments)


def ask(command: Any, given: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """
    Have C{command} done by the running pmmux, and print what it says.

    @return: the exit status.
    """
    try:
        with connect(arguments) as client:
            if command.is_stream:
                for value in client.stream(command.name, **given):
                    _print(command, value, arguments.json)
            else:
                seconds = ANSWER_SECONDS + (given.get("seconds") or 0)
                _print(command, client.call(command.name, seconds, **given), arguments.json)
    except CommandError as error:
        complain(error)
        return exits.USAGE if error.code == BAD_ARGUMENTS and not error.details else exits.REFUSED
    except UnreachableError as error:
        complain(error)
        return exits.UNREACHABLE
    return exits.OK


def _print(command: Any, value: Any, as_json: bool) -> None:
    if not as_json:
        lines: Iterable[str] = command.show(value)
    elif isinstance(value, list):
        lines = map(json.dumps, value)
    else:
        lines = (json.dumps(value),)
    for line in lines:
        print(line)
    sys.stdout.flush()


def _describe(parser: argparse.ArgumentParser, command: Any) -> None:
    add_connection_arguments(parser)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="write JSON")
    for argument in command.arguments:
        _add_argument(parser, argument)
    parser.set_defaults(command=command, json=False)


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    more: dict[str, Any] = {"help": argument.description, "default": None}
    if argument.choices:
        more["choices"] = argument.choices
    if argument.kind == INTEGER:
        more["type"] = int
    if argument.is_positional:
        more["metavar"] = "OPTION=VALUE" if argument.kind == MAPPING else argument.name.upper()
        if argument.kind in (LIST, MAPPING):
            more["nargs"] = "*"
        elif not argument.is_required:
            more["nargs"] = "?"
        parser.add_argument(_PREFIX + argument.name, **more)
        return
    if argument.kind == BOOLEAN:
        more["action"] = "store_true"
    elif not argument.choices:
        more["metavar"] = argument.kind.upper()
    parser.add_argument(f"--{argument.name}", dest=_PREFIX + argument.name, **more)


def _given(command: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    given = {}
    for argument in command.arguments:
        value = getattr(arguments, _PREFIX + argument.name, None)
        if value is None or value == []:
            continue
        given[argument.name] = _mapping(value) if argument.kind == MAPPING else value
    return given


def _mapping(words: Iterable[str]) -> dict[str, str]:
    """@raises ValueError: a word has no equals sign, or a name comes twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not of the form NAME=VALUE")
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def group(found: Iterable[Any]) -> Iterator[OnlineCommand]:
    """One L{OnlineCommand} for each first word of the names of C{found}."""
    groups: dict[str, dict[str, Any]] = {}
    for command in found:
        first, _, second = command.name.partition(".")
        groups.setdefault(first, {})[second] = command
    for name, parts in sorted(groups.items()):
        if name not in _NOT_HERE:
            own = parts.pop("", None) or parts.get(DEFAULT_WORD)
            # "listeners list" is typed as easily as "backends list".
            alone = {DEFAULT_WORD: own} if own is not None and parts else {}
            yield OnlineCommand(name, own, {**alone, **parts})


def _built_in() -> Iterator[Any]:
    package = pmmux.control.commands
    for module in pkgutil.iter_modules(package.__path__):
        yield from importlib.import_module(f"{package.__name__}.{module.name}").commands


@frozen
class _Named:
    """A command that only the running pmmux knows."""

    name: str
    is_stream: bool
    show: Any = show_plainly


def _add_call_arguments(parser: argparse.ArgumentParser) -> None:
    add_connection_arguments(parser)
    add_json_argument(parser)
    parser.add_argument("name", metavar="COMMAND", help="as in pmmuxctl commands: backends.add")
    parser.add_argument(
        "words",
        metavar="ARGUMENT=VALUE",
        nargs="*",
        help="its arguments; what reads as JSON is taken as such",
    )


def _call(arguments: argparse.Namespace) -> int:
    try:
        given = {name: _value(value) for name, value in _mapping(arguments.words).items()}
        with connect(arguments) as client:
            known = {each["name"]: each for each in client.call("commands")}
    except ValueError as error:
        complain(error)
        return exits.USAGE
    except UnreachableError as error:
        complain(error)
        return exits.UNREACHABLE
    command = _Named(arguments.name, known.get(arguments.name, {}).get("is_stream", False))
    return ask(command, given, arguments)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


commands = (
    *group(_built_in()),
    ConsoleCommand(
        "call", "Ask a running pmmux for any command, also an extension's.", _call, _add_call_arguments
    ),
)
