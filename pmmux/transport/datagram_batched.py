"""
The ports and upstreams of L{pmmux.transport.datagram_ports}, with several datagrams for each system call.

What upstreams say in one round of the readers leaves together at its end.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from pmmux.model import Address
from pmmux.transport.datagram_messages import (
    DONT_WAIT,
    NAME_OCTETS,
    NO_TIMEOUT,
    SLOTS,
    Destination,
    Incoming,
    Replies,
    Slots,
    last_error,
    receive_several,
    send_several,
)
from pmmux.transport.datagram_ports import (
    REPLIES_PER_TURN,
    Buffer,
    Counts,
    DatagramPort,
    Name,
    Peer,
    UpstreamDatagrams,
)
from pmmux.transport.readers import EVENTS_PER_ROUND, ROUNDS_PER_TURN, EpollReaders, Readers

# sockaddr_in and sockaddr_in6; the port is big-endian, which the flow label would be too were it not 0.
_IPV4_NAME = struct.Struct("=H2s4s8x")
_IPV6_NAME = struct.Struct("=H2s4x16sI")
# Below that, calls of the sockets' own methods cost less.
FEWEST_AT_ONCE = 3
_LAST_FIRST_SLOT = SLOTS - REPLIES_PER_TURN


class Batches:
    """
    What all batching ports and upstreams share.

    @ivar replies: what upstreams said in this round.
    """

    def __init__(self) -> None:
        self.replies = Replies()
        self._slots = Slots()
        self._incoming: dict[int, Incoming] = {}

    def incoming(self, family: int) -> Incoming:
        """What sockets of C{family} receive into."""
        found = self._incoming.get(family)
        if found is None:
            found = self._incoming[family] = Incoming(self._slots, family)
        return found


def read_name(name: bytes) -> tuple[Any, ...]:
    """The address C{name}, as the socket module has it."""
    if len(name) == NAME_OCTETS[socket.AF_INET]:
        _, port, host = _IPV4_NAME.unpack(name)
        return socket.inet_ntoa(host), int.from_bytes(port, "big")
    _, port, host, scope = _IPV6_NAME.unpack(name)
    return socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port, "big"), 0, scope


def write_name(name: tuple[Any, ...]) -> bytes:
    """The reverse of L{read_name}."""
    port = name[1].to_bytes(2, "big")
    if len(name) == len(("host", "port")):
        return _IPV4_NAME.pack(socket.AF_INET, port, socket.inet_aton(name[0]))
    host = socket.inet_pton(socket.AF_INET6, name[0].partition("%")[0])
    return _IPV6_NAME.pack(socket.AF_INET6, port, host, name[3])


class BatchedPort(DatagramPort):
    """
    One of our addresses, with a socket of its own. Clients are known by their names as the system has them.

    @ivar number: the socket's descriptor.
    """

    is_batching = True

    __slots__ = ("_incoming", "_replies", "number")

    def __init__(
        self,
        address: Address,
        buffer: Buffer,
        batches: Batches,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
        sock: socket.socket,
    ) -> None:
        super().__init__(address, buffer, counts, arrived, sock, self._send)
        self._incoming = batches.incoming(sock.family)
        self._replies = batches.replies
        self.number = sock.fileno()

    def source_of(self, name: Name) -> tuple[str, int]:
        """See L{DatagramPort.source_of}."""
        host, number = read_name(name)[:2]
        return host, number

    def destination(self, name: Name) -> Destination:
        """See L{DatagramPort.destination}."""
        return Destination(name, REPLIES_PER_TURN)

    def ready(self, events: int) -> None:
        """Receive a batch."""
        incoming = self._incoming
        received = incoming.received
        count: int = receive_several(self.number, received.headers[0], SLOTS, DONT_WAIT, NO_TIMEOUT)
        if count <= 0:
            return
        session_of = self.sessions.get
        names = incoming.names(count)
        sizes = received.sizes[:count].tolist()
        self._counts.datagrams += count
        self._counts.octets += sum(sizes)
        views = received.slots.views
        incoming.outgoing.sizes_to_send[:count] = received.sizes[:count]
        at = 0
        while at < count:
            name = names[at]
            end = at + 1
            while end < count and names[end] == name:
                end += 1
            session = session_of(name)
            if end - at >= FEWEST_AT_ONCE and session is not None and session.sends_by is not None:
                at = self._send_several(session, at, end, sizes)
                continue
            octets = views[at][: sizes[at]]
            at += 1
            if session is None:
                self._arrived(self, name, bytes(octets))
                continue
            session.datagrams_from_client += 1
            session.octets_from_client += len(octets)
            try:
                session.send(octets)
            except OSError as error:
                session.send_failed(error, octets)

    def _send_several(self, session: Any, first: int, end: int, sizes: list[int]) -> int:
        """@return: the next one to be taken."""
        headers = self._incoming.outgoing.headers[first]
        sent: int = send_several(session.sends_by, headers, end - first, DONT_WAIT)
        error = last_error()
        taken = first + max(sent, 0)
        if taken < end:
            taken += 1
        session.datagrams_from_client += taken - first
        session.octets_from_client += sum(sizes[first:taken])
        if taken - first != sent:
            octets = self._incoming.received.slots.views[taken - 1][: sizes[taken - 1]]
            session.send_failed(OSError(error, os.strerror(error)), octets)
        return taken

    def deliver(self, name: Name, size: int) -> None:
        """
        See L{DatagramPort.deliver}.

        @param name: as the socket module has it.
        """
        super().deliver(write_name(name), size)

    def lost(self, name: Name) -> None:
        """What was to be sent to the client C{name} was not."""
        session = self.sessions.get(name)
        if session is not None:
            session.lost_datagrams += 1

    def close(self) -> None:
        """Close its socket."""
        self._replies.forget(self)
        super().close()

    def _send(self, octets: Any, to: Destination) -> None:
        replies = self._replies
        if octets is replies.current:
            replies.add(self, to)
            return
        # Not what an upstream of ours has just received: after what waits, so that the order is kept.
        replies.flush()
        assert self._sock is not None
        self._sock.sendto(octets, read_name(to.name))


class BatchedUpstream(UpstreamDatagrams):
    """The upstream's side of one session."""

    __slots__ = ("_replies",)

    def __init__(
        self, readers: Readers, batches: Batches, sock: socket.socket, address: Address, peer: Peer
    ) -> None:
        # What is received into is the batches' own.
        buffer: Any = None
        super().__init__(readers, buffer, sock, address, peer)
        self.sends_by = sock.fileno()
        self._replies = batches.replies

    def ready(self, events: int) -> None:
        """Hand what the upstream sent to the peer."""
        replies = self._replies
        first = replies.used
        if first > _LAST_FIRST_SLOT:
            replies.flush()
            first = 0
        received = replies.received
        headers = received.headers[first]
        count: int = receive_several(self.sends_by, headers, REPLIES_PER_TURN, DONT_WAIT, NO_TIMEOUT)
        if count <= 0:
            number = last_error()
            if count < 0 and number not in (errno.EAGAIN, errno.EINTR) and self._sock.fileno() >= 0:
                self._peer.failed(OSError(number, os.strerror(number)))
            return
        peer: Any = self._peer
        end = replies.used = first + count
        sizes = received.sizes[first:end].tolist()
        # Only sessions have it; health checks are peers too.
        to = getattr(peer, "replies_to", None)
        if to is not None:
            peer.datagrams_from_upstream += count
            peer.octets_from_upstream += sum(sizes)
            replies.add_several(peer.port, to, first, end)
            replies.used = end
            return
        views = received.slots.views
        for slot, size in zip(range(first, end), sizes, strict=True):
            replies.slot = slot
            replies.current = octets = views[slot][:size]
            peer.reply(octets)
        replies.current = None
        # What was sent on its way made room.
        replies.used = 0 if replies.is_empty else end


class BatchingReaders(EpollReaders):
    """Sends what the upstreams said when each round ends."""

    def __init__(self, reactor: Any, replies: Replies) -> None:
        """@param reactor: an IReactorFDSet."""
        super().__init__(reactor)
        self._replies = replies

    def doRead(self) -> None:
        """Tell the owners, for a few rounds."""
        owner_of = self._owners.get
        flush = self._replies.flush
        for _ in range(ROUNDS_PER_TURN):
            events = self._poll(0, EVENTS_PER_ROUND)
            if not events:
                return
            for descriptor, event in events:
                owner = owner_of(descriptor)
                if owner is not None:
                    try:
                        owner.ready(event)
                    except Exception:  # the last line of defence: one session's bug stays its own
                        self.log.failure("a datagram failed")
            flush()
