"""
Passive health: backends that fail clients' connections again and again are left out for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, frozen

from pmmux.members import Member
from pmmux.model import Status

_LIFECYCLE = frozenset({Status.DRAINING, Status.STOPPED})


@frozen(slots=True)
class EjectionPolicy:
    """
    When a backend is left out, and for how long.

    @ivar failures: of one kind in a row.
    @ivar base_seconds: times how often it has been left out already, this time counted.
    @ivar limit_seconds: the longest; also how long it must stay in for that number to begin anew.
    """

    failures: int
    base_seconds: float
    limit_seconds: float


@define(slots=True, eq=False)
class _Observed:
    policy: EjectionPolicy
    connect_failures: int = 0
    early_resets: int = 0
    times: int = 0
    readmitted_at: float = 0.0
    until: float = 0.0
    readmission: Any = None


class Ejections:
    """
    Counts what clients' connections to each observed backend come to.

    Among the backends of one tier that take the same traffic at most half are out, and never the
    last one that is offered.
    """

    def __init__(
        self,
        clock: Any,
        members: Callable[[], Sequence[Member]],
        changed: Callable[[Member, str], None],
    ) -> None:
        """
        @param members: all members there are now.
        @param changed: called when a member was ejected, with the reason, or readmitted, with none.
        """
        self._clock = clock
        self._members = members
        self._changed = changed
        self._observed: dict[Member, _Observed] = {}

    def observe(self, member: Member, policy: EjectionPolicy | None) -> None:
        """Count for C{member} by C{policy} from now on; C{None} to forget it."""
        known = self._observed.get(member)
        if policy is None:
            if known is not None:
                self._cancel(known)
                del self._observed[member]
        elif known is None:
            self._observed[member] = _Observed(policy)
        else:
            known.policy = policy

    def stop(self) -> None:
        """Forget all."""
        for observed in self._observed.values():
            self._cancel(observed)
        self._observed.clear()

    def is_ejected(self, member: Member) -> bool:
        """Whether C{member} is out now."""
        observed = self._observed.get(member)
        return observed is not None and observed.readmission is not None

    def times(self, member: Member) -> int:
        """How often C{member} has been ejected, as it counts for the next time."""
        observed = self._observed.get(member)
        return 0 if observed is None else observed.times

    def seconds_left(self, member: Member) -> float:
        """How long C{member} will still be out; 0 where it is not."""
        observed = self._observed.get(member)
        if observed is None or observed.readmission is None:
            return 0.0
        left_seconds: float = observed.until - self._clock.seconds()
        return max(0.0, left_seconds)

    def connect_failed(self, member: Member) -> None:
        """A client's connection could not be made."""
        observed = self._observed.get(member)
        if observed is not None:
            observed.connect_failures += 1
            self._judge(member, observed, observed.connect_failures, "cannot be connected to")

    def connected(self, member: Member) -> None:
        """A client's connection was made."""
        observed = self._observed.get(member)
        if observed is not None:
            observed.connect_failures = 0

    def early_reset(self, member: Member) -> None:
        """The upstream reset a connection without having sent an octet."""
        observed = self._observed.get(member)
        if observed is not None:
            observed.early_resets += 1
            self._judge(member, observed, observed.early_resets, "resets connections")

    def answered(self, member: Member) -> None:
        """The upstream sent something, or ended a connection in order."""
        observed = self._observed.get(member)
        if observed is not None:
            observed.early_resets = 0

    def readmit(self, member: Member) -> None:
        """Let C{member} in again; harmless where it is."""
        observed = self._observed.get(member)
        if observed is not None and observed.readmission is not None:
            self._readmit(member, observed)

    def _judge(self, member: Member, observed: _Observed, failures: int, what: str) -> None:
        policy = observed.policy
        if failures < policy.failures or observed.readmission is not None or not self._may_eject(member):
            return
        now = self._clock.seconds()
        if observed.times and now - observed.readmitted_at >= policy.limit_seconds:
            observed.times = 0
        observed.times += 1
        seconds = min(policy.base_seconds * observed.times, policy.limit_seconds)
        observed.until = now + seconds
        observed.readmission = self._clock.callLater(seconds, self._readmit, member, observed)
        self._changed(member, f"{what}, {failures} in a row; left out for {seconds:g} s")

    def _may_eject(self, member: Member) -> bool:
        condition = member.condition.describe()
        peers = [
            peer
            for peer in self._members()
            if peer.tier == member.tier
            and peer.status not in _LIFECYCLE
            and peer.condition.describe() == condition
        ]
        ejected = sum(self.is_ejected(peer) for peer in peers) + 1
        return ejected * 2 <= len(peers) and any(
            peer is not member and peer.status.is_offered for peer in peers
        )

    def _readmit(self, member: Member, observed: _Observed) -> None:
        self._cancel(observed)
        observed.connect_failures = observed.early_resets = 0
        observed.readmitted_at = self._clock.seconds()
        self._changed(member, "")

    def _cancel(self, observed: _Observed) -> None:
        readmission, observed.readmission = observed.readmission, None
        if readmission is not None and readmission.active():
            readmission.cancel()
