"""What must not happen over UDP: reflecting, answering nobody's questions, mistaking crowds for loops."""

from __future__ import annotations

import socket
import struct
import sys

from pmmux.test.samples.udp_quic import MATCHING as QUIC
from tests.support.case import PmmuxCase
from tests.support.datagrams import DatagramServer, ask, datagram_client, hears_nothing
from tests.support.namespaces import Namespace, enter_own_namespace, needs_namespaces
from tests.support.waiting import wait_for
from tests.test_udp import backend, config

CLIENTS_BEHIND_ONE_ADDRESS = 200
LOW_PORT = 443
SHOUT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.sendto(b"anybody?", (sys.argv[1], int(sys.argv[2])))
"""


class AmplificationTests(PmmuxCase):
    """More than was sent."""

    def answered(self, times: int, condition: str) -> bool:
        """Whether a client of QUIC gets an answer so many times as long as its first datagram."""
        server = DatagramServer(self, lambda octets: bytes(times * len(octets)))
        started = self.start(config(backend("up", server.port, condition)))
        client = datagram_client(self, started.port)
        client.send(QUIC[0])
        wait_for(lambda: server.received, "the upstream being asked")
        return not hears_nothing(client)

    def test_quic(self) -> None:
        """Three times as much, no more; unless another limit is stated."""
        self.assertTrue(self.answered(3, "detect = quic"))
        self.assertFalse(self.answered(4, "detect = quic"))
        self.assertTrue(self.answered(4, "detect = quic\namplification-limit = 4"))
        self.assertTrue(self.answered(10, "detect = quic\namplification-limit = off"))

    def test_others(self) -> None:
        """No limit where none is stated."""
        self.assertTrue(self.answered(10, ""))
        self.assertFalse(self.answered(10, "amplification-limit = 9"))


class CrowdTests(PmmuxCase):
    """Many clients with one address, which all begin alike."""

    def test_same_beginnings(self) -> None:
        """All are served, though their upstream has that address too."""
        server = DatagramServer(self)
        started = self.start(config(backend("up", server.port)))
        clients = [datagram_client(self, started.port) for _ in range(CLIENTS_BEHIND_ONE_ADDRESS)]
        for client in clients:
            client.send(b"the usual beginning")
        for client in clients:
            self.assertEqual(client.recv(100), b"the usual beginning")

    def test_limits_of_one_address(self) -> None:
        """Sessions at a time, and new ones a second."""
        server = DatagramServer(self)
        for listener, most in (("max-sessions-per-address = 3", 3), ("max-new-sessions-per-second = 1", 2)):
            started = self.start(config(backend("up", server.port), listener=listener))
            clients = [datagram_client(self, started.port) for _ in range(10)]
            for number, client in enumerate(clients):
                client.send(b"%d" % number)
            served = sum(not hears_nothing(client) for client in clients)
            self.assertTrue(1 <= served <= most, served)
            # Others have limits of their own.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
                elsewhere.settimeout(5)
                elsewhere.bind(("127.0.0.77", 0))
                elsewhere.connect(("127.0.0.1", started.port))
                self.assertEqual(ask(elsewhere, b"x"), b"x")


@needs_namespaces()
class SourceTests(PmmuxCase):
    """Who is not answered."""

    def test_low_ports(self) -> None:
        """Not on QUIC rules, unless it is allowed; elsewhere they are clients like others."""
        enter_own_namespace(self)
        server = DatagramServer(self)
        for condition, is_served in (
            ("detect = quic\namplification-limit = off", False),
            ("detect = quic\nrefuse-low-ports = false", True),
            ("", True),
            ("refuse-low-ports = true", False),
        ):
            started = self.start(config(backend("up", server.port, condition)))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(("127.0.0.1", LOW_PORT))
                client.connect(("127.0.0.1", started.port))
                client.send(QUIC[0])
                self.assertEqual(not hears_nothing(client), is_served, condition)
            if not is_served:
                self.assertEqual(started.wait_finished(1)[0]["outcome"], "source-refused")

    def test_port_0(self) -> None:
        """Nothing can be sent there, so nothing is passed on."""
        enter_own_namespace(self)
        server = DatagramServer(self)
        started = self.start(config(backend("up", server.port)))
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            for source, octets in ((0, b"from nowhere"), (4000, b"from somewhere")):
                raw.sendto(
                    struct.pack("!HHHH", source, started.port, 8 + len(octets), 0) + octets, ("127.0.0.1", 0)
                )
        wait_for(lambda: server.received, "the other one")
        self.assertEqual(server.received, [b"from somewhere"])

    def test_broadcast(self) -> None:
        """What is for everybody is for nobody here, on a listener of all addresses."""
        space = Namespace(self, 1)
        server = DatagramServer(self)
        started = self.start("[listener front]\nprotocol = udp\nport = ?\n" + backend("up", server.port))
        broadcast = space.ours.rpartition(".")[0] + ".255"
        space.run(sys.executable, "-c", SHOUT, broadcast, str(started.port))
        space.run(sys.executable, "-c", SHOUT, space.ours, str(started.port))
        wait_for(lambda: server.received, "the other one")
        self.assertEqual(server.received, [b"anybody?"])


class CheckTests(PmmuxCase):
    """A health check that asks in the upstream's own words."""

    def test_expected(self) -> None:
        """Text or octets; silence is a failure where an answer is expected, and is none where it is not."""
        answers = {b"ping": b"pong", b"\xff\xff": b"\xfe\xed"}
        server = DatagramServer(self, answers.get)
        checks = {
            "text": ("send = ping\nexpect = pong", "healthy"),
            "hex": ("send = hex:ffff\nexpect = hex:feed", "healthy"),
            "wrong": ("send = ping\nexpect = hex:feed", "unhealthy"),
            "silent": ("send = nothing\nexpect = pong", "unhealthy"),
            "unasked": ("send = nothing", "healthy"),
            "refused": ("send = ping", "unhealthy"),
        }
        closed = DatagramServer(self)
        closed.stop()
        written = ""
        for name, (lines, _) in checks.items():
            written += backend(name, closed.port if name == "refused" else server.port)
            written += f"[health-check {name}]\nbackend = {name}\ntype = udp\n{lines}\ninterval = 300\n"
            written += "timeout = 200\nfailure-threshold = 1\nrecovery-threshold = 1\n"
        started = self.start(config(written))

        def statuses() -> dict[str, str]:
            return {event["backend"]: event["status"] for event in started.events() if "before" in event}

        wait_for(lambda: len(statuses()) == len(checks), "each backend checked")
        self.assertEqual(statuses(), {name: expected for name, (_, expected) in checks.items()})
