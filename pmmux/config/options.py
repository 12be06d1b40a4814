"""
Options described as data: what a section may hold, how each value is read, and what it defaults to.

Backend protocols, health checks, negotiators and extensions describe their options with the same
L{Option}, so that one place checks every value and reports every fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

Parser = Callable[[str], Any]


@frozen(slots=True)
class Option:
    """
    One option of a section.

    @ivar name: as written, without key and negation.
    @ivar parse: from text to the typed value; raises L{ValueError} with what is wrong.
    @ivar expected: what is accepted, in words: shown when C{parse} refuses, and in the docs.
    @ivar default: the typed value where the option is absent; C{None} for no value.
    @ivar required: whether its absence is a fault.
    @ivar keyed: whether it takes a key in square brackets, as C{property[tls.sni]} does.
    @ivar negatable: whether C{!} after the name is allowed.
    @ivar multiple: whether C{;} separates several values; the typed value is then a tuple.
    @ivar description: one sentence for the docs.
    @ivar listed: whether it is a list: separated by commas or line ends, given several times on the
        command line, numbered in the environment, a list in TOML; the typed value is then a tuple.
    """

    name: str
    parse: Parser
    expected: str
    default: Any = None
    required: bool = False
    keyed: bool = False
    negatable: bool = False
    multiple: bool = False
    description: str = ""
    listed: bool = False


@frozen(slots=True)
class SectionSchema:
    """
    A kind of section: its options, and whether sections of that kind have names.

    @ivar kind: C{pmmux}, C{listener}, C{backend}, C{health-check}, or an extension's own.
    @ivar named: whether it is written C{[kind name]}, any number of times, or C{[kind]}, once.
    @ivar options: in the order the docs show them.
    """

    kind: str
    named: bool
    options: Sequence[Option]
