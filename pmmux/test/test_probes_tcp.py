"""Tests for the TCP probes other than TLS and HTTP: what each finds, and that no two want the same."""

from __future__ import annotations

import random
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.interfaces import IProbe
from pmmux.model import Verdict
from pmmux.probes import (
    bittorrent,
    dns,
    irc,
    minecraft,
    mqtt,
    openvpn,
    postgresql,
    rdp,
    redis,
    sip,
    socks,
    ssh,
    syslog,
    tinc,
    xmpp,
)
from pmmux.probes.text import TEXT_LIMIT
from pmmux.test.samples import (
    tcp_bittorrent,
    tcp_dns,
    tcp_irc,
    tcp_minecraft,
    tcp_mqtt,
    tcp_openvpn,
    tcp_postgresql,
    tcp_rdp,
    tcp_redis,
    tcp_sip,
    tcp_socks,
    tcp_ssh,
    tcp_syslog,
    tcp_tinc,
    tcp_xmpp,
)

SAMPLES: dict[ModuleType, ModuleType] = {
    bittorrent: tcp_bittorrent,
    dns: tcp_dns,
    irc: tcp_irc,
    minecraft: tcp_minecraft,
    mqtt: tcp_mqtt,
    openvpn: tcp_openvpn,
    postgresql: tcp_postgresql,
    rdp: tcp_rdp,
    redis: tcp_redis,
    sip: tcp_sip,
    socks: tcp_socks,
    ssh: tcp_ssh,
    syslog: tcp_syslog,
    tinc: tcp_tinc,
    xmpp: tcp_xmpp,
}

#: First octets of what none of them is.
FOREIGN: list[bytes] = [
    bytes.fromhex("1603010200010001fc0303") + bytes(range(64)),
    bytes.fromhex("16030100c8010000c40303") + bytes(64),
    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"EHLO example.org\r\n",
    b"HELO example.org\r\n",
    b"QUIT\r\n",
    b"USER anonymous\r\nPASS guest@\r\n",
    b"a001 CAPABILITY\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
    b"get key\r\n",
    b"version\r\n",
    b"OPTIONS rtsp://example.org/s RTSP/1.0\r\n",
    b"CONNECT {}\r\nPING\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"hello\r\n",
    b"\r\n",
    b'{"a": 1}\n',
    b"<policy-file-request/>\x00",
    b"<?xml version='1.0'?><rpc/>",
    b"root\n/etc/passwd\n",
    b"JDWP-Handshake",
    bytes.fromhex("ff534d42720000000008"),
    bytes.fromhex("000000450000004aff534d4272"),
    bytes.fromhex("000000a4fe534d4240000100"),
    bytes.fromhex("300c020101600702010304008000"),
    bytes(64),
    b"\xff" * 64,
]


def properties_of(case: SynchronousTestCase, probe: ModuleType, octets: bytes) -> dict[str, str]:
    """The properties of a match that needs no more."""
    verdict = probe.probe.inspect(octets)
    case.assertEqual((True, 0), (verdict.matched, verdict.octets_needed), octets)
    return dict(verdict.properties)


