"""Clients that a proxy speaks for, by PROXY headers in its datagrams."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pmmux.datagrams.options import SessionLimits
from pmmux.datagrams.table import SessionTable
from pmmux.negotiators.proxy_protocol import ProxyProtocolPolicy
from pmmux.test.datagram_doubles import CLIENT, OURS, World
from pmmux.wire.proxyheader import Endpoint, ProxyHeader, write_v2
from pmmux.wire.proxytlv import Facts

PROXY = ("10.0.0.5", 4000)
TRUSTED = (ipaddress.ip_network("10.0.0.0/8"),)
FRONT = Endpoint("203.0.113.80", 53)


def header(host: str, port: int, transport: str = "udp", facts: Facts | None = None) -> bytes:
    """What announces one client."""
    told = ProxyHeader(2, False, "ipv4", transport, Endpoint(host, port), FRONT, facts or Facts())
    return write_v2(told, False)


ONE, TWO = header("192.0.2.1", 5001), header("192.0.2.2", 5002)


class AnnouncedTests(SynchronousTestCase):
    """On a listener with a policy."""

    def world(self, mode: str, limits: SessionLimits | None = None, **backends: Any) -> World:
        """A listener that believes 10.0.0.0/8."""
        world = World(limits, **(backends or {"any": {}}))
        policy = ProxyProtocolPolicy(mode, TRUSTED)
        world.table = SessionTable(world.services, "front", limits or SessionLimits(4096), policy)
        world.port = world.make_port(OURS)
        return world

    def test_many_by_one_socket(self) -> None:
        """Each announced client has a session of its own; replies go to the proxy, without a header."""
        for mode in ("use", "require"):
            world = self.world(mode)
            for octets in (ONE + b"a", TWO + b"b", ONE + b"c"):
                world.client_sends(octets, PROXY)
            backend = world.backends["any"]
            self.assertEqual([each.received for each in backend.opened], [[b"a", b"c"], [b"b"]])
            self.assertEqual(
                [str(each.remote) for each in backend.clients], ["192.0.2.1:5001", "192.0.2.2:5002"]
            )
            self.assertEqual({str(each.local) for each in backend.clients}, {"203.0.113.80:53"})
            backend.opened[1].says(b"answer")
            self.assertEqual(world.sent, [(PROXY, b"answer")])
            self.assertEqual(world.port.sessions, {})

    def test_first_datagram_only(self) -> None:
        """What has no header belongs to whom the same socket of the proxy announced last."""
        world = self.world("require")
        other = ("10.0.0.5", 4001)
        for octets, name in ((ONE + b"a", PROXY), (TWO + b"b", other), (b"c", PROXY), (b"d", other)):
            world.client_sends(octets, name)
        self.assertEqual(
            [each.received for each in world.backends["any"].opened], [[b"a", b"c"], [b"b", b"d"]]
        )

    def test_required(self) -> None:
        """Without a header where one is required: silence, and a line in the log."""
        world = self.world("require")
        world.client_sends(b"x", PROXY)
        world.client_sends(b"y", CLIENT)
        self.assertEqual([each.received for each in world.backends["any"].opened], [[b"y"]])
        self.assertEqual(world.outcomes(), ["negotiation-failed"])
        self.assertIn("required", world.finished[0][0].trace.detail)
        self.assertEqual(len(world.table.sessions), 1)

    def test_used_without_a_header(self) -> None:
        """Then the proxy is a client like any other."""
        world = self.world("use")
        for octets in (b"x", b"y", ONE + b"a"):
            world.client_sends(octets, PROXY)
        self.assertEqual([each.received for each in world.backends["any"].opened], [[b"x", b"y"], [b"a"]])

    def test_refused(self) -> None:
        """From anybody else, where none is allowed, broken, and for another transport."""
        cut_off = ONE[:-1]
        tcp = header("192.0.2.1", 5001, "tcp")
        for mode, name, octets in (
            ("use", CLIENT, ONE),
            ("require", CLIENT, ONE),
            ("reject", PROXY, ONE),
            ("reject", CLIENT, ONE),
            ("use", PROXY, cut_off),
            ("use", PROXY, tcp),
            ("use", PROXY, b"PROXY TCP4 192.0.2.1 203.0.113.80 5001 53\r\nx"),
        ):
            world = self.world(mode)
            world.client_sends(octets, name)
            self.assertEqual(world.outcomes(), ["negotiation-failed"])
            self.assertEqual((world.sent, world.backends["any"].opened, world.table.sessions), ([], [], {}))

    def test_properties(self) -> None:
        """What it tells is known to conditions, and again when the upstream failed; the log has both."""
        world = self.world(
            "require",
            mine={
                "remote-ip": "192.0.2.0/24",
                "property[proxy.authority]": "shop",
                "property[socket.peer-ip]": "10.0.0.5",
            },
        )
        told = header("192.0.2.1", 5001, facts=Facts(authority="shop"))
        world.client_sends(told + b"a", PROXY)
        backend = world.backends["mine"]
        backend.last.peer.failed(ConnectionRefusedError(111, "refused"))
        world.client_sends(told + b"b", PROXY)
        self.assertEqual([each.received for each in backend.opened], [[b"a"], [b"b"]])
        world.table.close()
        record = world.finished[0][0].record("killed")
        self.assertEqual((record.client, record.peer), ("192.0.2.1:5001", "10.0.0.5:4000"))

    def test_ended(self) -> None:
        """What has ended leaves nothing behind; the next header begins anew."""
        world = self.world("require")
        world.client_sends(ONE + b"a", PROXY)
        world.table.close()
        world = self.world("require")
        for _ in range(2):
            world.client_sends(ONE + b"a", PROXY)
            (session,) = world.table.sessions.values()
            world.table.finish(session, "idle-timeout")
        self.assertEqual(len(world.backends["any"].opened), 2)
        world.client_sends(b"x", PROXY)
        self.assertEqual(world.outcomes()[-1], "negotiation-failed")

    def test_by_message(self) -> None:
        """Each datagram has its header, and each client its upstream at each backend."""
        world = self.world("require", SessionLimits(10, is_by_message=True), a={"preview": "^a"}, b={})
        for octets in (ONE + b"a1", TWO + b"a2", ONE + b"b1", ONE + b"a3"):
            world.client_sends(octets, PROXY)
        received = {
            name: [each.received for each in backend.opened] for name, backend in world.backends.items()
        }
        self.assertEqual(received, {"a": [[b"a1", b"a3"], [b"a2"]], "b": [[b"b1"]]})

    def test_limits(self) -> None:
        """Limits of one address are those of the announced one."""
        world = self.world("require", SessionLimits(10, per_address=1))
        for octets in (header("192.0.2.1", 1) + b"a", header("192.0.2.1", 2) + b"b", TWO + b"c"):
            world.client_sends(octets, PROXY)
        self.assertEqual([each.received for each in world.backends["any"].opened], [[b"a"], [b"c"]])

    def test_our_own_socket_is_announced(self) -> None:
        """A proxy that sends us what we have sent to it makes no loop."""
        world = self.world("require")
        world.client_sends(ONE + b"a", PROXY)
        host, port = world.backends["any"].last.local_name
        world.client_sends(header(host, port) + b"a", PROXY)
        self.assertEqual(len(world.backends["any"].opened), 1)
