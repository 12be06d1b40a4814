"""
From the packets of a capture to the flows in it.

The client of a TCP connection is who sent the SYN. Where the capture has begun later, the server is
the side whose port is that of a listener; where that does not tell, the client is the side with the
higher port, and of equal ports the one that is heard first. The client of a UDP flow is who sent its
first datagram.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import define

from pmmux.explain.capture import FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, Packet
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.reassembly import SEQUENCE_NUMBERS, Reassembly, distance
from pmmux.model import Address

# Twice what a session looks at before it is routed.
DATAGRAMS_KEPT = 32


@define(slots=True, eq=False)
class _Connection:
    """
    A TCP connection as it goes on.

    @ivar initial: the client's initial sequence number; C{None} where its SYN was not seen.
    @ivar stream: C{None} until the client's first sequence number is known.
    @ivar acknowledged: what the server has acknowledged last.
    @ivar held_octets: how many octets the flow has taken.
    """

    flow: Flow
    initial: int | None
    stream: Reassembly | None
    acknowledged: int | None = None
    held_octets: int = 0
    is_over: bool = False


class FlowBook:
    """Collects the flows of one capture."""

    def __init__(self, kept_octets: int, listening: Collection[int] = ()) -> None:
        """
        @param kept_octets: how many of each client's first octets are kept, at least.
        @param listening: the ports of listeners.
        """
        self._listening = listening
        self.flows: list[Flow] = []
        self._kept_octets = kept_octets
        self._connections: dict[frozenset[Address], _Connection] = {}
        self._conversations: dict[frozenset[Address], Flow] = {}

    def take(self, packet: Packet) -> None:
        """Take the capture's next packet."""
        if packet.transport == "udp":
            self._take_datagram(packet)
        else:
            self._take_segment(packet)

    def finish(self) -> list[Flow]:
        """The capture is read. @return: its flows, in the order they began."""
        for connection in self._connections.values():
            _count_missing(connection)
        return self.flows

    def _begin(self, packet: Packet, client: Address, server: Address) -> Flow:
        flow = Flow(len(self.flows) + 1, packet.transport, client, server, packet.time)
        self.flows.append(flow)
        return flow

    def _take_datagram(self, packet: Packet) -> None:
        key = frozenset((packet.source, packet.destination))
        flow = self._conversations.get(key)
        if flow is None:
            flow = self._begin(packet, packet.source, packet.destination)
            self._conversations[key] = flow
        if packet.source == flow.client and len(flow.events) < DATAGRAMS_KEPT:
            if not flow.events:
                flow.missing_octets = packet.missing_octets
            flow.events.append(Event(packet.time, Kind.OCTETS, packet.octets))

    def _take_segment(self, packet: Packet) -> None:
        key = frozenset((packet.source, packet.destination))
        connection = self._connections.get(key)
        if connection is None or _begins_anew(connection, packet):
            if connection is not None:
                _count_missing(connection)
            connection = self._connections[key] = self._begin_connection(packet)
        if packet.source == connection.flow.client:
            self._hear_client(connection, packet)
        else:
            _hear_server(connection, packet)

    def _begin_connection(self, packet: Packet) -> _Connection:
        source, destination = packet.source, packet.destination
        if packet.flags & FLAG_SYN:
            if packet.flags & FLAG_ACK:
                initial = (packet.acknowledgement - 1) % SEQUENCE_NUMBERS
                flow = self._begin(packet, destination, source)
            else:
                initial = packet.sequence
                flow = self._begin(packet, source, destination)
            return _Connection(flow, initial, Reassembly((initial + 1) % SEQUENCE_NUMBERS))
        is_to, is_from = destination.port in self._listening, source.port in self._listening
        if is_from if is_to is not is_from else destination.port > source.port:
            return _Connection(self._begin(packet, destination, source), None, None)
        return _Connection(self._begin(packet, source, destination), None, None)

    def _hear_client(self, connection: _Connection, packet: Packet) -> None:
        flow, sequence = connection.flow, packet.sequence
        if packet.flags & FLAG_SYN:
            # What a SYN carries counts from the number after its own (RFC 7413).
            sequence = (sequence + 1) % SEQUENCE_NUMBERS
        stream = connection.stream
        if stream is None:
            stream = connection.stream = Reassembly(sequence)
        if connection.is_over:
            return
        for octets in stream.take(sequence, packet.octets):
            if connection.held_octets < self._kept_octets:
                connection.held_octets += len(octets)
                flow.events.append(Event(packet.time, Kind.OCTETS, octets))
        if packet.flags & FLAG_FIN:
            stream.end((sequence + len(packet.octets) + packet.missing_octets) % SEQUENCE_NUMBERS)
        if packet.flags & FLAG_RST:
            connection.is_over = True
            flow.events.append(Event(packet.time, Kind.LOST))
        elif stream.is_complete:
            connection.is_over = True
            flow.events.append(Event(packet.time, Kind.END))


def _begins_anew(connection: _Connection, packet: Packet) -> bool:
    """Whether C{packet} is the SYN of another connection between the same ends."""
    if packet.flags & (FLAG_SYN | FLAG_ACK) != FLAG_SYN:
        return False
    return packet.source != connection.flow.client or packet.sequence != connection.initial


def _hear_server(connection: _Connection, packet: Packet) -> None:
    flow = connection.flow
    if packet.flags & FLAG_ACK and not packet.flags & FLAG_RST:
        known = connection.acknowledged
        if known is None or distance(known, packet.acknowledgement) > 0:
            connection.acknowledged = packet.acknowledgement
    says_something = packet.octets or packet.missing_octets or packet.flags & (FLAG_FIN | FLAG_RST)
    if says_something and flow.prompted_from is None and not flow.has_spoken():
        flow.prompted_from = len(flow.events)


def _count_missing(connection: _Connection) -> None:
    stream = connection.stream
    if stream is None:
        return
    missing = stream.octets_missing()
    if connection.acknowledged is not None and not connection.is_over:
        # A FIN that was not captured counts as one octet; it is none.
        missing = max(missing, stream.octets_missing_before(connection.acknowledged))
    connection.flow.missing_octets = missing


def flows_of(packets: Iterable[Packet], kept_octets: int, listening: Collection[int] = ()) -> list[Flow]:
    """
    The flows of a capture, in the order they began; see L{FlowBook}.

    @raises pmmux.explain.capture.CaptureError: as C{packets} does.
    """
    book = FlowBook(kept_octets, listening)
    for packet in packets:
        book.take(packet)
    return book.finish()
