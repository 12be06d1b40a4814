"""The PROXY protocol's negotiator, and what is announced to upstreams."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.announcing import (
    ANNOUNCING_OPTIONS,
    announcement_of,
    announcing_faults,
)
from pmmux.config.draft import LISTENER
from pmmux.config.faults import FaultList
from pmmux.config.listeners import make_listener
from pmmux.connection import Connection
from pmmux.errors import RouteError
from pmmux.interfaces import INegotiator
from pmmux.model import Address, Client
from pmmux.negotiators.proxy_protocol import (
    OPTIONS,
    ProxyProtocolNegotiator,
    ProxyProtocolPolicy,
    announced_by_datagram,
    negotiator,
    policy_of,
)
from pmmux.test.doubles import make_client, make_connection, read_options
from pmmux.test.test_wire_proxyheader import BROKEN, EVERYTHING, V1, WHOLE, v2
from pmmux.transport.timeouts import TimeoutQueue
from pmmux.wire.proxyheader import read_proxy_header

TRUSTED = (ipaddress.ip_network("198.51.100.0/24"),)
DETECT_SECONDS = 3.0


class NegotiatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection: Connection

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def negotiate(self, mode: str, *chunks: bytes, trusted: Any = TRUSTED, **more: Any) -> Deferred[Any]:
        policy = ProxyProtocolPolicy(mode, trusted)
        queue = TimeoutQueue(self.clock, DETECT_SECONDS)
        self.connection = make_connection(self.clock, *chunks, **more)

        async def proceed(connection: Connection) -> Connection:
            return connection

        return Deferred.fromCoroutine(
            ProxyProtocolNegotiator(policy, queue).negotiate(self.connection, proceed)
        )

    def refused(self, *args: Any, **more: Any) -> str:
        error = self.failureResultOf(self.negotiate(*args, **more), RouteError).value
        return error.detail

    def used(self, *args: Any, **more: Any) -> Connection:
        return self.successResultOf(self.negotiate(*args, **more))

    def test_interface(self) -> None:
        verifyObject(INegotiator, negotiator)

    def test_header_is_used(self) -> None:
        for octets in (V1, v2()):
            found = self.used("use", octets + b"hello")
            self.assertEqual(found.client.remote, Address("192.0.2.1", 56324))
            self.assertEqual(found.client.local, Address("198.51.100.2", 443))
            self.assertEqual(found.client.peer, make_client().remote)
            self.assertEqual(found.preview.octets, b"hello")
            self.assertEqual(found.properties["socket.peer-ip"], "198.51.100.7")
            self.assertEqual(found.properties["socket.peer-port"], "50000")
        self.assertEqual(found.properties["proxy.version"], "2")
        self.assertEqual(
            found.trace.negotiators, [("proxy-protocol", "198.51.100.7:50000 for 192.0.2.1:56324")]
        )

    def test_every_split(self) -> None:
        for octets in (V1 + b"hello", v2(tlvs=EVERYTHING) + b"hello"):
            for at in range(1, len(octets)):
                found = self.used("require", octets[:at], octets[at:])
                self.assertEqual(found.client.remote.host, "192.0.2.1")
                self.assertEqual(found.preview.octets, b"hello")

    def test_octet_by_octet(self) -> None:
        octets = v2(tlvs=EVERYTHING)
        result = self.negotiate("require", b"")
        result.addErrback(lambda failure: failure.trap(RouteError))
        result = self.negotiate("require")
        for at in range(len(octets)):
            self.assertNoResult(result)
            self.connection.stream.transport.deliver(octets[at : at + 1])
        found = self.successResultOf(result)
        self.assertEqual(found.preview.octets, b"")
        self.assertFalse(found.preview.final)

    def test_mapped_address(self) -> None:
        found = self.used("use", b"PROXY TCP6 ::ffff:192.0.2.9 2001:db8::1 1 2\r\n")
        self.assertEqual(found.client.remote, Address("192.0.2.9", 1))
        self.assertEqual(found.client.local, Address("2001:db8::1", 2, "ipv6"))

    def test_unix_addresses(self) -> None:
        found = self.used("use", WHOLE["v2 unix"])
        self.assertEqual(found.client.remote, Address("/run/a", 0, "unix"))

    def test_no_addresses(self) -> None:
        for name in ("v1 unknown", "v2 local", "v2 local with addresses", "v2 unspecified"):
            found = self.used("require", WHOLE[name] + b"x")
            self.assertEqual(found.client, make_client())
            self.assertEqual(found.preview.octets, b"x")
            self.assertEqual(found.properties["proxy.command"], "local" if "local" in name else "proxy")

    def test_properties(self) -> None:
        properties = self.used("use", v2(tlvs=EVERYTHING)).properties
        expected = {
            "proxy.authority": "example.org",
            "proxy.alpn": "h2",
            "proxy.unique-id": "%00id",
            "proxy.netns": "blue",
            "proxy.ssl": "true",
            "proxy.ssl.client-certificate": "false",
            "proxy.ssl.verified": "false",
            "proxy.ssl.version": "TLSv1.3",
            "proxy.ssl.common-name": "someone",
            "proxy.tlv.ea": b"again".hex(),
        }
        self.assertEqual({name: properties.get(name) for name in expected}, expected)

    def test_without_header(self) -> None:
        self.assertEqual(self.used("use", b"GET /").preview.octets, b"GET /")
        self.assertEqual(self.used("reject", b"GET /").client, make_client())
        self.assertIn("required", self.refused("require", b"GET /"))
        self.assertIn("required", self.refused("require", b"PROX", b""))

    def test_header_is_refused(self) -> None:
        self.assertIn("none is allowed", self.refused("reject", V1))
        for mode in ("use", "require"):
            self.assertIn("198.51.100.7", self.refused(mode, V1, trusted=()))
            self.assertIn("198.51.100.7", self.refused(mode, BROKEN["v1 bare LF"], trusted=()))

    def test_others_need_none(self) -> None:
        self.assertEqual(self.used("require", b"GET /", trusted=()).preview.octets, b"GET /")

    def test_unix_peers_are_trusted(self) -> None:
        peer = Client("tcp", Address("", 0, "unix"), Address("/run/x", 0, "unix"))
        self.assertEqual(self.used("require", V1, trusted=(), client=peer).client.remote.host, "192.0.2.1")

    def test_broken(self) -> None:
        for name, octets in BROKEN.items():
            self.assertIn("broken", self.refused("use", octets), name)

    def test_other_transport(self) -> None:
        self.assertIn("udp", self.refused("use", WHOLE["v2 UDP"]))

    def test_cut_off(self) -> None:
        for octets in (V1, v2()):
            for at in (12, 15):
                self.assertIn("cut off", self.refused("use", octets[:at], b""))

    def test_too_long_for_the_preview(self) -> None:
        self.assertIn("too long", self.refused("use", WHOLE["v2 longest"][:100], limit_octets=1024))

    def test_gone(self) -> None:
        error = self.failureResultOf(self.negotiate("require", b""), RouteError).value
        self.assertEqual(error.outcome, "client-gone")

    def test_silence(self) -> None:
        result = self.negotiate("use")
        self.clock.advance(DETECT_SECONDS - 0.1)
        self.assertNoResult(result)
        self.clock.advance(0.2)
        self.assertTrue(self.successResultOf(result).preview.final)

    def test_deadline_is_absolute(self) -> None:
        result = self.negotiate("use")
        for octet in V1[:6]:
            self.clock.advance(0.6)
            if not result.called:
                self.connection.stream.transport.deliver(bytes((octet,)))
        self.successResultOf(result)

    def test_deadline_in_a_certain_header(self) -> None:
        result = self.negotiate("use", V1[:20])
        self.clock.advance(DETECT_SECONDS)
        self.assertIn("cut off", self.failureResultOf(result, RouteError).value.detail)

    def test_reading_goes_on_after_a_full_preview(self) -> None:
        connection = self.used("use", V1 + bytes(100), limit_octets=128)
        self.assertTrue(connection.stream.transport.is_reading)
        self.assertFalse(connection.preview.final)

    def test_cancelling(self) -> None:
        result = self.negotiate("use")
        result.cancel()
        self.failureResultOf(result)


class ConfigurationTests(SynchronousTestCase):
    def make(self, **written: str) -> Any:
        from pmmux.config.schema import LISTENER_SECTION

        options = (*LISTENER_SECTION.options, *OPTIONS)
        given = {"port": "1", **{name.replace("_", "-"): text for name, text in written.items()}}
        return make_listener(read_options(options, given, LISTENER, "front"), FaultList(["test"]))

    def test_policy(self) -> None:
        self.assertIsNone(policy_of(self.make()))
        self.assertIsNone(negotiator.for_listener(self.make(), None, None))
        policy = policy_of(self.make(proxy_protocol="require", proxy_protocol_from="10.0.0.1, 2001:db8::/32"))
        self.assertEqual(
            (policy.mode, [str(each) for each in policy.trusted]),
            ("require", ["10.0.0.1/32", "2001:db8::/32"]),
        )
        self.assertTrue(policy.trusts(Address("2001:db8::5", 1, "ipv6")))
        self.assertFalse(policy.trusts(Address("10.0.0.2", 1)))


class DatagramTests(SynchronousTestCase):
    client = make_client(transport="udp")

    def test_header(self) -> None:
        policy = ProxyProtocolPolicy("use", TRUSTED)
        client, properties, datagram = announced_by_datagram(policy, v2(family=0x12) + b"query", self.client)
        self.assertEqual(
            (client.remote, client.transport, datagram), (Address("192.0.2.1", 56324), "udp", b"query")
        )
        self.assertEqual(properties["socket.peer-ip"], "198.51.100.7")

    def test_none(self) -> None:
        for octets in (b"", b"query", b"P", b"\r\n"):
            found = announced_by_datagram(ProxyProtocolPolicy("use", TRUSTED), octets, self.client)
            self.assertEqual((found[0], found[2]), (self.client, octets))

    def test_refused(self) -> None:
        for octets in (v2(), v2(family=0x12)[:20], V1):
            with self.assertRaises(RouteError):
                announced_by_datagram(ProxyProtocolPolicy("use", TRUSTED), octets, self.client)
        with self.assertRaises(RouteError):
            announced_by_datagram(ProxyProtocolPolicy("use"), v2(family=0x12), self.client)


class AnnouncementTests(SynchronousTestCase):
    client = make_client()

    def make(self, version: str, told: str = "") -> Any:
        written = {"send-proxy": version, **({"send-proxy-tlv": told} if told else {})}
        return announcement_of(read_options(ANNOUNCING_OPTIONS, written))

    def test_none(self) -> None:
        self.assertIsNone(announcement_of(read_options(ANNOUNCING_OPTIONS, {})))

    def test_v1(self) -> None:
        expected = b"PROXY TCP4 198.51.100.7 203.0.113.1 50000 443\r\n"
        self.assertEqual(self.make("v1").octets_for(self.client, {}, 1), expected)

    def test_v2(self) -> None:
        found = read_proxy_header(self.make("v2").octets_for(self.client, {}, 1))
        self.assertEqual(
            (found.source.host, found.destination.port, found.transport), ("198.51.100.7", 443, "tcp")
        )

    def test_families_are_made_one(self) -> None:
        client = make_client(Address("2001:db8::1", 1, "ipv6"))
        found = read_proxy_header(self.make("v2").octets_for(client, {}, 1))
        self.assertEqual((found.family, found.destination.host), ("ipv6", "::ffff:203.0.113.1"))
        unix = make_client(Address("", 0, "unix"))
        self.assertEqual(self.make("v1").octets_for(unix, {}, 1), b"PROXY UNKNOWN\r\n")

    def test_facts(self) -> None:
        properties = {
            "tls.terminated": "true",
            "tls.sni": "example.org",
            "tls.application-protocol": "h2",
            "tls.protocol": "TLSv1.3",
            "tls.cipher-suite": "TLS_AES_128_GCM_SHA256",
            "tls.client.certificate": "true",
            "tls.client.verified": "true",
            "tls.client.name": "someone",
        }
        announcement = self.make("v2", "authority, alpn, ssl, unique-id, crc32c")
        found = read_proxy_header(announcement.octets_for(self.client, properties, 7)).facts
        self.assertEqual((found.authority, found.alpn), ("example.org", b"h2"))
        self.assertTrue(found.unique_id.endswith(b"-7"))
        self.assertEqual((found.ssl.flags, found.ssl.verify, found.ssl.common_name), (7, 0, "someone"))
        plain = read_proxy_header(announcement.octets_for(self.client, {}, 7)).facts
        self.assertEqual((plain.authority, plain.alpn, plain.ssl), (None, None, None))

    def test_what_was_told_is_told_on(self) -> None:
        properties = {
            "proxy.ssl": "true",
            "proxy.ssl.version": "TLSv1.2",
            "proxy.unique-id": "%00id",
            "proxy.authority": "a",
        }
        found = read_proxy_header(
            self.make("v2", "authority,ssl,unique-id").octets_for(self.client, properties, 7)
        ).facts
        self.assertEqual((found.authority, found.unique_id, found.ssl.version), ("a", b"\0id", "TLSv1.2"))

    def test_for_checks(self) -> None:
        self.assertEqual(self.make("v1").octets_for_check(), b"PROXY UNKNOWN\r\n")
        self.assertTrue(read_proxy_header(self.make("v2").octets_for_check()).is_local)

    def test_faults(self) -> None:
        options = read_options(ANNOUNCING_OPTIONS, {"send-proxy": "v1", "send-proxy-tlv": "alpn"})
        self.assertEqual(len(announcing_faults(options)), 1)