class AllTests(SynchronousTestCase):
    """What holds for every one of them."""

    def test_interface(self) -> None:
        for module in SAMPLES:
            self.assertTrue(verifyObject(IProbe, module.probe))
            self.assertEqual("tcp", module.probe.transport)

    def test_matching(self) -> None:
        """Each sample matches, no prefix of it is refused, and what was found stays."""
        for module, samples in SAMPLES.items():
            for sample in samples.MATCHING:
                self.check_prefixes(module.probe, sample)

    def check_prefixes(self, probe: IProbe, sample: bytes) -> None:
        before = Verdict(None, 0)
        for length in range(len(sample) + 1):
            verdict = probe.inspect(sample[:length])
            where = f"{probe.name}: {sample[:length]!r}"
            self.assertIsNot(verdict.matched, False, where)
            self.assertFalse(before.matched and not verdict.matched, where)
            self.assertLessEqual(before.properties.items(), verdict.properties.items(), where)
            self.assertTrue(
                verdict.octets_needed > length or (verdict.matched and not verdict.octets_needed), where
            )
            if length < before.octets_needed:
                self.assertEqual(before.matched, verdict.matched, f"{where} needed {before.octets_needed}")
                self.assertEqual(before.properties, verdict.properties, where)
            for name in verdict.properties:
                self.assertTrue(name.startswith(probe.provides), name)
            before = verdict
        self.assertTrue(before.matched, f"{probe.name}: {sample!r}")

    def test_refused(self) -> None:
        """Each counterexample is refused, and stays so whatever follows."""
        for module, samples in SAMPLES.items():
            for sample in samples.REFUSED:
                verdicts = [module.probe.inspect(sample + more).matched for more in (b"", b"\n", b"\0" * 80)]
                self.assertEqual([False] * 3, verdicts, f"{module.probe.name}: {sample!r}")

    def test_foreign(self) -> None:
        """Nobody takes another's samples, nor what belongs to none of them."""
        for module in SAMPLES:
            others = [
                sample for other in SAMPLES if other is not module for sample in SAMPLES[other].MATCHING
            ]
            for sample in [*others, *FOREIGN]:
                verdict = module.probe.inspect(sample)
                self.assertIs(verdict.matched, False, f"{module.probe.name}: {sample!r}")

    def test_random(self) -> None:
        """Random octets never raise, and all but never match."""
        source = random.Random(17)
        matches = 0
        for length in range(65):
            for _ in range(40):
                octets = source.randbytes(length)
                matches += sum(module.probe.inspect(octets).matched is True for module in SAMPLES)
        self.assertEqual(0, matches)

    def test_mutated(self) -> None:
        """Samples with octets changed never raise, and one answer follows from the other."""
        source = random.Random(4)
        for module, samples in SAMPLES.items():
            for sample in [*samples.MATCHING, *samples.REFUSED]:
                octets = bytearray(sample[:200])
                octets[source.randrange(len(octets))] = source.randrange(256)
                self.check_order(module.probe, bytes(octets))

    def check_order(self, probe: IProbe, octets: bytes) -> None:
        """Once decided, it stays decided."""
        decided = None
        for length in range(len(octets) + 1):
            verdict = probe.inspect(octets[:length])
            if decided is not None:
                self.assertIs(decided, verdict.matched, f"{probe.name}: {octets[:length]!r}")
            decided = verdict.matched
            self.assertTrue(decided is not None or verdict.octets_needed > length, octets[:length])

    def test_first_octet(self) -> None:
        """What cannot match is refused at the first octet that tells."""
        for module, octets in (
            (ssh, b"SX"),
            (socks, b"\x05\x00"),
            (rdp, b"\x03\x01"),
            (openvpn, b"\x05"),
            (postgresql, b"\x00\x00\x28"),
            (mqtt, b"\x10\x0c\x01"),
            (redis, b"*1x"),
            (redis, b"X"),
            (dns, b"\x00\x1d\x00\x00\x80"),
            (xmpp, b"<a"),
            (bittorrent, b"\x13b"),
            (irc, b"NICK  "),
            (sip, b"INVITE x"),
            (tinc, b"0 a 18"),
            (syslog, b"<192"),
            (minecraft, b"\x10\x01"),
        ):
            self.assertIs(module.probe.inspect(octets).matched, False, module.__name__)
            self.assertIsNone(module.probe.inspect(octets[:-1]).matched, module.__name__)


