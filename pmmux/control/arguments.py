"""The arguments of commands, described as data: checked alike wherever a command is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from pmmux.config.suggest import nearest
from pmmux.control.protocol import BAD_ARGUMENTS, CommandError

TEXT = "text"
INTEGER = "integer"
BOOLEAN = "boolean"
# Texts, in order.
LIST = "list"
# Text to text; on the console NAME=VALUE, any number of them.
MAPPING = "mapping"

TEXT_LIMIT_CHARACTERS = 16 * 1024
ITEMS_LIMIT = 1000


@frozen(slots=True)
class Argument:
    """
    One argument of a command.

    @ivar kind: L{TEXT}, L{INTEGER}, L{BOOLEAN}, L{LIST} or L{MAPPING}.
    @ivar description: one sentence, without its full stop.
    @ivar is_positional: whether the console takes it without its name.
    @ivar choices: the texts there may be; none for any.
    @ivar minimum: of an integer.
    @ivar maximum: of an integer.
    """

    name: str
    kind: str = TEXT
    description: str = ""
    is_required: bool = False
    is_positional: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    minimum: int = 0
    maximum: int = 1 << 53


def name_argument(kind: str) -> Argument:
    """@param kind: of what it is the name."""
    return Argument("name", TEXT, f"the {kind}'s name", is_required=True, is_positional=True)


def options_argument(examples: str) -> Argument:
    """Options of a section. @param examples: some of them."""
    return Argument(
        "options", MAPPING, f"its options, as in the configuration: {examples}, …", is_positional=True
    )


def check_arguments(described: Sequence[Argument], given: Mapping[str, Any]) -> dict[str, Any]:
    """
    @return: each of C{described} with its value, its default, or C{None}.
    @raises CommandError: one is missing, unknown or of the wrong kind.
    """
    names = [argument.name for argument in described]
    for name in given:
        if name not in names:
            close = nearest(name[:TEXT_LIMIT_CHARACTERS], names) if names else ""
            hint = f"; did you mean {close}?" if close else ""
            raise CommandError(BAD_ARGUMENTS, f"unknown argument {name[:100]!r}{hint}")
    return {argument.name: _check(argument, given.get(argument.name)) for argument in described}


def _check(argument: Argument, value: Any) -> Any:
    if value is None:
        if argument.is_required:
            raise CommandError(BAD_ARGUMENTS, f"{argument.name} is missing")
        return argument.default
    expected = _CHECKS[argument.kind](argument, value)
    if expected:
        raise CommandError(BAD_ARGUMENTS, f"{argument.name} is {expected}")
    return value


def _check_text(argument: Argument, value: Any) -> str:
    if not _is_text(value):
        return f"a text of at most {TEXT_LIMIT_CHARACTERS} characters"
    if argument.choices and value not in argument.choices:
        return f"one of {', '.join(argument.choices)}"
    return ""


def _check_integer(argument: Argument, value: Any) -> str:
    if type(value) is int and argument.minimum <= value <= argument.maximum:
        return ""
    return f"a whole number from {argument.minimum} to {argument.maximum}"


def _check_boolean(argument: Argument, value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _check_list(argument: Argument, value: Any) -> str:
    if isinstance(value, list) and len(value) <= ITEMS_LIMIT and all(map(_is_text, value)):
        return ""
    return f"a list of at most {ITEMS_LIMIT} texts"


def _check_mapping(argument: Argument, value: Any) -> str:
    if isinstance(value, dict) and len(value) <= ITEMS_LIMIT and all(map(_is_text, value.values())):
        return ""
    return f"an object of at most {ITEMS_LIMIT} texts"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LIMIT_CHARACTERS


_CHECKS = {
    TEXT: _check_text,
    INTEGER: _check_integer,
    BOOLEAN: _check_boolean,
    LIST: _check_list,
    MAPPING: _check_mapping,
}
