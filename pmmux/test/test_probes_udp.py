"""Tests for the UDP probes: what each finds in its samples, what it refuses, and that it stands alone."""

from __future__ import annotations

import importlib
import pkgutil
import random
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import pmmux.probes
from pmmux.interfaces import IProbe
from pmmux.probes import udp_dtls, udp_quic
from pmmux.test import hellos, samples
from pmmux.test.samples import udp_wireguard

PREFIX = "udp_"
NAMES = [found.name for found in pkgutil.iter_modules(pmmux.probes.__path__) if found.name.startswith(PREFIX)]
MODULES: dict[str, ModuleType] = {
    name: importlib.import_module(f"{pmmux.probes.__name__}.{name}") for name in NAMES
}
SAMPLES: dict[str, ModuleType] = {
    name: importlib.import_module(f"{samples.__name__}.{name}") for name in NAMES
}

#: What a probe finds in its samples, by the samples' order; only what is named is compared.
EXPECTED: dict[str, list[dict[str, str]]] = {
    "udp_bittorrent": [
        {"bittorrent.kind": "utp", "bittorrent.method": "syn"},
        {"bittorrent.kind": "utp"},
        {"bittorrent.kind": "tracker", "bittorrent.method": "connect"},
        {"bittorrent.kind": "dht", "bittorrent.method": "get_peers"},
        {"bittorrent.method": "ping"},
        {"bittorrent.method": "response"},
        {"bittorrent.method": "error"},
    ],
    "udp_coap": [
        {"coap.method": "GET", "coap.path": "/.well-known/core"},
        {"coap.method": "PUT", "coap.path": "/sensors/temp"},
        {"coap.method": "GET", "coap.path": "/obs", "coap.host": "localhost"},
        {"coap.path": "/"},
        {"coap.path": "/abc"},
    ],
    "udp_dns": [
        {"dns.name": "www.example.org", "dns.type": "A", "dns.edns": "true"},
        {"dns.name": "example.org", "dns.type": "HTTPS"},
        {"dns.name": "1.2.0.192.in-addr.arpa", "dns.type": "PTR"},
        {"dns.name": "version.bind", "dns.type": "TXT"},
        {"dns.name": "", "dns.type": "NS"},
        {"dns.type": "SOA", "dns.opcode": "update"},
        {"dns.opcode": "update"},
        {"dns.opcode": "notify"},
        {"dns.name": "dc.office.local"},
        {"dns.type": "IXFR"},
    ],
    "udp_dtls": [
        {"dtls.version": "1.2", "tls.sni": "dtls.example.org", "tls.alpn": "webrtc,c-webrtc", "tls": "true"},
        {"tls.sni": "x.example.org"},
        {"tls.sni": "gnutls.example.org"},
    ],
    "udp_ike": [
        {"ike.version": "1", "ike.exchange": "identity-protection"},
        {"ike.version": "1", "ike.exchange": "aggressive"},
        {"ike.version": "2", "ike.exchange": "ike-sa-init"},
        {"ike.version": "2", "ike.nat-traversal": "true"},
        {"ike.exchange": "informational"},
    ],
    "udp_mdns": [
        {"mdns.kind": "query", "mdns.name": "_http._tcp.local", "mdns.type": "PTR"},
        {"mdns.kind": "announcement", "mdns.name": "_http._tcp.local"},
    ],
    "udp_ntp": [{"ntp.version": "4"}, {}, {"ntp.version": "3"}, {}, {}, {}, {"ntp.nts": "true"}],
    "udp_openvpn": [
        {"openvpn.mode": mode}
        for mode in ("plain", "tls-auth", "tls-auth", "tls-auth", "tls-crypt", "tls-crypt-v2")
    ],
    "udp_quic": [
        {"quic.version": "1", "tls.sni": "quic.example.org", "tls.alpn": "h3", "tls.version": "1.3"},
        {"quic.version": "2", "tls.sni": "v2.example.org", "tls": "true"},
        {"tls.alpn": "doq", "tls.ja4": "q13d0307dq_55b375c5d22e_1cecd519fee8"},
        {"tls.sni": "token.example.org"},
        {"quic.version": "0x1a2a3a4a"},
        {"quic.version": "draft-29"},
    ],
    "udp_radius": [
        {"radius.code": "access-request", "radius.realm": "example.org"},
        {"radius.code": "accounting-request"},
        {"radius.code": "status-server"},
    ],
    "udp_sip": [
        {"sip.method": "OPTIONS", "sip.uri-host": "127.0.0.1"},
        {"sip.method": "INVITE"},
        {"sip.method": "REGISTER", "sip.uri-host": "example.org"},
    ],
    "udp_snmp": [
        {"snmp.version": "1", "snmp.pdu": "get"},
        {"snmp.version": "2c", "snmp.pdu": "get-bulk"},
        {"snmp.pdu": "set"},
        {"snmp.version": "3", "snmp.pdu": "get"},
        {"snmp.version": "3"},
        {"snmp.pdu": "trap"},
        {"snmp.pdu": "trap"},
    ],
    "udp_source_query": [
        {"source-query.kind": kind} for kind in ("info", "info", "players", "rules", "ping", "challenge")
    ],
    "udp_stun": [
        {"stun.method": "binding", "stun.class": "request"},
        {"stun.method": "allocate"},
        {"stun.username": "srvUfrag:cliUfrag"},
        {},
        {"stun.class": "indication"},
        {"stun.class": "success"},
    ],
    "udp_syslog": [
        {
            "syslog.format": "rfc5424",
            "syslog.facility": "local3",
            "syslog.severity": "warning",
            "syslog.app": "app",
        },
        {"syslog.format": "rfc3164", "syslog.priority": "34", "syslog.host": "web1", "syslog.app": "su"},
        {"syslog.facility": "local7"},
        {"syslog.app": "%SYS-5-CONFIG_I"},
        {"syslog.app": "su"},
        {"syslog.format": "other", "syslog.severity": "emergency"},
    ],
    "udp_tftp": [
        {"tftp.operation": "read", "tftp.filename": "boot/pxelinux.0", "tftp.mode": "octet"},
        {"tftp.operation": "write", "tftp.mode": "netascii"},
        {"tftp.filename": "c.bin"},
        {"tftp.mode": "mail"},
    ],
    "udp_wireguard": [
        {"wireguard.message": "initiation"},
        {"wireguard.message": "initiation"},
        {"wireguard.reserved": "9a3bc1"},
        {"wireguard.message": "transport-data"},
    ],
}

