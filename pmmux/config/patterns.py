"""
Regular expressions from configuration: matched in time linear in the text, whatever they are.

RE2 has no backtracking, so no pattern and no text can hang the process. What it does not support
(look-around, back-references) is refused at load.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen

# RE2 keeps its automaton within this much per pattern, and refuses patterns whose program is larger.
PATTERN_MEMORY_OCTETS = 1 << 20
PATTERN_LIMIT_CHARACTERS = 4096

_SPECIAL = frozenset(".^$*+?{}[]|()")
# Whether these match depends on what follows.
_LOOKING_AHEAD = frozenset({"$", r"\b", r"\B", r"\z"})
_PART = re.compile(r"\\(.)|(.)", re.DOTALL)
_LITERAL_ESCAPES = frozenset(r"\.^$*+?{}[]|()-/_:@ ~#&%=,;<>!\"'")


@frozen(slots=True, eq=False)
class Pattern:
    """
    A compiled regular expression.

    @ivar text: as written.
    @ivar literal: the one text that it matches, where it is a plain literal; lower case where case
        is ignored.
    """

    text: str
    literal: str | None
    _compiled: Any
    _looks_ahead: bool = False
    _example: str | None = None

    def matches(self, subject: str) -> bool:
        """Whether it matches the whole of C{subject}."""
        return subject == self._example or self._compiled.fullmatch(subject) is not None

    def begins(self, octets: bytes) -> bool:
        """Whether it matches from the first octet on, to wherever."""
        return self._compiled.match(octets) is not None

    def begins_whatever_follows(self, octets: bytes) -> bool:
        """Whether it matches from the first octet on, and goes on doing so whatever follows C{octets}."""
        if not self._looks_ahead:
            return self._compiled.match(octets) is not None
        # The last octet is held back from the match: it tells what C{$} and C{\b} say before it.
        return bool(octets) and self._compiled.match(octets, 0, len(octets) - 1) is not None

    def range(self, limit_octets: int) -> tuple[bytes, bytes] | None:
        """
        Bounds between which every text that it matches begins; C{None} where there are none.
        """
        try:
            low, high = self._compiled.possiblematchrange(limit_octets)
        except Exception:  # RE2 says so by its own error class, when a pattern has no bounds
            return None
        return low, high


def compile_pattern(text: str, ignore_case: bool = False, octets: bool = False) -> Pattern:
    """
    Compile C{text}.

    @param octets: whether it is matched against octets rather than text.
    @raises ValueError: it is not valid, or would take too much memory.
    """
    if len(text) > PATTERN_LIMIT_CHARACTERS:
        raise ValueError(f"the pattern has more than {PATTERN_LIMIT_CHARACTERS} characters")
    try:
        import re2
    except ImportError:
        raise ValueError("regular expressions need the package google-re2, which is not installed") from None
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.dot_nl = True
    options.case_sensitive = not ignore_case
    options.max_mem = PATTERN_MEMORY_OCTETS
    subject: str | bytes = text
    if octets:
        options.encoding = re2.Options.Encoding.LATIN1
        subject = text.encode("latin-1", "backslashreplace")
    try:
        compiled = re2.compile(subject, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise ValueError(f"not a valid regular expression: {reason}") from None
    literal = literal_of(text)
    if literal is not None and ignore_case:
        literal = literal.lower()
    looks_ahead = any(found[0] in _LOOKING_AHEAD for found in _PART.finditer(text))
    return Pattern(text, literal, compiled, looks_ahead, _example_of(text, ignore_case))


def _example_of(text: str, ignore_case: bool) -> str | None:
    # Names are mostly written with their dots as they are: such a pattern matches itself, and that is
    # what it is mostly asked. Comparing costs a hundredth of matching.
    if "\\" in text or not _SPECIAL.intersection(text) <= {"."}:
        return None
    return text.lower() if ignore_case else text


def literal_of(text: str) -> str | None:
    """The one text that the pattern C{text} matches; C{None} where it may match several."""
    if not _SPECIAL.intersection(text) and "\\" not in text:
        return text
    found: list[str] = []
    for part in _PART.finditer(text):
        escaped, plain = part.groups()
        if escaped is not None and escaped in _LITERAL_ESCAPES:
            found.append(escaped)
        elif plain is not None and plain not in _SPECIAL:
            found.append(plain)
        else:
            return None
    return "".join(found)
