"""C{pmmuxctl completion}: what bash, zsh and fish complete, made from the command line itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from pmmux.control import exits
from pmmux.control.console.command import ConsoleCommand

PROGRAM = "pmmuxctl"
SHELLS = ("bash", "fish", "zsh")
# What these options and arguments take is a file.
_FILE_WORDS = frozenset({"config", "file", "pcap", "socket"})


@frozen
class Word:
    """
    Something that can be typed.

    @ivar help: one sentence; may be empty.
    @ivar takes_value: whether an option is followed by a value.
    @ivar takes_file: whether that is a file.
    @ivar choices: what the value may be; none for anything.
    """

    text: str
    help: str = ""
    takes_value: bool = False
    takes_file: bool = False
    choices: tuple[str, ...] = ()


@frozen
class Place:
    """
    A place on the command line.

    @ivar path: the commands before it.
    @ivar words: the commands, choices and options that may follow.
    @ivar takes_file: whether a file may.
    """

    path: tuple[str, ...]
    words: tuple[Word, ...]
    takes_file: bool


def places_of(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Every place on the command line of C{parser}, the outermost first."""
    words: list[Word] = []
    takes_file = False
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        text = "" if action.help is None or action.help is argparse.SUPPRESS else action.help
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                words.append(Word(name, helps.get(name, "")))
                below.append((name, sub))
        elif action.option_strings:
            takes_value = action.nargs != 0
            is_file = takes_value and action.dest in _FILE_WORDS
            words += [
                Word(each, text, takes_value, is_file, _choices(action)) for each in action.option_strings
            ]
        elif action.choices:
            words += [Word(choice) for choice in _choices(action)]
        else:
            takes_file = takes_file or action.dest in _FILE_WORDS
    yield Place(path, tuple(words), takes_file)
    for name, sub in below:
        yield from places_of(sub, (*path, name))


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))


def bash(places: Sequence[Place]) -> Iterator[str]:
    """A completion function; also what zsh runs, by its C{bashcompinit}."""
    yield f"_{PROGRAM}() {{"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local path="" each options others files'
    yield '    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield '        case "$path $each" in'
    for place in places:
        if place.path:
            yield f'            " {" ".join(place.path)}") path=" {" ".join(place.path)}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$path:$before" in'
    for place in places:
        path = f" {' '.join(place.path)}" if place.path else ""
        for word in place.words:
            if word.takes_file:
                action = 'COMPREPLY=($(compgen -f -- "$word"))'
            elif word.choices:
                action = f"COMPREPLY=($(compgen -W '{' '.join(word.choices)}' -- \"$word\"))"
            elif word.takes_value:
                action = "COMPREPLY=()"
            else:
                continue
            yield f'        "{path}:{word.text}") {action}; return ;;'
    yield "    esac"
    yield '    case "$path" in'
    for place in places:
        path = f" {' '.join(place.path)}" if place.path else ""
        files = " files=1" if place.takes_file else ""
        options = " ".join(word.text for word in place.words if word.text.startswith("-"))
        # Options only where they are asked for, or where there is nothing else.
        words = " ".join(word.text for word in place.words if not word.text.startswith("-"))
        others = words if words or files else options
        yield f"        \"{path}\") options='{options}' others='{others}'{files} ;;"
    yield "    esac"
    yield '    if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$word"))'
    yield '    else COMPREPLY=($(compgen -W "$others" -- "$word") ${files:+$(compgen -f -- "$word")}); fi'
    yield "}"
    yield f"complete -o filenames -F _{PROGRAM} {PROGRAM}"


def zsh(places: Sequence[Place]) -> Iterator[str]:
    """The same by C{bashcompinit}, which comes with zsh."""
    yield f"#compdef {PROGRAM}"
    yield "autoload -U +X bashcompinit && bashcompinit"
    yield from bash(places)


def fish(places: Sequence[Place]) -> Iterator[str]:
    """One line for each word."""
    for place in places:
        if place.path:
            before = " && ".join(f"__fish_seen_subcommand_from {name}" for name in place.path)
        else:
            before = "__fish_use_subcommand"
        inner = [other.path[-1] for other in places if other.path[:-1] == place.path and other.path]
        if place.path and inner:
            before += f" && not __fish_seen_subcommand_from {' '.join(inner)}"
        if not place.takes_file:
            yield f"complete -c {PROGRAM} -f -n {_quoted(before)}"
        for word in place.words:
            parts = [f"complete -c {PROGRAM} -n {_quoted(before)}"]
            if word.text.startswith("--"):
                parts.append(f"-l {word.text[2:]}")
            elif word.text.startswith("-"):
                parts.append(f"-s {word.text[1:]}")
            else:
                parts.append(f"-a {_quoted(word.text)}")
            if word.takes_value:
                parts.append("-r -F" if word.takes_file else "-x")
            if word.choices:
                parts.append(f"-a {_quoted(' '.join(word.choices))}")
            if word.help:
                parts.append(f"-d {_quoted(word.help)}")
            yield " ".join(parts)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


WRITERS = {"bash": bash, "fish": fish, "zsh": zsh}


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    parser: Any = arguments.parser
    for line in WRITERS[arguments.shell](list(places_of(parser))):
        print(line)
    return exits.OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For which shell."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


command = ConsoleCommand("completion", "Print what a shell needs to complete pmmuxctl.", run, add_arguments)
