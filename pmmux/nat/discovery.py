"""
Asking a gateway by all protocols at once which of them it speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, DeferredList

from pmmux.nat.interfaces import INATClient
from pmmux.nat.mapping import Finding, GatewayFacts, NATRefused, NATUnreachable, Reason

GRACE_SECONDS = 1.0
"""How long a less preferred protocol that has answered waits for a preferred one."""


@define
class Candidate:
    """One driver's dealings with the gateway."""

    client: INATClient
    facts: GatewayFacts | None = None
    finding: Finding | None = None
    ended: bool = False


class Discovery:
    """
    Probes run side by side; those that are late go on after one was chosen, and serve when it refuses.

    @ivar candidates: the preferred one first.

    @param answered_late: called when one has answered after the choice.
    @param failed_late: called when one has not, and that is clear only after the choice.
    """

    def __init__(
        self,
        reactor: Any,
        clients: Sequence[INATClient],
        answered_late: Callable[[], None],
        failed_late: Callable[[], None],
    ) -> None:
        self.candidates = [Candidate(client) for client in clients]
        self._answered_late = answered_late
        self._failed_late = failed_late
        self._chosen = False
        self._reactor = reactor
        self._waiter: Deferred[bool] | None = None
        self._grace_over = False
        self._probes: list[Deferred[None]] = []
        self._closed = False

    async def run(self) -> bool:
        """
        Probe until it is clear which answered protocol is preferred.

        A preferred one that has not answered yet is waited for L{GRACE_SECONDS}.

        @return: whether any answered.
        """
        grace = self._reactor.callLater(GRACE_SECONDS, self._end_grace)
        waiter: Deferred[bool] = Deferred()
        self._waiter = waiter
        for candidate in self.candidates:
            self._probes.append(Deferred.fromCoroutine(self._probe(candidate)))
        self._settle()
        try:
            return await waiter
        finally:
            self._waiter = None
            if grace.active():
                grace.cancel()

    def answered(self) -> list[INATClient]:
        """The clients that answered so far, the preferred one first."""
        return [candidate.client for candidate in self.candidates if candidate.facts is not None]

    def close(self) -> Deferred[Any]:
        """End all dealings. @return: fires when no socket and no timer is left."""
        self._closed = True
        return DeferredList([c.client.close() for c in self.candidates], consumeErrors=True)

    async def _probe(self, candidate: Candidate) -> None:
        try:
            candidate.facts = await candidate.client.probe()
        except (NATUnreachable, CancelledError) as error:
            candidate.finding = Finding(Reason.NO_ANSWER, str(error))
        except NATRefused as refusal:
            candidate.finding = refusal.finding
        candidate.ended = True
        if self._chosen and not self._closed:
            late = self._failed_late if candidate.facts is None else self._answered_late
            late()
        self._settle()

    def _end_grace(self) -> None:
        self._grace_over = True
        self._settle()

    def _settle(self) -> None:
        if self._waiter is None:
            return
        for candidate in self.candidates:
            if candidate.facts is not None:
                self._decide(True)
                return
            if not candidate.ended and not self._grace_over:
                return
        if all(candidate.ended for candidate in self.candidates):
            self._decide(False)

    def _decide(self, found: bool) -> None:
        self._chosen = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(found)