#: Queries of NTP's monitoring modes are refused with a fault.
REFUSED_WITH_FAULT = {("udp_ntp", at) for at in range(3)}
RANDOM_LENGTHS = (*range(65), 128, 147, 148, 353, 1200, 1252)


class ProbeTests(SynchronousTestCase):
    def test_the_catalogue(self) -> None:
        self.assertEqual(set(EXPECTED), set(NAMES))
        for name, module in MODULES.items():
            verifyObject(IProbe, module.probe)
            self.assertEqual(module.probe.name, name.removeprefix(PREFIX).replace("_", "-"))
            self.assertEqual(module.probe.transport, "udp")

    def test_samples_match_with_their_properties(self) -> None:
        for name, module in MODULES.items():
            for at, sample in enumerate(SAMPLES[name].MATCHING):
                verdict = module.inspect(sample)
                self.assertIs(verdict.matched, True, f"{name} {at}")
                expected = EXPECTED[name][at] if at < len(EXPECTED[name]) else {}
                found = {key: verdict.properties.get(key) for key in expected}
                self.assertEqual(found, expected, f"{name} {at}")

    def test_refused_samples_do_not(self) -> None:
        for name, module in MODULES.items():
            for at, sample in enumerate(SAMPLES[name].REFUSED):
                verdict = module.inspect(sample)
                self.assertIs(verdict.matched, False, f"{name} {at}")
                self.assertEqual(verdict.fault is not None, (name, at) in REFUSED_WITH_FAULT, f"{name} {at}")

    def test_no_other_probe_takes_or_closes_a_sample(self) -> None:
        for name, module in MODULES.items():
            for other in set(NAMES) - {name}:
                for sample in SAMPLES[other].MATCHING:
                    verdict = module.inspect(sample)
                    self.assertIs(verdict.matched, False, f"{name} takes {other}: {sample[:20]!r}")
                    self.assertIsNone(verdict.fault, f"{name} closes {other}: {sample[:20]!r}")

    def test_never_undecided_and_practically_never_by_chance(self) -> None:
        source = random.Random(11)
        for length in RANDOM_LENGTHS:
            for _ in range(40):
                octets = source.randbytes(length)
                for name, module in MODULES.items():
                    verdict = module.inspect(octets)
                    self.assertIs(verdict.matched, False, f"{name} takes {octets.hex()}")
                    self.assertIsNone(verdict.fault)

    def test_changed_samples_never_raise(self) -> None:
        source = random.Random(12)
        for name, module in MODULES.items():
            for sample in SAMPLES[name].MATCHING:
                for _ in range(60):
                    at = source.randrange(min(len(sample), 120))
                    octets = (
                        sample[:at]
                        + source.randbytes(source.randrange(4))
                        + sample[at + source.randrange(4) :]
                    )
                    self.assertIsNotNone(module.inspect(octets).matched, f"{name} {octets.hex()}")
                for length in range(min(len(sample), 400)):
                    self.assertIsNotNone(module.inspect(sample[:length]).matched)

    def test_wireguard_leaves_the_others_their_lengths(self) -> None:
        initiation = udp_wireguard.MATCHING[2]
        for reserved in ("010094", "7f0094"):
            changed = initiation[:1] + bytes.fromhex(reserved) + initiation[4:]
            self.assertIs(MODULES["udp_wireguard"].inspect(changed).matched, False)


