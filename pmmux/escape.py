"""
Text from clients made safe to stand in a line of a log, on a terminal or in a report.

What a client sends is not text but an attempt at it. Outside printable ASCII nothing of it is
written as it came: controls end lines and drive terminals, bidirectional controls reorder what a
reader sees, zero-width characters hide, and look-alikes deceive. Names that may honestly appear on
the wire (host names, SNI, ALPN, SSH software) are ASCII there.
"""

from __future__ import annotations

import re

VALUE_LIMIT_CHARACTERS = 256
CUT_MARK = "..."
ABSENT = "-"

_HIGHEST_IN_TWO_DIGITS = 0xFF
_HIGHEST_IN_FOUR_DIGITS = 0xFFFF

# Printable ASCII, space included, without the quote and the backslash.
_is_printable = re.compile(r"[ !#-\[\]-~]*").fullmatch
_substitute_unprintable = re.compile(r"[^ !#-\[\]-~]").sub
# The same without space and "=", which separate the fields of a line.
_is_bare = re.compile(r"[!#-<>-\[\]-~]+").fullmatch
_substitute_beyond_ascii = re.compile(r"[^ -~]").sub
# Nothing shows for these, and yet str.isprintable() holds: fillers and variation selectors.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= _HIGHEST_IN_TWO_DIGITS:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _HIGHEST_IN_FOUR_DIGITS else f"\\U{code:08x}"


def _escape_what_hides(found: re.Match[str]) -> str:
    # str.isprintable() refuses controls, format characters (bidirectional, zero-width), surrogates
    # and every separator but the space.
    character = found[0]
    return character if character.isprintable() and character not in _INVISIBLE else _escape(found)


def printable(text: str, limit: int = VALUE_LIMIT_CHARACTERS) -> str:
    r"""
    Write C{text} in printable ASCII.

    All else, and the backslash and the double quote, become C{\\xNN}, C{\\uNNNN} or C{\\UNNNNNNNN}
    with the code point in hexadecimal, so that the result can stand between double quotes and be
    read back without doubt.

    @param limit: how many characters of C{text} are looked at; C{...} stands for the others.
    """
    if len(text) > limit:
        text = text[:limit]
        mark = CUT_MARK
    else:
        mark = ""
    if not _is_printable(text):
        text = _substitute_unprintable(_escape, text)
    return text + mark


def field_value(text: str, limit: int = VALUE_LIMIT_CHARACTERS) -> str:
    """
    Write C{text} as the value in C{name=value}.

    As L{printable}, with C{=} escaped too, so that no value can pass for a further field; in
    double quotes where it holds spaces; C{-} where it is empty.
    """
    if not text:
        return ABSENT
    if len(text) <= limit and _is_bare(text):
        return text
    safe = printable(text, limit).replace("=", "\\x3d")
    return f'"{safe}"' if " " in safe else safe


def one_line(text: str) -> str:
    """
    Keep C{text}, in whatever language, to one line that shows all that is in it.

    The last guard of a log line, over whole messages: line ends, controls, bidirectional and
    zero-width characters are escaped; letters, quotes and backslashes stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _substitute_beyond_ascii(_escape_what_hides, text)
