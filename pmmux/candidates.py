"""The candidates of one routing: matching members, one after the other, no further than asked for."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from pmmux.errors import OUTCOME_MALFORMED, RouteError
from pmmux.inspection import Inspection
from pmmux.members import Member
from pmmux.model import RouteTrace, Step, Verdict

# A trace names the first so many; the rest differ only in their names.
TRACED_STEPS = 64


class Candidates:
    """
    An asynchronous iterator over the members that match and are offered, in definition order.

    Asking for the next one waits only while that member's own verdict needs octets that may come.
    """

    __slots__ = ("_exclude", "_inspection", "_members", "_trace")

    def __init__(
        self,
        members: Iterator[Member],
        inspection: Inspection,
        trace: RouteTrace,
        exclude: Set[str],
    ) -> None:
        self._members = members
        self._inspection = inspection
        self._trace = trace
        self._exclude = exclude

    def __aiter__(self) -> Candidates:
        return self

    async def __anext__(self) -> Member:
        inspection = self._inspection
        for member in self._members:
            if not member.is_offered:
                self._record(member, "unavailable", member.status.value)
                continue
            if member.name in self._exclude:
                continue
            verdict: Verdict = member.condition.evaluate(inspection)
            while verdict.matched is None:
                needed = verdict.octets_needed
                self._trace.octets_needed = needed
                preview: Any = inspection.preview
                await preview.changed(needed)
                verdict = member.condition.evaluate(inspection)
            self._trace.octets_needed = 0
            if verdict.matched:
                self._record(member, "match", "")
                return member
            if verdict.fault is not None:
                self._record(member, "malformed", verdict.fault)
                raise RouteError(OUTCOME_MALFORMED, verdict.fault)
            self._record(member, "no match", "")
        raise StopAsyncIteration

    def _record(self, member: Member, verdict: str, reason: str) -> None:
        steps = self._trace.steps
        if len(steps) < TRACED_STEPS:
            steps.append(Step(member.name, verdict, reason, self._inspection.preview.size))