class SeveralDatagramsTests(SynchronousTestCase):
    def test_hellos_in_several_datagrams(self) -> None:
        for module, several, name in (
            (udp_quic, SAMPLES["udp_quic"].SEVERAL, "big.example.org"),
            (udp_dtls, SAMPLES["udp_dtls"].SEVERAL, "fragmented-label-00."),
        ):
            for order in (several, several[::-1], [several[1], several[0], several[2]]):
                for count in range(1, len(order)):
                    verdict = module.inspect_several(order[:count])
                    self.assertIs(verdict.matched, True)
                    self.assertEqual(verdict.octets_needed, sum(map(len, order[:count])) + 1)
                    self.assertNotIn("tls.sni", verdict.properties)
                verdict = module.inspect_several(order)
                self.assertEqual((verdict.matched, verdict.octets_needed), (True, 0))
                self.assertTrue(verdict.properties["tls.sni"].startswith(name))

    def test_none_are_not_enough(self) -> None:
        for module in (udp_quic, udp_dtls):
            self.assertIs(module.inspect_several([]).matched, False)

    def test_what_never_ends_is_a_fault(self) -> None:
        for module in (udp_quic, udp_dtls):
            first = SAMPLES[f"udp_{module.probe.name}"].SEVERAL[0]
            self.assertIsNotNone(module.inspect_several([first] * 17).fault)


class DtlsTests(SynchronousTestCase):
    def record(self, body: bytes, version: bytes = b"\xfe\xfd") -> bytes:
        size = len(body).to_bytes(3, "big")
        message = b"\1" + size + bytes(5) + size + body
        return b"\x16" + version + bytes(8) + len(message).to_bytes(2, "big") + message

    def body(self, *extensions: bytes) -> bytes:
        block = b"".join(extensions)
        return b"\xfe\xfd" + bytes(32) + b"\0\0\0\2\x13\1\1\0" + len(block).to_bytes(2, "big") + block

    def test_version_1_3(self) -> None:
        verdict = udp_dtls.inspect(self.record(self.body(hellos.supported_versions(0xFEFC, 0xFEFD))))
        self.assertEqual(verdict.properties["dtls.version"], "1.3")
        self.assertTrue(verdict.properties["tls.ja4"].startswith("dd3i"))

    def test_broken_hello_is_a_fault(self) -> None:
        self.assertIsNotNone(udp_dtls.inspect(self.record(self.body() + b"\0")).fault)

    def test_dtls_1_0(self) -> None:
        body = b"\xfe\xff" + self.body()[2:]
        verdict = udp_dtls.inspect(self.record(body, b"\xfe\xff"))
        self.assertEqual(verdict.properties["dtls.version"], "1.0")
