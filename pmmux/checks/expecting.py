"""What a check sends and what it expects, as written: text, octets, or a regular expression."""

from __future__ import annotations

import re

from attrs import frozen

from pmmux.config.options import Option
from pmmux.config.patterns import Pattern, compile_pattern
from pmmux.config.values import hexadecimal

HEX_PREFIX = "hex:"
PATTERN_PREFIX = "re:"
TEXT_PREFIX = "text:"
ANSWER_LIMIT_OCTETS = 16384
OCTETS_EXPECTED = r"text, in which \r \n \t \0 \\ and \xNN stand for octets, or hex: and octets"
EXPECTATION_EXPECTED = OCTETS_EXPECTED + ", or re: and a regular expression"

_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.|\Z)", re.DOTALL)
_SHORT_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


@frozen(slots=True)
class Expectation:
    """
    What an upstream's answer must hold, anywhere in it.

    @ivar written: as in the configuration.
    """

    written: str
    _octets: bytes
    _pattern: Pattern | None

    def is_met_by(self, answer: bytes) -> bool:
        """Whether C{answer}, all of it that has come so far, holds it."""
        if self._pattern is not None:
            return self._pattern.begins(answer)
        return self._octets in answer


def parse_octets(text: str) -> bytes:
    """Octets to be sent."""
    if text.startswith(HEX_PREFIX):
        octets = hexadecimal(text.removeprefix(HEX_PREFIX))
    else:
        octets = _ESCAPE.sub(_unescape, text.removeprefix(TEXT_PREFIX).encode("utf-8"))
    if not octets:
        raise ValueError("empty")
    return octets


def parse_expectation(text: str) -> Expectation:
    """What is expected. A regular expression may match anywhere; C{^} is the answer's first octet."""
    if text.startswith(PATTERN_PREFIX):
        pattern = text.removeprefix(PATTERN_PREFIX)
        compile_pattern(pattern, octets=True)
        return Expectation(text, b"", compile_pattern(f".*?(?:{pattern})", octets=True))
    return Expectation(text, parse_octets(text), None)


def _unescape(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    if escape.startswith(b"x") and len(escape) > 1:
        return bytes.fromhex(escape[1:].decode("ascii"))
    octet = _SHORT_ESCAPES.get(escape)
    if octet is None:
        raise ValueError(r"a backslash begins \r, \n, \t, \0, \\ or \xNN")
    return octet


CONVERSATION_OPTIONS = (
    Option("send", parse_octets, OCTETS_EXPECTED, description="What is sent; absent: nothing."),
    Option(
        "expect",
        parse_expectation,
        EXPECTATION_EXPECTED,
        description="What the answer must hold, in its first 16 KiB; absent: nothing is waited for.",
    ),
)
