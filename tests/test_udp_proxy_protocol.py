"""PROXY headers in datagrams: dnsdist announces clients to pmmux, and is told of clients by it."""

from __future__ import annotations

from pmmux.wire.proxyheader import Endpoint, ProxyHeader, read_proxy_header, write_v2
from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, find_program
from tests.support.datagrams import (
    DatagramServer,
    ask,
    datagram_client,
    hears_nothing,
    is_bound,
    start_server,
)
from tests.support.waiting import wait_for
from tests.test_udp import NameServers, backend, config, needs_programs

FAR_CLIENT, NEAR_CLIENT = "127.9.1.1", "127.8.1.1"
TRUSTING = "proxy-protocol = require\nproxy-protocol-from = 127.0.0.1"


def header(host: str) -> bytes:
    """What announces a client at that address."""
    ends = Endpoint(host, 5000), Endpoint("192.0.2.80", 53)
    return write_v2(ProxyHeader(2, False, "ipv4", "udp", *ends), False)


class HeaderTests:
    """On either data path, with a proxy that is the test."""

    def test_in(self: PmmuxCase) -> None:
        """Many clients by one socket of the proxy, in the log by their own names; others are refused."""
        server = DatagramServer(self)
        rest = DatagramServer(self, lambda octets: b"rest")
        started = self.start(
            config(
                backend("up", server.port, "remote-ip = 198.51.100.0/24"),
                backend("rest", rest.port),
                listener=TRUSTING,
                more="[pmmux]\nudp-idle-timeout = 1s\n",
            )
        )
        proxy = datagram_client(self, started.port)
        name = "{}:{}".format(*proxy.getsockname())
        for host in ("198.51.100.1", "198.51.100.2"):
            for octets in (b"first", b"second", bytes(1000)):
                self.assertEqual(ask(proxy, header(host) + octets), octets)
            # Of whom was announced last.
            self.assertEqual(ask(proxy, b"without"), b"without")
        self.assertEqual(ask(proxy, header("203.0.113.1") + b"x"), b"rest")
        self.assertEqual(sorted(server.clients.values()), [4, 4])
        other = datagram_client(self, started.port)
        other.send(b"no header")
        self.assertTrue(hears_nothing(other))
        events = started.wait_finished(4)
        self.assertEqual(
            sorted(
                (event["outcome"], event["client"].partition(":")[0], event.get("peer")) for event in events
            ),
            [
                ("idle-timeout", "198.51.100.1", name),
                ("idle-timeout", "198.51.100.2", name),
                ("idle-timeout", "203.0.113.1", name),
                ("negotiation-failed", "127.0.0.1", None),
            ],
        )

    def test_out(self: PmmuxCase) -> None:
        """Each datagram says whose it is; answers come back as they are."""
        server = DatagramServer(self, lambda octets: b"answer")
        started = self.start(config(backend("up", server.port, "send-proxy = v2")))
        for _ in range(2):
            client = datagram_client(self, started.port)
            for octets in (b"first", b"second", b""):
                self.assertEqual(ask(client, octets), b"answer")
                found = read_proxy_header(server.received[-1])
                self.assertIsInstance(found, ProxyHeader)
                self.assertEqual(found.transport, "udp")
                self.assertEqual((found.source.host, found.source.port), client.getsockname())
                self.assertEqual(found.destination.port, started.port)
                self.assertEqual(server.received[-1][found.octets :], octets)

    def test_through_two(self: PmmuxCase) -> None:
        """What one of ours tells, another of ours believes."""
        server = DatagramServer(self)
        inner = self.start(
            config(backend("up", server.port), listener=TRUSTING, more="[pmmux]\nudp-idle-timeout = 1s\n")
        )
        outer = self.start(config(backend("inner", inner.port, "send-proxy = v2")))
        clients = [datagram_client(self, outer.port) for _ in range(3)]
        for octets in (b"a", b"b", bytes(2000)):
            for client in clients:
                self.assertEqual(ask(client, octets), octets)
        names = sorted("{}:{}".format(*client.getsockname()) for client in clients)
        self.assertEqual(sorted(event["client"] for event in inner.wait_finished(3)), names)


class FastHeaderTests(HeaderTests, OnFastPath, PmmuxCase):
    """On epoll."""


class PortableHeaderTests(HeaderTests, OnPortablePath, PmmuxCase):
    """On the reactor's own readers."""


class DnsdistTests(NameServers):
    """A load balancer of name servers that speaks it over UDP, both ways."""

    skip = needs_programs("dig", "dnsmasq", "dnsdist")

    def start_dnsdist(self, lines: str) -> int:
        """@return: its port."""

        def command(port: int) -> list[str]:
            path = self.directory / f"dnsdist-{port}.conf"
            path.write_text(f'setLocal("127.0.0.1:{port}")\nsetACL({{"127.0.0.0/8"}})\n{lines}\n')
            program = find_program("dnsdist") or ""
            return [program, "--supervised", "--disable-syslog", "-C", str(path)]

        return start_server(self, command, is_bound)[0]

    def assert_told_apart(self, port: int) -> None:
        """Clients at one address get one answer, those at another the other."""
        for client, expected in (
            (FAR_CLIENT, "192.0.2.1"),
            (NEAR_CLIENT, "192.0.2.2"),
            (FAR_CLIENT, "192.0.2.1"),
        ):
            wait_for(
                lambda client=client, expected=expected: self.finds(port, expected, "-b", client),  # type: ignore[misc]
                f"{expected} for {client}",
            )

    def test_in(self) -> None:
        """It has one socket for all its clients, and each datagram says whose it is."""
        one, two = self.start_dnsmasq("192.0.2.1"), self.start_dnsmasq("192.0.2.2")
        started = self.start(
            config(
                backend("far", one, "remote-ip = 127.9.0.0/16"),
                backend("near", two, "detect = dns"),
                listener=TRUSTING,
            )
        )
        server = (
            f'newServer({{address="127.0.0.1:{started.port}", useProxyProtocol=true, sockets=1}}):setUp()'
        )
        self.assert_told_apart(self.start_dnsdist(server))

    def test_out(self) -> None:
        """It believes what pmmux says."""
        server = self.start_dnsmasq("192.0.2.2")
        port = self.start_dnsdist(
            'setProxyProtocolACL({"127.0.0.0/8"})\n'
            f'newServer({{address="127.0.0.1:{server}"}}):setUp()\n'
            'far = newNMG()\nfar:addMask("127.9.0.0/16")\n'
            'addAction(NetmaskGroupRule(far), SpoofAction("192.0.2.1"))'
        )
        started = self.start(config(backend("names", port, "send-proxy = v2")))
        self.assert_told_apart(started.port)
        # Without a header it answers nobody.
        self.assertFalse(self.finds(port, "192.0.2.2"))
