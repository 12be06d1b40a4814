"""
What each backend's condition said, and why: conditions that note what the router asks them.

They are compiled like any others and decide the same; the reasons are found by asking their parts
once more, which costs something, but only here.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from pmmux.conditions import (
    ALPN_PROPERTY,
    AddressCondition,
    AllOf,
    ALPNCondition,
    DetectCondition,
    PortCondition,
    PropertyCondition,
)
from pmmux.escape import printable
from pmmux.inspection import Inspection
from pmmux.model import Verdict

MATCH_WORD = "match"
NO_MATCH_WORD = "no match"
UNDECIDED_WORD = "undecided"
NO_CONDITIONS = "it has no conditions"
_WORDS = {True: MATCH_WORD, False: NO_MATCH_WORD, None: UNDECIDED_WORD}


@define(slots=True)
class Judgement:
    """
    What one backend's condition came to.

    @ivar verdict: C{"match"}, C{"no match"} or C{"undecided"}.
    @ivar reason: the condition that decided, as written, and what was found in its place.
    @ivar octets_seen: how much of the preview there was when this was decided.
    @ivar octets_needed: how many octets in all it asked for last; 0 for none.
    """

    backend: str
    verdict: str
    reason: str
    octets_seen: int
    octets_needed: int = 0


@define(slots=True, eq=False)
class Notes:
    """What was noted of all flows: of each preview, by the backend's name."""

    by_preview: dict[int, dict[str, Judgement]] = field(factory=dict)

    def of(self, preview: Any) -> dict[str, Judgement]:
        """What was noted of C{preview}."""
        return self.by_preview.setdefault(id(preview), {})

    def forget(self, preview: Any) -> None:
        """It is not asked for any more."""
        self.by_preview.pop(id(preview), None)


@frozen(slots=True, eq=False)
class NotedCondition(AllOf):
    """A backend's condition that notes each answer it gives."""

    name: str = ""
    notes: Notes = field(factory=Notes)

    def evaluate(self, inspection: Inspection) -> Verdict:
        """As any other."""
        verdict = AllOf.evaluate(self, inspection)
        _note(self, self.name, self.conditions, self.notes, inspection, verdict)
        return verdict


@frozen(slots=True, eq=False)
class NotedForeignCondition:
    """The same for a condition that is none of ours."""

    condition: Any
    name: str
    notes: Notes

    def evaluate(self, inspection: Inspection) -> Verdict:
        """As the condition itself."""
        verdict: Verdict = self.condition.evaluate(inspection)
        _note(self, self.name, (self.condition,), self.notes, inspection, verdict)
        return verdict

    def describe(self) -> str:
        """As the condition itself."""
        text: str = self.condition.describe()
        return text


def noted(condition: Any, name: str, notes: Notes) -> Any:
    """C{condition}, of the backend C{name}, noting into C{notes}."""
    if isinstance(condition, AllOf):
        return NotedCondition(condition.conditions, name, notes)
    return NotedForeignCondition(condition, name, notes)


def _note(
    condition: Any, name: str, parts: tuple[Any, ...], notes: Notes, inspection: Inspection, verdict: Verdict
) -> None:
    preview = inspection.preview
    known = notes.of(preview)
    before = known.get(name)
    if before is not None and before.verdict == _WORDS[verdict.matched] and verdict.matched is not None:
        return
    known[name] = Judgement(
        name,
        _WORDS[verdict.matched],
        verdict.fault or _reason(condition, parts, inspection, verdict.matched),
        preview.size,
        verdict.octets_needed if verdict.matched is None else 0,
    )


def _reason(condition: Any, parts: tuple[Any, ...], inspection: Inspection, matched: bool | None) -> str:
    if matched:
        text: str = condition.describe()
        return text or NO_CONDITIONS
    for part in parts:
        if part.evaluate(inspection).matched is matched:
            found = "" if matched is None else _found(part, inspection)
            return f"{part.describe()}{found}"
    return str(condition.describe())


def _found(part: Any, inspection: Inspection) -> str:
    """What there was in the place of what C{part} asks for; empty where that cannot be said."""
    client = inspection.client
    if isinstance(part, AddressCondition):
        address = client.remote if part.side == "remote" else client.local
        return f" (it is {address.host})"
    if isinstance(part, PortCondition):
        address = client.remote if part.side == "remote" else client.local
        return f" (it is {address.port})"
    if isinstance(part, (PropertyCondition, ALPNCondition)):
        name = ALPN_PROPERTY if isinstance(part, ALPNCondition) else part.name
        value = inspection.value(name)
        return f" (it is {printable(value)})" if isinstance(value, str) else " (there is none)"
    if isinstance(part, DetectCondition):
        found = inspection.detected()
        return "" if found is None else f" (it is {found})"
    return ""
