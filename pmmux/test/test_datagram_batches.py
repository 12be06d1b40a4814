"""Several datagrams by one call of the system: in order, each where it belongs, and what fails."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from pmmux.model import Address
from pmmux.test.datagram_doubles import HandReactor
from pmmux.transport import datagram_messages
from pmmux.transport.datagram import DatagramPath
from pmmux.transport.datagram_batched import FEWEST_AT_ONCE, BatchedPort, read_name, write_name
from pmmux.transport.datagram_ports import REPLIES_PER_TURN, Counts
from pmmux.transport.datagram_sockets import open_datagram_sockets

LARGEST_IPV4_OCTETS = 65507
HOSTS = {"ipv4": "127.0.0.1", "ipv6": "::1"}


class _FastPath:
    poller = object()


@define(eq=False)
class _Session:
    """What ports and upstreams know of a session."""

    port: BatchedPort
    name: Any
    upstream: Any = None
    is_plain: bool = True
    datagrams_from_client: int = 0
    octets_from_client: int = 0
    datagrams_from_upstream: int = 0
    octets_from_upstream: int = 0
    lost_datagrams: int = 0
    failures: list[tuple[int | None, bytes]] = field(factory=list)
    errors: list[OSError] = field(factory=list)
    withheld: bytes | None = None

    @property
    def sends_by(self) -> int | None:
        return self.upstream.sends_by if self.is_plain else None

    @property
    def replies_to(self) -> Any:
        return self.port.destination(self.name) if self.is_plain else None

    def send(self, octets: Any) -> None:
        self.upstream.send(octets)

    def send_failed(self, error: OSError, octets: Any) -> None:
        self.failures.append((error.errno, bytes(octets)))

    def reply(self, octets: Any) -> None:
        self.datagrams_from_upstream += 1
        self.octets_from_upstream += len(octets)
        if octets != self.withheld:
            self.port.sendto(octets, self.port.destination(self.name))

    def failed(self, error: OSError) -> None:
        self.errors.append(error)


class BatchTests(SynchronousTestCase):
    """Clients, a port, and an upstream for each client, on loopback."""

    skip = None if datagram_messages.ARE_THERE else "needs cffi, recvmmsg and sendmmsg"

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.path = DatagramPath(self.reactor, _FastPath())
        self.assertTrue(self.path.is_batching)
        self.counts = Counts()
        self.arrivals: list[tuple[Any, Any, bytes]] = []

    def open(self, family: str, connected_to: Any = None) -> socket.socket:
        """A socket of the test."""
        kind = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
        sock = socket.socket(kind, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.settimeout(2)
        if connected_to is None:
            sock.bind((HOSTS[family], 0))
        else:
            sock.connect(connected_to)
        return sock

    def listen(self, family: str = "ipv4") -> BatchedPort:
        """A port of ours."""
        (sock,) = open_datagram_sockets("front", (HOSTS[family],), None)
        port = self.path.listen(sock, self.counts, lambda *arrival: self.arrivals.append(arrival))
        self.addCleanup(self.path.close, port)
        assert isinstance(port, BatchedPort)
        return port

    def begin(
        self, port: BatchedPort, is_plain: bool = True
    ) -> tuple[socket.socket, socket.socket, _Session]:
        """@return: a client, its server, and the session between them."""
        family = port.address.family
        client = self.open(family, (port.address.host, port.address.port))
        server = self.open(family)
        client.send(b"first")
        self.reactor.turn()
        _, name, _ = self.arrivals.pop()
        session = _Session(port, name, is_plain=is_plain)
        address = Address(HOSTS[family], server.getsockname()[1], family)
        session.upstream = self.path.connect(address, session)
        self.addCleanup(session.upstream.close)
        port.sessions[name] = session
        server.connect(session.upstream.local_name)
        return client, server, session

    def test_names(self) -> None:
        """As the system has them, and as the socket module has."""
        for name in (("192.0.2.1", 5), ("2001:db8::1", 65535, 0, 0), ("fe80::1", 1, 0, 7)):
            self.assertEqual(read_name(write_name(name)), name)
        self.assertEqual(write_name(("fe80::1%eth0", 1, 0, 7)), write_name(("fe80::1", 1, 0, 7)))

    def test_replies_of_one_round(self) -> None:
        """Those of several upstreams, to clients of several ports and families, in order, of all sizes."""
        sizes = (0, 1, 200, LARGEST_IPV4_OCTETS, 7)
        for plain in (True, False):
            begun = [self.begin(self.listen(family), plain) for family in ("ipv4", "ipv6", "ipv4")]
            begun += [self.begin(begun[0][2].port, plain) for _ in range(3)]
            for number, (_, server, _) in enumerate(begun):
                for size in sizes:
                    server.send(bytes([number]) * size)
            self.reactor.turn()
            for number, (client, _, session) in enumerate(begun):
                for size in sizes:
                    self.assertEqual(client.recv(65536), bytes([number]) * size)
                self.assertEqual(
                    (session.datagrams_from_upstream, session.octets_from_upstream, session.lost_datagrams),
                    (len(sizes), sum(sizes), 0),
                )

    def test_more_than_there_is_room_for(self) -> None:
        """Many upstreams with many replies each: what does not fit leaves before."""
        for plain in (True, False):
            port = self.listen()
            begun = [self.begin(port, plain) for _ in range(9)]
            for number in range(REPLIES_PER_TURN + 3):
                for _, server, _ in begun:
                    server.send(b"%d" % number)
            self.reactor.turn()
            for client, _, _ in begun:
                received = [client.recv(100) for _ in range(REPLIES_PER_TURN + 3)]
                self.assertEqual(received, [b"%d" % number for number in range(REPLIES_PER_TURN + 3)])

    def test_withheld(self) -> None:
        """A reply that the session does not let through leaves a gap, and nothing else."""
        client, server, session = self.begin(self.listen(), is_plain=False)
        session.withheld = b"b"
        for octets in (b"a", b"b", b"c"):
            server.send(octets)
        self.reactor.turn()
        self.assertEqual([client.recv(100), client.recv(100)], [b"a", b"c"])

    def test_out_of_turn(self) -> None:
        """What is sent to a client at another time leaves at once, after what waits."""
        client, _, session = self.begin(self.listen())
        session.reply(b"unasked")
        self.assertEqual(client.recv(100), b"unasked")

    def test_runs_of_one_client(self) -> None:
        """Many of one client after each other, between those of others."""
        port = self.listen()
        (one, server_of_one, session), (two, server_of_two, _) = self.begin(port), self.begin(port)
        order = (one, one, one, two, one, two, two, two, two, one, one)
        for number, client in enumerate(order):
            client.send(b"%d" % number)
        self.reactor.turn()
        for client, server in ((one, server_of_one), (two, server_of_two)):
            expected = [b"%d" % number for number, each in enumerate(order) if each is client]
            self.assertEqual([server.recv(100) for _ in expected], expected)
        self.assertEqual((session.datagrams_from_client, session.octets_from_client), (6, 7))
        self.assertEqual(self.counts.datagrams, len(order) + 2)

    def test_upstream_refuses(self) -> None:
        """The error of an earlier datagram is told with one of a run; the others are sent."""
        client, server, session = self.begin(self.listen())
        server.close()
        client.send(b"refused")
        self.reactor.turn()
        self.assertEqual([error.errno for error in session.errors], [errno.ECONNREFUSED])
        session.upstream.send(b"refused again")
        for number in range(FEWEST_AT_ONCE + 2):
            client.send(b"%d" % number)
        self.path.readers.forget(session.upstream.sends_by)
        session.port.ready(0)
        self.assertEqual(session.failures[0], (errno.ECONNREFUSED, b"0"))
        self.assertEqual(session.datagrams_from_client, 1 + FEWEST_AT_ONCE + 2)

    def test_cannot_be_sent(self) -> None:
        """One that the system refuses is lost; those around it are not."""
        port = self.listen()
        begun = [self.begin(port) for _ in range(3)]
        nobody = struct.pack("=H2s4s8x", socket.AF_INET, bytes(2), socket.inet_aton("127.0.0.1"))
        begun[1][2].name = nobody
        port.sessions[nobody] = begun[1][2]
        for _, server, _ in begun:
            server.send(b"answer")
        self.reactor.turn()
        self.assertEqual([begun[at][0].recv(100) for at in (0, 2)], [b"answer"] * 2)
        self.assertEqual([session.lost_datagrams for _, _, session in begun], [0, 1, 0])
        port.lost(b"gone by now")

    def test_port_closes(self) -> None:
        """What waits leaves before its port does."""
        port = self.listen()
        client, server, session = self.begin(port)
        server.send(b"last")
        session.upstream.ready(0)
        self.path.close(port)
        self.assertEqual(client.recv(100), b"last")
