"""C{pmmuxctl check}: whether a configuration is right, and what in it is hardly meant."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pmmux.advice.advice import Advice
from pmmux.advice.advising import advise
from pmmux.config.faults import escape
from pmmux.control import exits
from pmmux.control.console.command import ConsoleCommand, add_json_argument, load_config
from pmmux.errors import ConfigurationError, Fault
from pmmux.model import Location

# Nothing is wrong, but there is advice.
ADVICE_ONLY = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which file."""
    parser.add_argument(
        "file", nargs="?", help="the configuration file; pmmux.ini or pmmux.toml in this folder where absent"
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="the same")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check, and print."""
    try:
        settings, registry = load_config(arguments.file or arguments.config)
    except ConfigurationError as error:
        _print_faults(error.faults, arguments.json)
        return exits.REFUSED
    found = advise(settings, registry)
    if arguments.json:
        for advice in found:
            print(json.dumps(_advice_as_json(advice)))
    else:
        for advice in found:
            print(f"{escape(str(advice.location))}: {escape(advice.message)}")
            print(f"    why: {escape(advice.why)}")
            print(f"    write instead: {escape(advice.instead)}")
        if not found:
            print(f"{settings.source or 'the configuration'} is right")
    return ADVICE_ONLY if found else exits.OK


def _print_faults(faults: Sequence[Fault], as_json: bool) -> None:
    for fault in faults:
        if as_json:
            place = _location_as_json(fault.location)
            words = {"message": fault.message, "expected": fault.expected, "nearest": fault.nearest}
            print(json.dumps({"kind": "fault", **place, **words}))
        else:
            print(fault)


def _advice_as_json(advice: Advice) -> dict[str, Any]:
    return {
        "kind": "advice",
        **_location_as_json(advice.location),
        "topic": advice.topic,
        "message": advice.message,
        "why": advice.why,
        "instead": advice.instead,
    }


def _location_as_json(location: Location) -> dict[str, Any]:
    return {
        "source": location.source,
        "line": location.line,
        "section": location.section,
        "option": location.option,
    }


command = ConsoleCommand("check", "Check a configuration, and give advice on it.", run, add_arguments)
