"""What a client's first datagrams say, judged like a connection's preview."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pmmux.inspection import Inspection
from pmmux.model import NO_MATCH, NO_PROPERTIES, Verdict

DATAGRAMS_LIMIT = 16


class DatagramPreview:
    """
    A client's first datagrams. Whoever looks at octets sees the first of them, whole; only what
    judges several waits for more.

    @ivar datagrams: in the order they came.
    @ivar size: of all of them, in octets.
    @ivar complete: no more are waited for.
    @ivar ended: never: datagrams have no end.
    """

    __slots__ = ("_waiter", "_wanted", "complete", "datagrams", "limit_octets", "size")

    final = True
    ended = False

    def __init__(self, first: bytes, limit_octets: int) -> None:
        """@param limit_octets: how much of all datagrams is held."""
        self.datagrams = [first]
        self.size = len(first)
        self.limit_octets = limit_octets
        self.complete = self.size >= limit_octets
        self._waiter: Deferred[None] | None = None
        self._wanted = 0

    @property
    def octets(self) -> bytes:
        """The first datagram."""
        return self.datagrams[0]

    def feed(self, datagram: bytes) -> bool:
        """
        Take one more.

        @return: whether there was room for it. Where that is used up the preview is complete.
        """
        if len(self.datagrams) >= DATAGRAMS_LIMIT or self.size + len(datagram) > self.limit_octets:
            self.finish()
            return False
        self.datagrams.append(datagram)
        self.size += len(datagram)
        if self._waiter is not None and self.size >= self._wanted:
            self._wake()
        return True

    def finish(self) -> None:
        """Count it as complete: verdicts on it are final."""
        if not self.complete:
            self.complete = True
            self._wake()

    def changed(self, octets_wanted: int = 0) -> Deferred[None]:
        """
        Wait for more. One waiter at a time; cancelling is harmless.

        @param octets_wanted: do not wake for less than this many octets in all.
        @return: fires when there is more, or when the preview is complete.
        """
        self._wanted = octets_wanted
        self._waiter = Deferred(self._forget)
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _forget(self, _waiter: Deferred[None]) -> None:
        self._waiter = None


class DatagramInspection(Inspection):
    """
    One client's first datagrams under inspection. A rule that asks for a protocol which is none of
    datagrams does not match.
    """

    __slots__ = ()

    preview: DatagramPreview

    def verdict(self, name: str) -> Verdict:
        """What the probe C{name} says of the datagrams so far."""
        preview = self.preview
        verdict = self._verdicts.get(name)
        if verdict is not None and (
            verdict.octets_needed == 0 or (preview.size < verdict.octets_needed and not preview.complete)
        ):
            return verdict
        probe = self._catalogue.probes.get(name)
        # Probes of others need not have it.
        inspect_several = getattr(probe, "inspect_several", None)
        if probe is None:
            verdict = NO_MATCH
        elif inspect_several is None or len(preview.datagrams) == 1:
            verdict = probe.inspect(preview.octets)
        else:
            verdict = inspect_several(preview.datagrams)
        if verdict.octets_needed and (preview.complete or inspect_several is None):
            verdict = Verdict(bool(verdict.matched), 0, verdict.properties, verdict.fault)
        # Asking a lazy mapping whether it is empty would make it look for everything.
        if verdict.properties is not NO_PROPERTIES:
            self.properties.join(verdict.properties)
        if verdict.fault is not None and verdict.matched is False:
            self.fault = f"{name}: {verdict.fault}"
        self._verdicts[name] = verdict
        return verdict

    def is_quic(self) -> bool:
        """Whether QUIC was asked for and found."""
        verdict = self._verdicts.get("quic")
        return verdict is not None and verdict.matched is True