class PropertiesTests(SynchronousTestCase):
    """What each finds."""

    def test_ssh(self) -> None:
        found = properties_of(self, ssh, tcp_ssh.MATCHING[0])
        self.assertEqual({"ssh.version": "2.0", "ssh.software": "OpenSSH_9.2p1"}, found)
        self.assertEqual({"ssh.version": "2.0"}, properties_of(self, ssh, b"SSH-2.0-a\x00b\r\n"))
        self.assertEqual(Verdict(True, 9, {"ssh.version": "2.0"}), ssh.probe.inspect(b"SSH-2.0-"))

    def test_socks(self) -> None:
        for octets, version, target in (
            (tcp_socks.MATCHING[0], "4", "192.0.2.7:80"),
            (tcp_socks.MATCHING[1], "4a", "example.org:80"),
            (tcp_socks.MATCHING[4], "4a", "[2001:db8::1]:443"),
            (tcp_socks.MATCHING[5], "4a", "example.onion:443"),
        ):
            expected = {"socks.version": version, "socks.target": target}
            self.assertEqual(expected, properties_of(self, socks, octets))
        self.assertEqual({"socks.version": "5"}, properties_of(self, socks, b"\x05\x01\x00"))
        self.assertEqual(7, socks.probe.inspect(b"\x05\x05").octets_needed)

    def test_rdp(self) -> None:
        expected = {"rdp.cookie": "alice", "rdp.protocols": "tls,hybrid"}
        self.assertEqual(expected, properties_of(self, rdp, tcp_rdp.MATCHING[0]))
        self.assertEqual({"rdp.cookie": "bob"}, properties_of(self, rdp, tcp_rdp.MATCHING[2]))
        expected = {
            "rdp.routing-token": "tsv://MS Terminal Services Plugin.1.farm",
            "rdp.protocols": "tls,hybrid",
        }
        self.assertEqual(expected, properties_of(self, rdp, tcp_rdp.MATCHING[3]))
        self.assertEqual({}, properties_of(self, rdp, tcp_rdp.MATCHING[4]))
        self.assertEqual({"rdp.protocols": "rdp"}, properties_of(self, rdp, tcp_rdp.MATCHING[6]))
        expected = {"rdp.cookie": "eltons", "rdp.protocols": "tls,hybrid,hybrid-ex"}
        self.assertEqual(expected, properties_of(self, rdp, tcp_rdp.MATCHING[8]))
        self.assertEqual(43, rdp.probe.inspect(tcp_rdp.MATCHING[0][:20]).octets_needed)

    def test_openvpn(self) -> None:
        modes = [properties_of(self, openvpn, sample)["openvpn.mode"] for sample in tcp_openvpn.MATCHING]
        self.assertEqual(["plain", *["tls-auth"] * 6, "tls-crypt", "tls-crypt-v2", "plain"], modes)

    def test_postgresql(self) -> None:
        self.assertEqual(
            {
                "postgresql.request": "startup",
                "postgresql.version": "3.0",
                "postgresql.user": "alice",
                "postgresql.database": "shop",
            },
            properties_of(self, postgresql, tcp_postgresql.MATCHING[1]),
        )
        found = properties_of(self, postgresql, tcp_postgresql.MATCHING[6])
        self.assertEqual(("bob", "3.2"), (found["postgresql.database"], found["postgresql.version"]))
        for index, request in ((0, "ssl"), (3, "gss"), (4, "cancel"), (5, "cancel")):
            found = properties_of(self, postgresql, tcp_postgresql.MATCHING[index])
            self.assertEqual({"postgresql.request": request}, found)
        self.assertEqual(0x38, postgresql.probe.inspect(tcp_postgresql.MATCHING[1][:9]).octets_needed)

    def test_mqtt(self) -> None:
        for octets, version, client, username in (
            (tcp_mqtt.MATCHING[0], "3.1.1", "", None),
            (tcp_mqtt.MATCHING[1], "5", "sensor-1", "bob"),
            (tcp_mqtt.MATCHING[2], "3.1", "sensor-1", None),
            (tcp_mqtt.MATCHING[6], "3.1.1", "abc", "user"),
            (tcp_mqtt.MATCHING[7], "5", "", None),
            (tcp_mqtt.MATCHING[8], "3.1.1", None, None),
        ):
            found = properties_of(self, mqtt, octets)
            got = (found["mqtt.version"], found.get("mqtt.client-id"), found.get("mqtt.username"))
            self.assertEqual((version, client, username), got)

    def test_redis(self) -> None:
        commands = [properties_of(self, redis, sample)["redis.command"] for sample in tcp_redis.MATCHING]
        self.assertEqual(
            ["PING", "AUTH", "COMMAND", "AUTH", "HELLO", "JSON.SET", "ZRANGEBYSCORE", "PING", "PING", "PING"],
            commands[:10],
        )
        self.assertEqual(
            ["AUTH", "AUTH", "HELLO", "SELECT", "INFO", "INFO", "GET", "SYNC", "PSYNC", "REPLCONF"],
            commands[10:],
        )

    def test_dns(self) -> None:
        found = properties_of(self, dns, tcp_dns.MATCHING[0])
        self.assertEqual({"dns.name": "www.example.org", "dns.type": "AAAA", "dns.edns": "true"}, found)
        self.assertEqual({"dns.name": "", "dns.type": "NS"}, properties_of(self, dns, tcp_dns.MATCHING[1]))
        self.assertEqual("notify", properties_of(self, dns, tcp_dns.MATCHING[6])["dns.opcode"])
        self.assertEqual("update", properties_of(self, dns, tcp_dns.MATCHING[7])["dns.opcode"])
        self.assertEqual(58, dns.probe.inspect(tcp_dns.MATCHING[0][:20]).octets_needed)

    def test_xmpp(self) -> None:
        expected = {"xmpp.to": "example.org", "xmpp.namespace": "client"}
        self.assertEqual(expected, properties_of(self, xmpp, tcp_xmpp.MATCHING[0]))
        self.assertEqual(expected, properties_of(self, xmpp, tcp_xmpp.MATCHING[1]))
        self.assertEqual("im.example.com", properties_of(self, xmpp, tcp_xmpp.MATCHING[2])["xmpp.to"])
        expected = {"xmpp.to": "a.example", "xmpp.namespace": "server"}
        self.assertEqual(expected, properties_of(self, xmpp, tcp_xmpp.MATCHING[3]))

    def test_bittorrent(self) -> None:
        found = properties_of(self, bittorrent, tcp_bittorrent.MATCHING[0])
        self.assertEqual({"bittorrent.info-hash": "c12fe1c06bba254a9dc9f519b335aa7c1367a88a"}, found)
        self.assertEqual(Verdict(True, 48), bittorrent.probe.inspect(tcp_bittorrent.MATCHING[2]))

    def test_irc(self) -> None:
        for index, nick in ((0, "carol"), (1, "carol"), (2, "dan"), (3, "[dan]^"), (6, "Wiz"), (8, "jürgen")):
            self.assertEqual({"irc.nick": nick}, properties_of(self, irc, tcp_irc.MATCHING[index]))
        self.assertEqual(Verdict(True, 9), irc.probe.inspect(b"CAP END\n"))
        self.assertEqual(Verdict(True), irc.probe.inspect(b"CAP END\n" * 256))

    def test_sip(self) -> None:
        for index, method, host in (
            (0, "OPTIONS", "127.0.0.1"),
            (1, "REGISTER", "registrar.example.org"),
            (2, "INVITE", "atlanta.example.com"),
            (3, "INVITE", "[2001:db8::9:1]"),
            (4, "INVITE", None),
        ):
            found = properties_of(self, sip, tcp_sip.MATCHING[index])
            self.assertEqual((method, host), (found["sip.method"], found.get("sip.uri-host")))

    def test_tinc(self) -> None:
        self.assertEqual({"tinc.name": "east"}, properties_of(self, tinc, tcp_tinc.MATCHING[0]))
        self.assertEqual({"tinc.name": "east_2"}, properties_of(self, tinc, tcp_tinc.MATCHING[1]))
        self.assertEqual({}, properties_of(self, tinc, tcp_tinc.MATCHING[3]))

    def test_syslog(self) -> None:
        for index, priority, severity, host, app in (
            (0, "13", "notice", "vm", "app"),
            (1, "13", "notice", "vm", "app"),
            (2, "13", "notice", "vm", "app"),
            (3, "34", "critical", "mymachine", "su"),
            (4, "0", "emergency", None, None),
            (5, "191", "debug", None, None),
            (7, "7", "debug", None, None),
            (8, "165", "notice", "mymachine.example.com", "evntslog"),
        ):
            found = properties_of(self, syslog, tcp_syslog.MATCHING[index])
            got = [found.get(f"syslog.{name}") for name in ("priority", "severity", "host", "app")]
            self.assertEqual([priority, severity, host, app], got)
        self.assertEqual("auth", properties_of(self, syslog, tcp_syslog.MATCHING[3])["syslog.facility"])
        self.assertEqual(97, syslog.probe.inspect(tcp_syslog.MATCHING[1][:20]).octets_needed)

    def test_minecraft(self) -> None:
        for index, address, state in (
            (0, "play.example.com", "login"),
            (1, "play.example.com", "status"),
            (2, "play.example.com", "login"),
            (3, "192.0.2.7", "transfer"),
            (7, "münchen.example", "login"),
            (9, "p" * 246, "login"),
            (11, "play.example.com", "status"),
        ):
            found = properties_of(self, minecraft, tcp_minecraft.MATCHING[index])
            got = (found["minecraft.server-address"], found["minecraft.next-state"])
            self.assertEqual((address, state), got)
        self.assertEqual(
            "78", properties_of(self, minecraft, tcp_minecraft.MATCHING[11])["minecraft.protocol"]
        )
        self.assertEqual(Verdict(True, 3), minecraft.probe.inspect(b"\xfe\x01"))

    def test_text_is_cut_and_kept(self) -> None:
        """What a client says is cut, and otherwise handed on as it is."""
        found = properties_of(self, mqtt, b"\x10\x0f\x00\x04MQTT\x04\x02\x00<\x00\x03\x1b\xff\n")
        self.assertEqual("\x1b\ufffd\n", found["mqtt.client-id"])
        found = properties_of(self, mqtt, b"\x10\xb8\x02\x00\x04MQTT\x04\x02\x00<\x01\x2c" + b"i" * 300)
        self.assertEqual("i" * TEXT_LIMIT, found["mqtt.client-id"])
