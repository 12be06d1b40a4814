"""Datagrams through the real process: to and fro, by content, and what must not happen."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from typing import Any

from pmmux.datagrams.admission import ROUNDS_FROM_HERE
from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, find_program
from tests.support.datagrams import (
    LARGEST_IPV4_PAYLOAD_OCTETS,
    DatagramServer,
    ask,
    datagram_client,
    hears_nothing,
    is_bound,
    listens,
    start_server,
)
from tests.support.process import descriptors
from tests.support.waiting import free_port, wait_for

LISTENER = """
[listener front]
protocol = udp
bind = {bind}
port = ?
{listener}

"""
BACKEND = """
[backend {name}]
protocol = pass
target = {target}
{condition}
"""


def config(*backends: str, bind: str = "127.0.0.1", listener: str = "", more: str = "") -> str:
    """One listener with C{backends}."""
    return more + LISTENER.format(bind=bind, listener=listener) + "".join(backends)


def backend(name: str, target: object, condition: str = "") -> str:
    """A backend at a port of 127.0.0.1, or elsewhere."""
    where = f"127.0.0.1:{target}" if isinstance(target, int) else target
    return BACKEND.format(name=name, target=where, condition=condition)


class DatagramTests:
    """On either data path."""

    def test_to_and_fro(self: PmmuxCase) -> None:
        """Every size, the empty one included, over both families; each client has its answers."""
        server = DatagramServer(self)
        started = self.start(config(backend("up", server.port), bind="127.0.0.1, ::1"))
        clients = [
            datagram_client(self, (host, started.port)) for host in ("127.0.0.1", "::1") for _ in range(3)
        ]
        for size in (0, 1, 1200, 9000, LARGEST_IPV4_PAYLOAD_OCTETS):
            for number, client in enumerate(clients):
                octets = bytes([number]) * size
                self.assertEqual(ask(client, octets), octets)
        self.assertEqual(len(server.clients), len(clients))

    def test_from_the_address_written_to(self: PmmuxCase) -> None:
        """On all addresses: a connected client hears the answer, so it came from where it wrote to."""
        server = DatagramServer(self)
        listening = "[listener front]\nprotocol = udp\nport = ?\n"
        started = self.start(listening + backend("up", server.port))
        self.assertEqual(len(started.places["front"]), 2)
        for host in ("127.0.0.1", "127.3.2.1", "::1"):
            client = datagram_client(self, (host, started.port))
            for octets in (b"first", b"second", bytes(30000)):
                self.assertEqual(ask(client, octets), octets)

    def test_upstream_by_name_and_ipv6(self: PmmuxCase) -> None:
        """Targets as names, and over IPv6."""
        four = DatagramServer(self, lambda octets: b"4")
        six = DatagramServer(self, lambda octets: b"6", host="::1")
        started = self.start(
            config(
                backend("six", f"[::1]:{six.port}", "preview = ^six"),
                backend("name", f"localhost:{four.port}"),
            )
        )
        self.assertEqual(ask(datagram_client(self, started.port), b"six"), b"6")
        # The name may stand for ::1 first, where nobody is: then the next datagram tries again.
        client = datagram_client(self, started.port, 1)

        def answered() -> bool:
            client.send(b"four")
            try:
                return client.recv(100) == b"4"
            except OSError:
                return False

        wait_for(answered, "an answer by name")

    def test_upstream_comes_back(self: PmmuxCase) -> None:
        """One that is gone counts as failed; the client's next datagrams go elsewhere."""
        first = DatagramServer(self, lambda octets: b"first")
        second = DatagramServer(self, lambda octets: b"second")
        started = self.start(config(backend("a", first.port), backend("b", second.port)))
        client = datagram_client(self, started.port)
        self.assertEqual(ask(client, b"x"), b"first")
        first.stop()
        client.send(b"lost")
        wait_for(lambda: _tried(client), "an answer of the other")

    def test_silence(self: PmmuxCase) -> None:
        """What matches nothing gets no answer, and is in the log."""
        started = self.start(config(backend("dns", 9, "detect = dns")))
        client = datagram_client(self, started.port)
        client.send(b"hello?")
        self.assertTrue(hears_nothing(client))
        (event,) = started.wait_finished(1)
        self.assertEqual((event["outcome"], event["transport"]), ("no-backend", "udp"))

    def test_idle_and_log(self: PmmuxCase) -> None:
        """A session ends by itself, its socket is closed, and its line says what moved."""
        server = DatagramServer(self, lambda octets: octets * 2)
        started = self.start(config(backend("up", server.port), more="[pmmux]\nudp-idle-timeout = 1s\n"))
        before = descriptors(started.pid)["socket"]
        self.assertEqual(ask(datagram_client(self, started.port), b"12345"), b"1234512345")
        self.assertEqual(descriptors(started.pid)["socket"], before + 1)
        (event,) = started.wait_finished(1)
        self.assertEqual(
            [event[name] for name in ("outcome", "backend", "octets_from_client", "octets_from_upstream")],
            ["idle-timeout", "up", 5, 10],
        )
        self.wait_closed(started, before)

    def test_noop(self: PmmuxCase) -> None:
        """Swallows everything."""
        started = self.start(config("[backend hole]\nprotocol = noop\n"))
        client = datagram_client(self, started.port)
        client.send(b"hello?")
        client.send(b"hello?")
        self.assertTrue(hears_nothing(client))

    def test_message_affinity(self: PmmuxCase) -> None:
        """Each datagram goes where it belongs."""
        a = DatagramServer(self, lambda octets: b"A")
        b = DatagramServer(self, lambda octets: b"B")
        started = self.start(
            config(
                backend("a", a.port, "preview = ^a"),
                backend("b", b.port, "preview = ^b"),
                listener="affinity = message",
            )
        )
        client = datagram_client(self, started.port)
        self.assertEqual([ask(client, octets) for octets in (b"a1", b"b1", b"a2")], [b"A", b"B", b"A"])
        self.assertEqual([list(server.clients.values()) for server in (a, b)], [[2], [1]])

    def test_our_own_listener_as_target(self: PmmuxCase) -> None:
        """A loop through ourselves ends at its first round."""
        port = free_port()
        started = self.start(
            f"[listener front]\nprotocol = udp\nbind = 127.0.0.1\nport = {port}\n" + backend("me", port)
        )
        client = datagram_client(self, port)
        client.send(b"round")
        self.assertTrue(hears_nothing(client))
        self.assertLess(descriptors(started.pid)["socket"], 20)

    def test_two_facing_each_other(self: PmmuxCase) -> None:
        """Two processes that are each other's upstream come to rest."""
        ports = [free_port(), free_port()]
        text = "[listener front]\nprotocol = udp\nbind = 127.0.0.1\nport = {}\n"
        pair = [
            self.start(text.format(mine) + backend("other", other), descriptor_limit=8000)
            for mine, other in (ports, ports[::-1])
        ]
        client = datagram_client(self, ports[0])
        client.send(b"round and round")

        def come_to_rest() -> bool:
            before = [descriptors(each.pid)["socket"] for each in pair]
            self.assertTrue(hears_nothing(client))
            self.assertLess(sum(before), 2 * ROUNDS_FROM_HERE + 100)
            return [descriptors(each.pid)["socket"] for each in pair] == before

        wait_for(come_to_rest, "rest")

    def test_stops(self: PmmuxCase) -> None:
        """Sessions that are in use go on for the drain; silent ones hold nothing up."""
        server = DatagramServer(self)
        started = self.start(config(backend("up", server.port)))
        ask(datagram_client(self, started.port), b"x")
        self.assertEqual(started.stop(seconds=8), 0)
        self.assertEqual(len(started.finished()), 1)

    def test_descriptors_run_out(self: PmmuxCase) -> None:
        """Sessions beyond the descriptor limit are refused; those that are there live on."""
        server = DatagramServer(self)
        started = self.start(config(backend("up", server.port)), descriptor_limit=64, may_trouble=True)
        first = datagram_client(self, started.port)
        self.assertEqual(ask(first, b"x"), b"x")
        self.assertEqual(ask(first, b"y"), b"y")
        for number in range(100):
            datagram_client(self, started.port).send(b"%d" % number)
        self.assertEqual(ask(first, b"z"), b"z")


