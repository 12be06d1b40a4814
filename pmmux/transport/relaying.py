"""Relaying on Twisted's transports: two protocols, each writing what it reads to the other."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux import errors
from pmmux.preview import PreviewTransport
from pmmux.transport.interfaces import IRelay
from pmmux.transport.timeouts import ProgressWheel
from pmmux.transport.unsent import unsent_octets


@frozen(slots=True)
class RelayLimits:
    """
    @ivar idle_seconds: without an octet either way for so long, the relay is closed.
    @ivar half_closed_seconds: the same once one side's data has ended.
    """

    idle_seconds: float
    half_closed_seconds: float


@implementer(IPushProducer)
class _End:
    """One side of a relay, as what its transport calls."""

    def __init__(self, relay: Relay, stream: PreviewTransport, reset_outcome: str) -> None:
        self.relay = relay
        self.transport = stream.transport
        self.reset_outcome = reset_outcome
        self.other: _End
        self.octets = 0
        self.read_ended = False
        self.write_ended = False
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """Pass octets on."""
        if not self.octets:
            self.relay.hear_first(self)
        self.octets += len(data)
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """This side's data ended: end the other's writing once all is written; nothing else ends."""
        self.read_ended = True
        other = self.other
        if not other.lost:
            other.transport.unregisterProducer()
            other.transport.loseWriteConnection()
        self.relay.half_closed()
        self._close_if_ended()

    def writeConnectionLost(self) -> None:
        """All that was for this side is written, and its end too."""
        self.write_ended = True
        self._close_if_ended()

    def connectionLost(self, reason: Failure) -> None:
        """This side is gone: pass a reset on as a reset."""
        self.lost = True
        if not reason.check(ConnectionDone):  # type: ignore[no-untyped-call]
            self.relay.fail(self.reset_outcome)
        elif not self.other.lost:
            # Closed by us after both directions ended, or both ended at once.
            self.other.transport.loseConnection()
        self.relay.end_lost()

    # What the other side's transport calls when this side is its producer.

    def pauseProducing(self) -> None:
        """It has enough for now."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It takes more."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """It is gone; L{connectionLost} is told of that too, and knows whether by a reset."""

    def unsent(self) -> int:
        """Octets that the system holds for this side; 0 where the transport has no socket to ask."""
        find = getattr(self.transport, "getHandle", None)
        return 0 if find is None or self.lost else unsent_octets(find().fileno())

    def _close_if_ended(self) -> None:
        if self.read_ended and self.write_ended and not self.lost:
            self.transport.loseConnection()


@implementer(IRelay)
class Relay:
    """Two streams relayed; see L{pmmux.transport.interfaces.IDataPath.relay}."""

    def __init__(
        self,
        client: PreviewTransport,
        upstream: PreviewTransport,
        limits: RelayLimits,
        wheel: ProgressWheel,
        owner: Any,
    ) -> None:
        self._client = _End(self, client, errors.OUTCOME_RESET_BY_CLIENT)
        self._upstream = _End(self, upstream, errors.OUTCOME_RESET_BY_UPSTREAM)
        self._client.other = self._upstream
        self._upstream.other = self._client
        self._limits = limits
        self._wheel = wheel
        self.watch: Any = None
        wheel.add(self, limits.idle_seconds)
        self._idle_outcome = errors.OUTCOME_IDLE_TIMEOUT
        self._owner = owner
        self._outcome = ""
        owner.begin(self)
        self._start(client, upstream)

    @property
    def octets_from_client(self) -> int:
        """Taken from the client so far."""
        return self._client.octets

    @property
    def octets_from_upstream(self) -> int:
        """Taken from the upstream so far."""
        return self._upstream.octets

    def close(self, outcome: str) -> None:
        """End it at once, both sides."""
        self.fail(outcome)

    def hear_first(self, end: _End) -> None:
        """One side has said something for the first time."""
        if end is self._upstream:
            self._owner.hear_upstream()

    def progress(self) -> int:
        """For the wheel: grows with each octet that comes, or is taken by a slow reader."""
        unsent = self._client.unsent() + self._upstream.unsent()
        return 2 * (self._client.octets + self._upstream.octets) - unsent

    def expire(self) -> None:
        """For the wheel: there was no octet for too long."""
        self.fail(self._idle_outcome)

    def half_closed(self) -> None:
        """One side's data ended."""
        self._idle_outcome = errors.OUTCOME_HALF_CLOSED_TIMEOUT
        self._wheel.change(self, self._limits.half_closed_seconds)

    def fail(self, outcome: str) -> None:
        """Reset what still stands."""
        if not self._outcome:
            self._outcome = outcome
        for end in (self._client, self._upstream):
            if not end.lost:
                end.transport.abortConnection()

    def end_lost(self) -> None:
        """One side is gone; when both are, it is finished."""
        if self._client.lost and self._upstream.lost:
            self._wheel.remove(self)
            self._owner.finish(self._outcome or errors.OUTCOME_CLOSED)

    def _start(self, client: PreviewTransport, upstream: PreviewTransport) -> None:
        pairs = ((client, self._client), (upstream, self._upstream))
        for stream, end in pairs:
            end.lost = stream.lost is not None
        gone = next((end for _, end in pairs if end.lost), None)
        if gone is not None:
            for stream, end in pairs:
                stream.release(end)
            self.fail(gone.reset_outcome)
            self.end_lost()
            return
        for _, end in pairs:
            end.transport.registerProducer(end.other, True)
        for stream, end in pairs:
            octets, ended = stream.release(end)
            if octets:
                end.dataReceived(octets)
            if ended:
                end.readConnectionLost()
            else:
                stream.resume()
