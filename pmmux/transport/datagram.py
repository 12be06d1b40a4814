"""
The way of datagrams through this process: drained from one socket into one buffer, sent on by another.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.transport import datagram_messages
from pmmux.transport.connecting import NameCache, interleave, literal_address
from pmmux.transport.datagram_batched import BatchedPort, BatchedUpstream, Batches, BatchingReaders
from pmmux.transport.datagram_ports import (
    RECEIVES_PER_TURN,
    Buffer,
    Counts,
    DatagramPort,
    Name,
    Peer,
    UpstreamDatagrams,
)
from pmmux.transport.datagram_sockets import (
    ANCILLARY_OCTETS,
    connect_datagrams,
    is_wildcard,
    open_beside,
    read_destination,
    write_source,
)
from pmmux.transport.readers import EpollReaders, Readers, readers_for
from pmmux.transport.sockets import address_of

# How many addresses of ours get a socket each; the others share that of the wildcard.
SOCKETS_BESIDE_LIMIT = 64
PORTS_LIMIT = 1024
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


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
            port = DatagramPort(address, self._path.buffer, self._counts, self._arrived, None, sendto)
        else:
            self._sockets_beside += 1
            port = self._path.open_port(address, sock, self._counts, self._arrived)
        self.ports[host, interface] = port
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


class DatagramPath:
    """What all datagrams of this process share."""

    def __init__(self, reactor: Any, data_path: Any, may_batch: bool = True) -> None:
        """
        @param data_path: L{pmmux.transport.interfaces.IDataPath}
        @param may_batch: whether to do so where the system and its libraries can.
        """
        self.readers: Readers = readers_for(reactor, data_path)
        self.buffer = Buffer()
        self._names = NameCache(reactor)
        self._batches: Batches | None = None
        # Replies are sent when a round ends, and only readers on epoll have rounds.
        if may_batch and datagram_messages.ARE_THERE and isinstance(self.readers, EpollReaders):
            self._batches = Batches()
            self.readers = BatchingReaders(reactor, self._batches.replies)

    @property
    def is_batching(self) -> bool:
        """Whether several datagrams go by one call of the system."""
        return self._batches is not None

    def listen(
        self,
        sock: socket.socket,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
    ) -> DatagramPort | WildcardPort:
        """Receive from C{sock}, which is bound, from now on."""
        name = sock.getsockname()
        if not is_wildcard(name[0]):
            return self.open_port(address_of(name, sock.family), sock, counts, arrived)
        port = WildcardPort(sock, self, counts, arrived)
        self.readers.add(sock.fileno(), port)
        return port

    def open_port(
        self,
        address: Address,
        sock: socket.socket,
        counts: Counts,
        arrived: Callable[[DatagramPort, Name, bytes], None],
    ) -> DatagramPort:
        """Receive from C{sock}, which is bound to C{address}, from now on."""
        port: DatagramPort
        if self._batches is None:
            port = DatagramPort(address, self.buffer, counts, arrived, sock, sock.sendto)
        else:
            port = BatchedPort(address, self.buffer, self._batches, counts, arrived, sock)
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
        if self._batches is not None:
            return BatchedUpstream(self.readers, self._batches, sock, address, peer)
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