def _tried(client: socket.socket) -> bool:
    client.settimeout(0.3)
    client.send(b"again")
    try:
        return client.recv(100) == b"second"
    except OSError:
        return False


class FastDatagramTests(DatagramTests, OnFastPath, PmmuxCase):
    """On epoll."""


class PortableDatagramTests(DatagramTests, OnPortablePath, PmmuxCase):
    """On the reactor's own readers."""


def needs_programs(*programs: str) -> str | None:
    """The reason to skip, where one of them is missing."""
    missing = [program for program in programs if find_program(program) is None]
    return f"missing: {', '.join(missing)}" if missing else None


class NameServers(PmmuxCase):
    """dig and dnsmasq."""

    def setUp(self) -> None:
        super().setUp()
        self.servers: dict[int, subprocess.Popen[Any]] = {}

    def start_dnsmasq(self, address: str) -> int:
        """A name server that gives every name this address, and has answered."""
        program = find_program("dnsmasq") or ""
        port, process = start_server(
            self,
            lambda port: [
                program,
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                f"--port={port}",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                f"--address=/#/{address}",
                "--user=",
                f"--pid-file={self.directory}/dnsmasq-{port}.pid",
            ],
            lambda port: is_bound(port) and self.finds(port, address),
        )
        self.servers[port] = process
        return port

    def dig(self, port: int, name: str, *more: str, server: str = "127.0.0.1") -> str:
        """Ask."""
        command = ["dig", f"@{server}", "-p", str(port), name, "+short", "+tries=1", "+time=5", *more]
        return self.run_command(command).strip()

    def finds(self, port: int, address: str, *more: str) -> bool:
        """Whether a name has that address."""
        try:
            return self.dig(port, "x.example", "+time=1", *more) == address
        except AssertionError:
            return False


