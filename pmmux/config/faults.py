"""Collecting everything that is wrong, and showing text from outside without doing harm."""

from __future__ import annotations

from attrs import define, evolve, field

from pmmux.errors import ConfigurationError, Fault
from pmmux.model import Location

SHOWN_LIMIT_CHARACTERS = 80
REASON_LIMIT_CHARACTERS = 200
NOT_SHOWN = "(not shown, as it may be secret)"

_SECRET_WORDS = ("password", "passphrase", "secret", "token", "key", "authorization")


def show(text: str) -> str:
    """C{text} as it may be shown: quoted, escaped and cut."""
    if len(text) <= SHOWN_LIMIT_CHARACTERS:
        return ascii(text) if not text.isprintable() else repr(text)
    return show(text[: SHOWN_LIMIT_CHARACTERS - 1]) + "…"


def clean(text: str) -> str:
    """C{text} on one line, without what a terminal would act on, and cut."""
    return escape(text if len(text) <= REASON_LIMIT_CHARACTERS else text[: REASON_LIMIT_CHARACTERS - 1] + "…")


def escape(text: str) -> str:
    """C{text} on one line, without what a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_secret(option: str) -> bool:
    """Whether the value of C{option} is kept out of every message."""
    lowered = option.lower().replace("keyed", "")
    return any(word in lowered for word in _SECRET_WORDS)


@define
class FaultList:
    """
    The faults found so far, by source in order of precedence.

    @ivar sources: the names of the sources in the order in which they are reported.
    """

    sources: list[str] = field(factory=list)
    _faults: list[Fault] = field(factory=list)

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, location: Location, message: str, expected: str = "", nearest: str = "") -> None:
        """Note one fault; none of it may be secret."""
        place = evolve(
            location,
            source=escape(location.source),
            section=clean(location.section),
            option=clean(location.option),
        )
        self._faults.append(Fault(place, escape(message), escape(expected), escape(nearest)))

    def places(self, after: int) -> set[Location]:
        """Where those stand that came after the first C{after}."""
        return {fault.location for fault in self._faults[after:]}

    def error(self) -> ConfigurationError:
        """All of them, each once, in the order in which they stand in their sources."""
        last = len(self.sources)
        ranks = {escape(source): rank for rank, source in enumerate(self.sources)}
        unique = dict.fromkeys(self._faults)

        def place(fault: Fault) -> tuple[int, float]:
            line = fault.location.line
            return ranks.get(fault.location.source, last), float("inf") if line is None else line

        return ConfigurationError(tuple(sorted(unique, key=place)))
