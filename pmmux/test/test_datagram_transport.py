"""Datagram sockets on loopback, with the readers driven by hand."""

from __future__ import annotations

import errno
import socket
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.values import Target
from pmmux.errors import ListenError, UpstreamError
from pmmux.model import Address
from pmmux.test.datagram_doubles import HandReactor
from pmmux.test.doubles import run_now
from pmmux.transport import datagram_messages
from pmmux.transport.datagram import DatagramPath, WildcardPort
from pmmux.transport.datagram_ports import Counts, DatagramPort
from pmmux.transport.datagram_sockets import (
    IP_PKTINFO,
    open_beside,
    open_datagram_sockets,
    read_destination,
    write_source,
)
from pmmux.transport.readers import EpollReaders, ReactorReaders, readers_for

LARGEST_IPV4_OCTETS = 65507


@define(eq=False)
class _Peer:
    received: list[bytes] = field(factory=list)
    errors: list[OSError] = field(factory=list)

    def reply(self, octets: Any) -> None:
        self.received.append(bytes(octets))

    def failed(self, error: OSError) -> None:
        self.errors.append(error)


class _FastPath:
    poller = object()


class SocketTests(SynchronousTestCase):
    """Opening them."""

    def open(self, *binds: str, port: int | None = None) -> list[socket.socket]:
        opened = open_datagram_sockets("front", binds, port)
        for sock in opened:
            self.addCleanup(sock.close)
        return opened

    def test_one_port_for_all(self) -> None:
        """Both families, on the same port, which the system chose."""
        opened = self.open()
        self.assertEqual([sock.getsockname()[0] for sock in opened], ["0.0.0.0", "::"])
        self.assertEqual(len({sock.getsockname()[1] for sock in opened}), 1)

    def test_taken(self) -> None:
        """A taken port is told, and nothing stays open."""
        (first,) = self.open("127.0.0.1")
        port = first.getsockname()[1]
        error = self.assertRaises(
            ListenError, open_datagram_sockets, "front", ("127.0.0.2", "127.0.0.1"), port
        )
        self.assertIn(f"127.0.0.1:{port}", str(error))
        self.assertIn("another program", str(error))
        self.open("127.0.0.2", port=port)

    def test_not_ours(self) -> None:
        """An address that this machine does not have."""
        error = self.assertRaises(ListenError, open_datagram_sockets, "front", ("192.0.2.1",), None)
        self.assertIn("does not have it", str(error))

    def test_beside(self) -> None:
        """One more socket on the port of a wildcard; to everybody else it stays taken."""
        (wildcard,) = self.open("0.0.0.0")
        port = wildcard.getsockname()[1]
        beside = open_beside(wildcard, "127.0.0.9")
        assert beside is not None
        self.addCleanup(beside.close)
        self.assertEqual(beside.getsockname(), ("127.0.0.9", port))
        for host in ("127.0.0.9", "127.0.0.10", "0.0.0.0"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                error = self.assertRaises(OSError, other.bind, (host, port))
                self.assertEqual(error.errno, errno.EADDRINUSE)
        self.assertIsNone(open_beside(wildcard, "192.0.2.1"))
        self.assertEqual(wildcard.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), 0)

    def test_destination(self) -> None:
        """What is written can be read; broadcast and multicast are nobody's address."""
        for place in (("192.0.2.1", 0), ("2001:db8::1", 0), ("fe80::1", 7)):
            level, kind, data = write_source(*place)[0]
            if ":" not in place[0]:
                # What arrives has the destination as well.
                data = data[:8] + data[4:8]
            self.assertEqual(read_destination([(level, kind, data)]), place)
        ours, broadcast = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.255")
        to_many = (socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + ours + broadcast)
        self.assertIsNone(read_destination([to_many]))
        group = socket.inet_pton(socket.AF_INET6, "ff02::1") + bytes(4)
        self.assertIsNone(read_destination([(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, group)]))
        self.assertIsNone(read_destination([]))


