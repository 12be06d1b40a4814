"""The probe C{tls} and the properties of a ClientHello."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.model import Verdict
from pmmux.probes.hello import HelloProperties
from pmmux.probes.tls import NOT_TLS, TRUNCATED, inspect, probe
from pmmux.test import hellos


class TLSProbeTests(SynchronousTestCase):
    def test_properties(self) -> None:
        verdict = inspect(hellos.CURL)
        self.assertEqual((verdict.matched, verdict.octets_needed, verdict.fault), (True, 0, None))
        self.assertEqual(
            dict(verdict.properties),
            {
                "tls": "true",
                "tls.sni": "shop.example.org",
                "tls.alpn": "h2,http/1.1",
                "tls.version": "1.3",
                "tls.versions": "1.3,1.2,1.1,1.0",
                "tls.ja4": "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
            },
        )

    def test_absent_properties(self) -> None:
        found = inspect(hellos.records(hellos.handshake(hellos.body([])))).properties
        self.assertEqual(set(found), {"tls", "tls.version", "tls.versions", "tls.ja4"})
        for name in ("tls.sni", "tls.alpn", "tls.ech", "tls.cipher-suite", "http.host"):
            self.assertNotIn(name, found)
            self.assertIsNone(found.get(name))

    def test_encrypted_client_hello(self) -> None:
        found = inspect(hellos.client_hello(extra=[hellos.encrypted_client_hello()])).properties
        self.assertEqual(found["tls.ech"], "true")
        self.assertEqual(found["tls.sni"], "shop.example.org")

    def test_unusual_protocol_names_are_written_plainly(self) -> None:
        hello = hellos.body([hellos.alpn(b"a,b", b"\x1b[1m", b"100%", b"h3-29")])
        found = inspect(hellos.records(hellos.handshake(hello))).properties
        self.assertEqual(found["tls.alpn"], "a%2Cb,%1B[1m,100%25,h3-29")

    def test_provides_what_it_finds(self) -> None:
        for name in inspect(hellos.CURL).properties:
            self.assertTrue(name == "tls" or name.startswith("tls."))
        self.assertEqual(probe.provides, ("tls", "tls."))

    def test_no_tls(self) -> None:
        for octets in (b"GET / HTTP/1.1\r\n", b"\x80\x2e\x01\x03\x01", b"\x16\x03\x01\x00\x40\x02"):
            self.assertIs(inspect(octets), NOT_TLS)
        self.assertEqual(NOT_TLS.properties, {"tls": "false"})

    def test_undecided(self) -> None:
        self.assertEqual(inspect(b""), Verdict(None, 1))
        self.assertEqual(inspect(hellos.CURL[:5]), Verdict(None, 6))
        self.assertEqual(inspect(hellos.CURL[:6]), Verdict(None, 9, fault=TRUNCATED))
        self.assertEqual(inspect(hellos.CURL[:-1]), Verdict(None, len(hellos.CURL), fault=TRUNCATED))

    def test_broken_is_a_fault_without_the_client_s_words(self) -> None:
        verdict = inspect(hellos.client_hello(b"evil\x00name"))
        self.assertEqual(verdict, Verdict(False, 0, fault="a server name with control octets or spaces"))


class HelloPropertiesTests(SynchronousTestCase):
    def test_fingerprint_waits_until_asked_for(self) -> None:
        found = inspect(hellos.CURL).properties
        assert isinstance(found, HelloProperties)
        self.assertIn("tls.ja4", found)
        self.assertEqual(found["tls.sni"], "shop.example.org")
        self.assertNotIn("tls.ja4", found._known)
        self.assertIs(found["tls.ja4"], found["tls.ja4"])

    def test_is_a_mapping(self) -> None:
        found = inspect(hellos.CURL).properties
        self.assertEqual(len(found), len(list(found)))
        self.assertEqual(found, dict(found))
        self.assertEqual(found, inspect(hellos.CURL).properties)
        self.assertRaises(KeyError, found.__getitem__, "tls.ech")
        self.assertRaises(KeyError, found.__getitem__, "tls.")

    def test_other_transports(self) -> None:
        plain = inspect(hellos.CURL).properties
        assert isinstance(plain, HelloProperties)
        self.assertEqual(HelloProperties(plain.hello, "q")["tls.ja4"], "q" + plain["tls.ja4"][1:])