class DNSTests(NameServers):
    """By what is asked for."""

    skip = needs_programs("dig", "dnsmasq")

    def test_by_name_and_type(self) -> None:
        """Two servers behind one port, by what is asked for."""
        one, two = self.start_dnsmasq("192.0.2.1"), self.start_dnsmasq("192.0.2.2")
        started = self.start(
            "[listener front]\nprotocol = udp\nport = ?\n"
            + backend("one", one, r"detect = dns" "\n" r"property[dns.name] = (.*\.)?example\.org")
            + backend("two", two, "detect = dns")
        )
        for server in ("127.0.0.1", "::1"):
            self.assertEqual(self.dig(started.port, "example.org", server=server), "192.0.2.1")
            self.assertEqual(self.dig(started.port, "www.Example.org", server=server), "192.0.2.1")
            self.assertEqual(self.dig(started.port, "example.com", server=server), "192.0.2.2")

    def test_health(self) -> None:
        """A server that falls silent, without a refusal, is left out when the check has asked it."""
        one, two = self.start_dnsmasq("192.0.2.1"), self.start_dnsmasq("192.0.2.2")
        check = """
[health-check one]
backend = one
type = dns
query = example.org
query-type = A
interval = 500
timeout = 300
failure-threshold = 1
recovery-threshold = 1
"""
        started = self.start(config(backend("one", one), backend("two", two), check))
        self.assertEqual(self.dig(started.port, "x.example"), "192.0.2.1")
        self.servers[one].send_signal(signal.SIGSTOP)
        wait_for(lambda: self.finds(started.port, "192.0.2.2"), "the other server")
        self.servers[one].send_signal(signal.SIGCONT)
        wait_for(lambda: self.finds(started.port, "192.0.2.1"), "the first server again")


class DTLSTests(PmmuxCase):
    """openssl s_client and s_server."""

    skip = needs_programs("openssl")

    def start_server(self, name: str) -> int:
        """A DTLS server with a certificate of that name."""
        key, certificate = self.directory / f"{name}.key", self.directory / f"{name}.pem"
        self.run_command(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
                "-subj",
                f"/CN={name}",
                "-days",
                "2",
            ]
        )
        identity = ["-quiet", "-key", str(key), "-cert", str(certificate)]
        command = ["openssl", "s_server", "-dtls1_2", *identity, "-accept"]
        return start_server(self, lambda port: [*command, f"127.0.0.1:{port}"])[0]

    def test_by_server_name(self) -> None:
        """Two servers behind one port, by the name in the ClientHello."""
        names = ("one.example", "two.example")
        ports = {name: self.start_server(name) for name in names}
        started = self.start(config(*(backend(name, ports[name], f"sni = {name}") for name in names)))
        for name in names:

            def shakes_hands(name: str = name) -> bool:
                written = self.run_command(
                    [
                        "timeout",
                        "5",
                        "openssl",
                        "s_client",
                        "-dtls1_2",
                        "-servername",
                        name,
                        "-connect",
                        f"127.0.0.1:{started.port}",
                    ],
                    input=b"Q\n",
                )
                self.assertIn(f"CN = {name}", written)
                self.assertIn("Cipher    : ECDHE", written)
                return True

            wait_for(shakes_hands, "a handshake")


class IperfTests(PmmuxCase):
    """iperf3 over UDP, both ways; its control connection is TCP on the same port."""

    skip = needs_programs("iperf3")

    def test_both_ways(self) -> None:
        """At a moderate rate hardly anything is lost."""
        command = ["iperf3", "-s", "-B", "127.0.0.1", "-p"]
        upstream, _ = start_server(self, lambda port: [*command, str(port)], listens)
        port = free_port()
        place = f"bind = 127.0.0.1\nport = {port}\n"
        self.start(
            f"[listener tcp]\n{place}[listener udp]\nprotocol = udp\n{place}" + backend("iperf", upstream),
            listeners=2,
        )
        for more in ([], ["-R"]):

            def measure(more: list[str] = more) -> dict[str, float]:
                written = self.run_command(
                    [
                        "iperf3",
                        "-c",
                        "127.0.0.1",
                        "-p",
                        str(port),
                        "-u",
                        "-b",
                        "20M",
                        "-l",
                        "1200",
                        "-t",
                        "2",
                        "-J",
                        *more,
                    ]
                )
                found: dict[str, float] = json.loads(written)["end"]["sum"]
                return found

            result = measure()
            self.assertGreater(result["packets"], 500)
            self.assertLess(result["lost_percent"], 5)
