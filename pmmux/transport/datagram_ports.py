"""
Datagram ports and upstreams on plain sockets: one call of the system for each datagram.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from pmmux.model import Address
from pmmux.transport.datagram_sockets import DATAGRAM_LIMIT_OCTETS
from pmmux.transport.readers import Readers

RECEIVES_PER_TURN = 64
REPLIES_PER_TURN = 16

Name = Any
"""A client's address as its port has it, which is what sessions are found by."""


class Buffer:
    """What every datagram is received into; nothing stays in it after the send that follows."""

    __slots__ = ("octets", "view")

    def __init__(self) -> None:
        self.octets = bytearray(DATAGRAM_LIMIT_OCTETS)
        self.view = memoryview(self.octets)


class ClientSession(Protocol):
    """One client's datagrams, as a port sees them."""

    datagrams_from_client: int
    octets_from_client: int
    send: Callable[[Any], object]
    """Sends octets on, which are valid during the call; may raise L{OSError}."""
    sends_by: int | None
    """The descriptor that several are sent on by; C{None} where C{send} must be asked."""

    def send_failed(self, error: OSError, octets: memoryview) -> None:
        """C{send} raised C{error} for C{octets}."""


class Peer(Protocol):
    """Whom an upstream's datagrams are for."""

    reply: Callable[[Any], object]
    """
    Takes octets, which are valid during the call; does not raise.

    A peer that has C{replies_to} lets several leave at once, by its C{port} to that destination of it, while
    C{replies_to} is not C{None}; it is then told by C{datagrams_from_upstream} and C{octets_from_upstream}
    alone.
    """

    def failed(self, error: OSError) -> None:
        """The upstream cannot be reached, or says that nobody listens there."""


class Counts:
    """Datagrams and octets that came in by the ports that share it."""

    __slots__ = ("datagrams", "octets")

    def __init__(self) -> None:
        self.datagrams = 0
        self.octets = 0


class DatagramPort:
    """
    One of our addresses: what clients send there, and where replies to them leave from.

    @ivar address: what it is.
    @ivar sessions: by the client's address as the socket has it; kept by whoever makes sessions.
    @ivar sendto: sends octets to a client, by its L{destination}; may raise L{OSError}.
    @cvar is_batching: whether several replies are sent at once.
    """

    is_batching = False

    __slots__ = ("_arrived", "_buffer", "_counts", "_sock", "address", "sendto", "sessions")

    def __init__(
        self,
        address: Address,
        buffer: Buffer,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
        sock: socket.socket | None,
        sendto: Callable[[Any, Any], object],
    ) -> None:
        """
        @param arrived: called with each datagram that belongs to no session.
        @param sock: its own socket; C{None} where it shares that of a
            L{pmmux.transport.datagram.WildcardPort}.
        """
        self.address = address
        self.sessions: dict[Name, Any] = {}
        self.sendto = sendto
        self._arrived = arrived
        self._buffer = buffer
        self._counts = counts
        self._sock = sock

    def source_of(self, name: Name) -> tuple[str, int]:
        """The address and port of the client C{name}."""
        source: tuple[str, int] = name[:2]
        return source

    def destination(self, name: Name) -> Any:
        """What C{sendto} is to be given for the client C{name}."""
        return name

    def ready(self, events: int) -> None:
        """Drain the socket, up to a batch."""
        assert self._sock is not None
        receive = self._sock.recvfrom_into
        octets, view = self._buffer.octets, self._buffer.view
        session_of = self.sessions.get
        datagrams = total = 0
        for _ in range(RECEIVES_PER_TURN):
            try:
                size, name = receive(octets)
            except OSError:  # nothing more; an error of one datagram is told with the next, if it lasts
                break
            datagrams += 1
            total += size
            session = session_of(name)
            if session is None:
                self._arrived(self, name, bytes(view[:size]))
                continue
            session.datagrams_from_client += 1
            session.octets_from_client += size
            try:
                session.send(view[:size])
            except OSError as error:
                session.send_failed(error, view[:size])
        self._counts.datagrams += datagrams
        self._counts.octets += total

    def deliver(self, name: Name, size: int) -> None:
        """Take one datagram of C{size} octets that is in the buffer, for a port without a socket."""
        view = self._buffer.view[:size]
        self._counts.datagrams += 1
        self._counts.octets += size
        session = self.sessions.get(name)
        if session is None:
            self._arrived(self, name, bytes(view))
            return
        session.datagrams_from_client += 1
        session.octets_from_client += size
        try:
            session.send(view)
        except OSError as error:
            session.send_failed(error, view)

    def broken(self) -> None:
        """L{ready} raised, which was logged: the next datagram is another matter."""

    @property
    def descriptor(self) -> int | None:
        """Of its own socket."""
        return None if self._sock is None else self._sock.fileno()

    def close(self) -> None:
        """Close its own socket."""
        if self._sock is not None:
            self._sock.close()


class UpstreamDatagrams:
    """
    The upstream's side of one session: a socket that speaks with one address only.

    @ivar send: sends octets; the socket's own, so raises L{OSError}.
    @ivar sends_by: the descriptor by which several can be sent at once; C{None} where they cannot.
    @ivar address: the upstream's.
    """

    __slots__ = ("_buffer", "_peer", "_readers", "_sock", "address", "send", "sends_by")

    def __init__(
        self, readers: Readers, buffer: Buffer, sock: socket.socket, address: Address, peer: Peer
    ) -> None:
        self.address = address
        self.send = sock.send
        self.sends_by: int | None = None
        self._sock = sock
        self._buffer = buffer
        self._peer = peer
        self._readers = readers
        readers.add(sock.fileno(), self)

    @property
    def local_name(self) -> tuple[Any, ...]:
        """The address that the upstream sees."""
        name: tuple[Any, ...] = self._sock.getsockname()
        return name

    def ready(self, events: int) -> None:
        """Hand what the upstream sent to the peer."""
        receive = self._sock.recv_into
        octets, view = self._buffer.octets, self._buffer.view
        peer = self._peer
        try:
            for _ in range(REPLIES_PER_TURN):
                size = receive(octets)
                peer.reply(view[:size])
        except BlockingIOError:
            return
        except OSError as error:
            if self._sock.fileno() >= 0:
                peer.failed(error)

    def broken(self) -> None:
        """L{ready} raised, which was logged: the next datagram is another matter."""

    def close(self) -> None:
        """Idempotent."""
        descriptor = self._sock.fileno()
        if descriptor >= 0:
            self._readers.forget(descriptor)
            self._sock.close()
