"""
The way of datagrams through this process: drained from one socket into one buffer, sent on by another.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.transport.connecting import NameCache, interleave, literal_address
from pmmux.transport.datagram_sockets import (
    ANCILLARY_OCTETS,
    connect_datagrams,
    is_wildcard,
    open_beside,
    read_destination,
    write_source,
)
from pmmux.transport.readers import Readers, readers_for
from pmmux.transport.sockets import address_of

# The largest payload is 65,507 octets over IPv4 and 65,527 over IPv6.
DATAGRAM_LIMIT_OCTETS = 65536
RECEIVES_PER_TURN = 64
REPLIES_PER_TURN = 16
# How many addresses of ours get a socket each; the others share that of the wildcard.
SOCKETS_BESIDE_LIMIT = 64
PORTS_LIMIT = 1024
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

Name = tuple[Any, ...]
"""A client's address as the socket module has it, which is what sessions are found by."""


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

    def send_failed(self, error: OSError, octets: memoryview) -> None:
        """C{send} raised C{error} for C{octets}."""


class Peer(Protocol):
    """Whom an upstream's datagrams are for."""

    reply: Callable[[Any], object]
    """Takes octets, which are valid during the call; does not raise."""

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
    @ivar sendto: sends octets to a client; may raise L{OSError}.
    """

    __slots__ = ("_arrived", "_buffer", "_counts", "_sock", "address", "sendto", "sessions")

    def __init__(
        self,
        address: Address,
        buffer: Buffer,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
        sock: socket.socket | None,
        sendto: Callable[[Any, Name], object],
    ) -> None:
        """
        @param arrived: called with each datagram that belongs to no session.
        @param sock: its own socket; C{None} where it shares that of a L{WildcardPort}.
        """
        self.address = address
        self.sessions: dict[Name, Any] = {}
        self.sendto = sendto
        self._arrived = arrived
        self._buffer = buffer
        self._counts = counts
        self._sock = sock

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


class WildcardPort:
    """
    All our addresses of one family: finds the L{DatagramPort} of the one that a client wrote to.
    """

    log = Logger()

    def __init__(
        self,
        sock: socket.socket,
        path: DatagramPath,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
    ) -> None:
        self._sock = sock
        self._path = path
        self._counts = counts
        self._arrived = arrived
        self._sockets_beside = 0
        self.ports: dict[tuple[str, int], DatagramPort] = {}

    def ready(self, events: int) -> None:
        """Drain the socket, up to a batch."""
        receive = self._sock.recvmsg_into
        buffers = [self._path.buffer.octets]
        port_of = self.ports.get
        for _ in range(RECEIVES_PER_TURN):
            try:
                size, ancillary, _, name = receive(buffers, ANCILLARY_OCTETS)
            except OSError:
                return
            destination = read_destination(ancillary)
            if destination is not None:
                port = port_of(destination)
                if port is None:
                    port = self._open(*destination)
                port.deliver(name, size)

    def broken(self) -> None:
        """L{ready} raised, which was logged: the next datagram is another matter."""

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close its socket and those beside it."""
        for port in self.ports.values():
            self._path.close(port)
        self.ports.clear()
        self._sock.close()

    def _open(self, host: str, interface: int) -> DatagramPort:
        if len(self.ports) >= PORTS_LIMIT:
            self._prune()
        address = Address(host, self._sock.getsockname()[1], "ipv6" if ":" in host else "ipv4")
        sock = None
        if self._sockets_beside < SOCKETS_BESIDE_LIMIT and not interface:
            sock = open_beside(self._sock, host)
        if sock is None:
            sendto = self._sender(host, interface)
        else:
            self._sockets_beside += 1
            sendto = sock.sendto
        port = DatagramPort(address, self._path.buffer, self._counts, self._arrived, sock, sendto)
        self.ports[host, interface] = port
        if sock is not None:
            self._path.readers.add(sock.fileno(), port)
        return port

    def _prune(self) -> None:
        for destination, port in list(self.ports.items()):
            if not port.sessions and port.descriptor is None:
                del self.ports[destination]

    def _sender(self, host: str, interface: int) -> Callable[[Any, Name], object]:
        sendmsg = self._sock.sendmsg
        ancillary = write_source(host, interface)

        def sendto(octets: Any, name: Name) -> None:
            sendmsg((octets,), ancillary, 0, name)

        return sendto


class UpstreamDatagrams:
    """
    The upstream's side of one session: a socket that speaks with one address only.

    @ivar send: sends octets; the socket's own, so raises L{OSError}.
    @ivar address: the upstream's.
    """

    __slots__ = ("_buffer", "_peer", "_readers", "_sock", "address", "send")

    def __init__(
        self, readers: Readers, buffer: Buffer, sock: socket.socket, address: Address, peer: Peer
    ) -> None:
        self.address = address
        self.send = sock.send
        self._sock = sock
        self._buffer = buffer
        self._peer = peer
        self._readers = readers
        readers.add(sock.fileno(), self)

    @property
    def local_name(self) -> Name:
        """The address that the upstream sees."""
        name: Name = self._sock.getsockname()
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


class DatagramPath:
    """What all datagrams of this process share."""

    def __init__(self, reactor: Any, data_path: Any) -> None:
        """@param data_path: L{pmmux.interfaces.IDataPath}"""
        self.readers = readers_for(reactor, data_path)
        self.buffer = Buffer()
        self._names = NameCache(reactor)

    def listen(
        self,
        sock: socket.socket,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
    ) -> DatagramPort | WildcardPort:
        """Receive from C{sock}, which is bound, from now on."""
        name = sock.getsockname()
        port: DatagramPort | WildcardPort
        if is_wildcard(name[0]):
            port = WildcardPort(sock, self, counts, arrived)
        else:
            address = address_of(name, sock.family)
            port = DatagramPort(address, self.buffer, counts, arrived, sock, sock.sendto)
        self.readers.add(sock.fileno(), port)
        return port

    def close(self, port: DatagramPort | WildcardPort) -> None:
        """Receive no more."""
        if port.descriptor is not None:
            self.readers.forget(port.descriptor)
        port.close()

    def connect(self, address: Address, peer: Peer) -> UpstreamDatagrams:
        """
        Open the upstream's side of a session.

        @raises UpstreamError: there is no way to C{address}, or no descriptor.
        """
        try:
            sock = connect_datagrams(_FAMILIES[address.family], address.host, address.port)
        except OSError as error:
            raise UpstreamError(str(address), error.strerror or str(error)) from None
        return UpstreamDatagrams(self.readers, self.buffer, sock, address, peer)

    async def connect_target(self, target: Any, peer: Peer) -> UpstreamDatagrams:
        """
        Open the upstream's side of a session with the first address of C{target} that there is a way to.

        @param target: L{pmmux.config.values.Target}
        @raises UpstreamError: there is none.
        """
        if target.unix_path is not None:
            raise UpstreamError(str(target), "a unix socket takes connections only")
        literal = literal_address(target.host, target.port)
        if literal is not None:
            return self.connect(literal, peer)
        *others, last = interleave(await self._names.resolve(target.host), target.port)
        for address in others:
            try:
                return self.connect(address, peer)
            except UpstreamError:
                continue
        return self.connect(last, peer)
