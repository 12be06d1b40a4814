"""Slow start: a backend that recovered gets back its weight little by little."""

from __future__ import annotations

from typing import Any

from pmmux.members import Member

STEPS = 20
# Less would leave a backend of a small weight without anything to warm up by.
LOWEST_SHARE = 0.1


class SlowStart:
    """
    Lets C{Member.weight} grow from a tenth of the configured weight to all of it, in steps.

    Strategies read that weight on each choice, and need not know.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._warming: dict[Member, Any] = {}

    def begin(self, member: Member, seconds: float) -> None:
        """Warm C{member} up over C{seconds}, from now on."""
        self.end(member)
        if seconds > 0:
            self._step(member, self._clock.seconds(), seconds)

    def end(self, member: Member) -> None:
        """Give C{member} its full weight at once; harmless where it has it."""
        call = self._warming.pop(member, None)
        if call is not None:
            call.cancel()
            member.weight = member.backend.weight

    def stop(self) -> None:
        """Give every member its full weight."""
        for member in tuple(self._warming):
            self.end(member)

    def _step(self, member: Member, started_at: float, seconds: float) -> None:
        self._warming.pop(member, None)
        share = (self._clock.seconds() - started_at) / seconds
        full: int = member.backend.weight
        if share >= 1:
            member.weight = full
            return
        member.weight = full * max(share, LOWEST_SHARE)
        self._warming[member] = self._clock.callLater(
            seconds / STEPS, self._step, member, started_at, seconds
        )
