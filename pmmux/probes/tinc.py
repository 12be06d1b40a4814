"""
tinc: the ID message of a node's meta connection, an invitation or a control connection.

C{tinc.name} is the node's name; the other two have none.

@see: tinc manual, "The meta-protocol"
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.grammar import Found, Grammar, Group, Maybe, OneOf, Run

_VERSION = Group(b" 17", Maybe(b".", Run(b"0-9", 1, 3)))
_ID = Grammar(
    b"0 ",
    OneOf(
        Group(Run(b"A-Za-z0-9_", 1, 255, name="name"), _VERSION),
        Group(b"?", Run(b"A-Za-z0-9+/=_-", 1, 255), _VERSION),
        Group(b"^", Run(b"A-Za-z0-9+/=_-", 1, 255), OneOf(_VERSION, b" 0")),
    ),
    b"\n",
)


def inspect(octets: bytes) -> Verdict:
    """Match a whole ID message of protocol 17, which all of tinc 1.0 and 1.1 speak."""
    message = _ID.read(octets)
    if message is None:
        return NO_MATCH
    if not isinstance(message, Found):
        return need(message.octets_needed)
    return match({f"tinc.{name}": read_text(value) for name, value in message.fields.items()})


probe = Probe(name="tinc", transport="tcp", provides=("tinc.",), inspect=inspect)