class PathMixin:
    """A client, a listening port and an upstream, on either kind of readers."""

    data_path: Any

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.path = DatagramPath(self.reactor, self.data_path)
        self.counts = Counts()
        self.arrivals: list[tuple[DatagramPort, Any, bytes]] = []

    def listen(self, host: str) -> tuple[DatagramPort | WildcardPort, int]:
        """Open a listening socket."""
        (sock,) = open_datagram_sockets("front", (host,), None)
        port = self.path.listen(sock, self.counts, lambda *arrival: self.arrivals.append(arrival))
        self.addCleanup(self.path.close, port)  # type: ignore[attr-defined]
        return port, sock.getsockname()[1]

    def client(self, host: str, port: int) -> socket.socket:
        """A client of it."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)  # type: ignore[attr-defined]
        sock.settimeout(2)
        sock.connect((host, port))
        return sock

    def test_readers(self) -> None:
        """What suits the data path."""
        expected = EpollReaders if self.data_path else ReactorReaders
        self.assertIsInstance(readers_for(self.reactor, self.data_path), expected)  # type: ignore[attr-defined]

    def test_arrives_and_is_answered(self) -> None:
        """Whole, empty or as large as can be; the reply comes from where the client wrote to."""
        for host in ("127.0.0.1", "::1"):
            _, number = self.listen(host)
            client = self.client(host, number)
            for octets in (b"", b"x", bytes(range(256)) * 255 + bytes(LARGEST_IPV4_OCTETS - 65280)):
                client.send(octets)
                self.reactor.turn()
                port, name, received = self.arrivals.pop()
                self.assertEqual(received, octets)  # type: ignore[attr-defined]
                port.sendto(octets, port.destination(name))
                self.assertEqual(client.recv(65536), octets)  # type: ignore[attr-defined]

    def test_wildcard(self) -> None:
        """Replies leave from the address that was written to, which soon has a socket of its own."""
        for wildcard, hosts in (("0.0.0.0", ("127.0.0.1", "127.0.0.5")), ("::", ("::1",))):
            _, number = self.listen(wildcard)
            for host in hosts:
                client = self.client(host, number)
                descriptors = []
                for octets in (b"first", b"second"):
                    client.send(octets)
                    self.reactor.turn()
                    port, name, received = self.arrivals.pop()
                    self.assertEqual((port.address.host, received), (host, octets))  # type: ignore[attr-defined]
                    port.sendto(octets, port.destination(name))
                    self.assertEqual(client.recv(65536), octets)  # type: ignore[attr-defined]
                    descriptors.append(port.descriptor)
                self.assertIsNotNone(descriptors[0])  # type: ignore[attr-defined]
                self.assertEqual(*descriptors)  # type: ignore[attr-defined]

    def test_wildcard_without_sockets_beside(self) -> None:
        """Where there can be none, replies still leave from the right address."""
        self.patch(  # type: ignore[attr-defined]
            __import__("pmmux.transport.datagram", fromlist=["x"]), "SOCKETS_BESIDE_LIMIT", 0
        )
        for wildcard, host in (("0.0.0.0", "127.0.0.6"), ("::", "::1")):
            _, number = self.listen(wildcard)
            client = self.client(host, number)
            client.send(b"x")
            self.reactor.turn()
            port, name, _ = self.arrivals.pop()
            self.assertIsNone(port.descriptor)  # type: ignore[attr-defined]
            port.sendto(b"answer", port.destination(name))
            self.assertEqual(client.recv(100), b"answer")  # type: ignore[attr-defined]

    def test_batch(self) -> None:
        """A batch for a session goes to its C{send}, is counted, and makes no arrivals."""
        port, number = self.listen("127.0.0.1")
        client = self.client("127.0.0.1", number)
        assert isinstance(port, DatagramPort)
        taken = _Session()
        client.send(b"")
        self.reactor.turn()
        _, name, _ = self.arrivals.pop()
        self.assertEqual(port.source_of(name), client.getsockname())  # type: ignore[attr-defined]
        port.sessions[name] = taken
        for index in range(100):
            client.send(b"%d" % index)
        for _ in range(3):
            self.reactor.turn() if len(taken.received) < 100 else None
        self.assertEqual(taken.received, [b"%d" % index for index in range(100)])  # type: ignore[attr-defined]
        self.assertEqual(  # type: ignore[attr-defined]
            (self.arrivals, taken.datagrams_from_client, self.counts.datagrams, self.counts.octets),
            ([], 100, 101, 190),
        )

    def test_upstream(self) -> None:
        """What an upstream says reaches the peer; closing it is idempotent."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)  # type: ignore[attr-defined]
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        peer = _Peer()
        target = Target("127.0.0.1", server.getsockname()[1])
        upstream = run_now(self.path.connect_target(target, peer))
        upstream.send(b"question")
        question, name = server.recvfrom(100)
        self.assertEqual((question, name), (b"question", upstream.local_name))  # type: ignore[attr-defined]
        server.sendto(b"answer", name)
        server.sendto(b"", name)
        self.reactor.turn()
        self.assertEqual(peer.received, [b"answer", b""])  # type: ignore[attr-defined]
        upstream.close()
        upstream.close()

    def test_upstream_refuses(self) -> None:
        """A closed port is told to the peer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", closed.getsockname()[1])
        peer = _Peer()
        upstream = self.path.connect(address, peer)
        self.addCleanup(upstream.close)  # type: ignore[attr-defined]
        upstream.send(b"x")
        self.reactor.turn()
        self.assertEqual([error.errno for error in peer.errors], [errno.ECONNREFUSED])  # type: ignore[attr-defined]

    def test_no_way(self) -> None:
        """What cannot be reached at all is an error at once."""
        with self.assertRaises(UpstreamError):  # type: ignore[attr-defined]
            run_now(self.path.connect_target(Target("", 0, "/run/x"), _Peer()))
        with self.assertRaises(UpstreamError):  # type: ignore[attr-defined]
            self.path.connect(Address("255.255.255.255", 9), _Peer())


@define(eq=False)
class _Session:
    received: list[bytes] = field(factory=list)
    datagrams_from_client: int = 0
    octets_from_client: int = 0
    sends_by: int | None = None

    def send(self, octets: Any) -> None:
        self.received.append(bytes(octets))


class EpollPathTests(PathMixin, SynchronousTestCase):
    """On a poller."""

    data_path = _FastPath()


class EpollPathWithoutBatchesTests(PathMixin, SynchronousTestCase):
    """On a poller, where the system or its libraries cannot do several at once."""

    data_path = _FastPath()

    def setUp(self) -> None:
        self.patch(datagram_messages, "ARE_THERE", False)
        super().setUp()

    def test_plain(self) -> None:
        """Its ports are plain ones."""
        self.assertFalse(self.path.is_batching)


class ReactorPathTests(PathMixin, SynchronousTestCase):
    """On the reactor's readers."""

    data_path = None
