"""
One flow's way through negotiators and router, with what its client says given at the times it said it.

The decision is the service's own: its negotiators, L{Router.select}, inspections and previews, and
the same time-outs on another clock. What is left out is the connection to the upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import ITransport
from zope.interface import implementer

from pmmux import errors
from pmmux.connection import Connection
from pmmux.coroutines import start
from pmmux.datagrams.admission import LOWEST_UNPRIVILEGED_PORT, can_be_answered
from pmmux.datagrams.options import MESSAGE, refuses_low_ports
from pmmux.datagrams.preview import DatagramInspection, DatagramPreview
from pmmux.errors import OUTCOME_SOURCE_REFUSED, RouteError
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.stage import Stage
from pmmux.inspection import Inspection
from pmmux.members import Member
from pmmux.model import Client, Properties, RouteTrace
from pmmux.negotiators.socket import SocketProperties
from pmmux.preview import Preview, PreviewTransport
from pmmux.transport.timeouts import Timeout, TimeoutQueue

ROUTED = "routed"


@implementer(ITransport)
class SilentTransport:
    """
    Stands for the client's socket: what the negotiators write to it goes nowhere.

    @ivar is_paused: whether nothing is to be read from it.
    """

    def __init__(self) -> None:
        self.is_paused = False
        self.resumed: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def writeSequence(self, chunks: Any) -> None:
        """Nobody reads it."""

    def pauseProducing(self) -> None:
        """Give no more octets."""
        self.is_paused = True

    def resumeProducing(self) -> None:
        """Give octets again."""
        self.is_paused = False
        self.resumed()

    def getPeer(self) -> Any:
        """Negotiators are told by the connection."""

    def getHost(self) -> Any:
        """Negotiators are told by the connection."""

    def loseConnection(self) -> None:
        """It is closed when the flow ends."""

    def abortConnection(self) -> None:
        """It is closed when the flow ends."""


class Rehearsal:
    """
    One flow being decided.

    @ivar client: as the router sees it; C{local} is the listener's where that is known.
    @ivar trace: with the outcome, as soon as there is one.
    @ivar given: the properties there were before anything was inspected.
    @ivar member: the backend it was routed to, as long as the flow is open.
    @ivar wanted_octets: how many octets it waited for when the capture ended; 0 where it did not wait.
    @ivar decided_at: in seconds after it began; C{None} while it is not.
    @ivar by_timeout: whether it was decided by the end of the time there is for detection.
    """

    def __init__(self, stage: Stage, flow: Flow, client: Client, listener: Any) -> None:
        self.stage = stage
        self.flow = flow
        self.client = client
        self.listener = listener
        self.trace = RouteTrace()
        self.properties = Properties()
        self.given: Mapping[str, str] = {}
        self.member: Member | None = None
        self.inspection: Inspection | None = None
        self.preview: Any = None
        self.wanted_octets = 0
        self.decided_at: float | None = None
        self.by_timeout = False
        self.consumed_octets = 0
        self.begun_at = 0.0
        self._deferred: Deferred[None] | None = None
        self._limits: list[tuple[TimeoutQueue, Timeout]] = []
        self._reason = errors.OUTCOME_SELECTION_TIMEOUT

    @property
    def is_decided(self) -> bool:
        """Whether there is an outcome."""
        return self.decided_at is not None

    def begin(self) -> None:
        """The connection is accepted."""
        self.begun_at = self.stage.clock.seconds()

    def hear(self, event: Event) -> None:
        """The client did something."""
        raise NotImplementedError

    def stop_waiting(self) -> None:
        """The capture is over: remember what was still wanted."""
        if not self.is_decided:
            self.wanted_octets = self.trace.octets_needed

    def close(self) -> None:
        """The flow has ended: it does not count as open any more."""
        if self.member is not None:
            self.stage.router.closed(self.member)
            self.member = None

    def _start(self) -> None:
        self._deferred = start(self._run())

    async def _choose(self) -> Member:
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            self.member = await self._choose()
        except RouteError as refused:
            self._decide(refused.outcome, refused.detail)
        except CancelledError:
            self._decide(self._reason, "it took too long")
        else:
            self.stage.router.opened(self.member)
            self._decide(ROUTED, "")

    def _decide(self, outcome: str, detail: str) -> None:
        self.trace.outcome, self.trace.detail = outcome, detail
        self.decided_at = self.stage.clock.seconds() - self.begun_at
        self._lift_limits()

    def _limit(self, queue: TimeoutQueue, act: Callable[[], None]) -> None:
        self._limits.append((queue, queue.add(act)))

    def _lift_limits(self) -> None:
        for queue, timeout in self._limits:
            queue.cancel(timeout)
        self._limits.clear()

    def _cancel(self, reason: str) -> None:
        if not self.is_decided and self._deferred is not None:
            self._reason = reason
            self._deferred.cancel()

    def _finish_preview(self) -> None:
        if not self.is_decided and not self.preview.final:
            self.by_timeout = True
            self.preview.finish()


class ConnectionRehearsal(Rehearsal):
    """A TCP connection."""

    def __init__(self, stage: Stage, flow: Flow, client: Client, listener: Any) -> None:
        super().__init__(stage, flow, client, listener)
        self._transport = SilentTransport()
        self._stream = PreviewTransport(stage.bounds.preview_octets, lambda stream: None)
        self._backlog: list[Event] = []
        self.preview: Preview = self._stream.preview

    def begin(self) -> None:
        """The connection is accepted."""
        super().begin()
        self._stream.makeConnection(self._transport)
        self._transport.resumed = self._catch_up
        self._start()

    def hear(self, event: Event) -> None:
        """The client did something."""
        if self.is_decided:
            return
        if self._transport.is_paused and event.kind is Kind.OCTETS:
            self._backlog.append(event)
        elif event.kind is Kind.OCTETS:
            self._stream.dataReceived(event.octets)
        elif event.kind is Kind.END:
            self._stream.readConnectionLost()
        else:
            self._stream.connectionLost()

    def _catch_up(self) -> None:
        waiting, self._backlog = self._backlog, []
        for event in waiting:
            self.hear(event)

    async def _choose(self) -> Member:
        stage = self.stage
        connection = Connection(
            self.flow.number, self.listener.name, self.client, self._stream, self.begun_at, self.properties
        )
        connection.trace = self.trace
        negotiators = stage.negotiators(self.listener)
        if any(not hasattr(negotiator, "annotate") for negotiator in negotiators):
            self._reason = errors.OUTCOME_NEGOTIATION_FAILED
            self._limit(stage.negotiation_timeouts, lambda: self._cancel(errors.OUTCOME_NEGOTIATION_FAILED))
        connection = await _proceed(negotiators, 0)(connection)
        self._lift_limits()
        self.client, self.properties = connection.client, connection.properties
        self._stream = connection.stream
        self.preview = preview = connection.preview
        self.consumed_octets = self._stream.octets_read - preview.size
        self.given = dict(self.properties)
        self.inspection = Inspection(
            self.client, self.properties, preview, stage.catalogues[self.client.transport]
        )
        self._limit(self.stage.detect_timeouts, self._finish_preview)
        self._limit(self.stage.selection_timeouts, lambda: self._cancel(errors.OUTCOME_SELECTION_TIMEOUT))
        try:
            member = await stage.router.select(self.inspection, self.trace)
        except RouteError:
            self._refuse_the_lost()
            raise
        self._refuse_the_lost()
        return member

    def _refuse_the_lost(self) -> None:
        if self._stream.lost is not None:
            raise RouteError(errors.OUTCOME_CLIENT_GONE, "the client closed before it was routed") from None


def _proceed(negotiators: Sequence[Any], position: int) -> Callable[[Connection], Any]:
    async def proceed(connection: Connection) -> Connection:
        if position == len(negotiators):
            return connection
        following = _proceed(negotiators, position + 1)
        result: Connection = await negotiators[position].negotiate(connection, following)
        return result

    return proceed


class DatagramRehearsal(Rehearsal):
    """A UDP session."""

    def hear(self, event: Event) -> None:
        """A datagram came."""
        if self.is_decided:
            return
        if self.preview is not None:
            self.preview.feed(event.octets)
            return
        bounds = self.stage.bounds
        self.preview = DatagramPreview(event.octets, bounds.preview_octets)
        if self.listener.options.get("affinity") == MESSAGE:
            self.preview.finish()
        self._start()
        if not self.is_decided:
            self._limit(self.stage.detect_timeouts, self._finish_preview)
            self._limit(self.stage.selection_timeouts, lambda: self._cancel(errors.OUTCOME_SELECTION_TIMEOUT))

    async def _choose(self) -> Member:
        stage = self.stage
        remote = self.client.remote
        if not can_be_answered(remote.host, remote.port):
            raise RouteError(OUTCOME_SOURCE_REFUSED, "nothing can be sent to where it came from")
        self.properties.join(SocketProperties(self.client, self.listener.name))
        self.given = dict(self.properties)
        self.inspection = inspection = DatagramInspection(
            self.client, self.properties, self.preview, stage.catalogues["udp"]
        )
        member = await stage.router.select(inspection, self.trace, stage.not_for_datagrams)
        is_low = remote.port < LOWEST_UNPRIVILEGED_PORT
        if is_low and refuses_low_ports(member.backend.spec.options, inspection.is_quic()):
            raise RouteError(OUTCOME_SOURCE_REFUSED, f"a port below {LOWEST_UNPRIVILEGED_PORT}")
        return member

    def _finish_preview(self) -> None:
        if not self.is_decided and not self.preview.complete:
            self.by_timeout = True
            self.preview.finish()
