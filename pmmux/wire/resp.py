"""
RESP, the protocol of Redis: a command as an array, or inline as a line of text.

@see: Redis documentation, "Redis serialization protocol specification"
"""

from __future__ import annotations

import re

from pmmux.wire.grammar import LINE_END, Found, Grammar, Group, Maybe, OneOf, Run
from pmmux.wire.reading import Incomplete

_ARRAY = b"*"
_ARRAY_HEADER = Grammar(
    _ARRAY,
    Run(b"1-9"),
    Run(b"0-9", 0, 6),
    b"\r\n$",
    Group(Run(b"1-9"), Run(b"0-9", 0, 1), name="length"),
    b"\r\n",
)
_TERMINATOR = b"\r\n"
_LARGEST_NAME_OCTETS = 64
# Modules name theirs JSON.SET, FT.SEARCH.
_NAME = re.compile(rb"(?:[A-Za-z][A-Za-z0-9._-]*)?")

# No argument begins with a slash, so that no request line of HTTP is taken for a command.
_WORD = Group(Run(rb"!-.0-~"), Run(rb"!-~", 0, 511))


def _in_either_case(name: bytes) -> OneOf:
    return OneOf(name, name.lower())


# Commands that a person or a health check types, as far as no other protocol begins with them.
# Those that memcached has too (get) must be in capitals, as it takes only small letters.
_INLINE = Grammar(
    Group(
        OneOf(
            Group(_in_either_case(b"PING"), Maybe(b" ", _WORD)),
            Group(_in_either_case(b"AUTH"), b" ", _WORD, Maybe(b" ", _WORD)),
            Group(_in_either_case(b"HELLO"), b" ", Run(b"23"), Maybe(b" ", Run(rb" -~", 1, 255))),
            Group(_in_either_case(b"SELECT"), b" ", Run(b"0-9", 1, 5)),
            Group(_in_either_case(b"INFO"), Maybe(b" ", Run(b"A-Za-z_", 1, 32))),
            Group(b"GET ", _WORD),
            Group(b"PSYNC ", _WORD, b" ", Run(b"0-9-", 1, 20)),
            Group(b"REPLCONF ", Run(rb" -~", 1, 255)),
            OneOf(b"DBSIZE", b"ROLE", b"MONITOR", b"SYNC"),
        ),
        name="line",
    ),
    LINE_END,
)


def read_command(octets: bytes) -> bytes | Incomplete | None:
    """
    Read the name of the first command.

    @return: the name in capitals.
    """
    if octets[:1] == _ARRAY:
        return _read_array(octets)
    line = _INLINE.read(octets)
    return line.fields["line"].split(b" ", 1)[0].upper() if isinstance(line, Found) else line


def _read_array(octets: bytes) -> bytes | Incomplete | None:
    header = _ARRAY_HEADER.read(octets)
    if not isinstance(header, Found):
        return header
    length = int(header.fields["length"])
    end = header.end + length
    name = octets[header.end : end]
    after = octets[end : end + len(_TERMINATOR)]
    if length > _LARGEST_NAME_OCTETS or not _NAME.fullmatch(name) or not _TERMINATOR.startswith(after):
        return None
    return name.upper() if after == _TERMINATOR else Incomplete(end + len(_TERMINATOR))
