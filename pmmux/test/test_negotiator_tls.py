"""The TLS negotiator: what it terminates, passes on and refuses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.connection import Connection
from pmmux.errors import ConfigurationError, RouteError
from pmmux.interfaces import INegotiator
from pmmux.loading import load_settings
from pmmux.negotiators.tls import Terminating, TLSNegotiator, negotiator
from pmmux.test.authority import Authority
from pmmux.test.doubles import make_connection
from pmmux.test.hellos import client_hello, client_hello_of
from pmmux.test.test_tls_stream import Peer
from pmmux.tls.certificates import Certificate
from pmmux.tls.contexts import ListenerContexts, ListenerTLS, TLSSettings
from pmmux.tls.store import CertificateStore
from pmmux.transport.timeouts import TimeoutQueue

AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example.org")
NAME = b"shop.example.org"


class NegotiatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = CertificateStore((), False, lambda: 0.0)
        self.store.add(Certificate("shop", SHOP.certificate, SHOP.key, SHOP.chain, ("shop.example.org",)))
        self.connection: Connection

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def negotiate(
        self, *chunks: bytes, requires: bool = False, passed: tuple[str, ...] = (), **more: Any
    ) -> Deferred[Any]:
        contexts = ListenerContexts(self.store, TLSSettings(), ListenerTLS(), self.clock.seconds)
        silence, hello = TimeoutQueue(self.clock, 3.0), TimeoutQueue(self.clock, 5.0)
        terminating = Terminating(requires, passed, contexts, silence, hello)
        self.connection = make_connection(self.clock, *chunks, **more)

        async def proceed(connection: Connection) -> Connection:
            return connection

        return Deferred.fromCoroutine(TLSNegotiator(terminating).negotiate(self.connection, proceed))

    def refused(self, *chunks: bytes, **more: Any) -> RouteError:
        error: RouteError = self.failureResultOf(self.negotiate(*chunks, **more), RouteError).value
        return error

    def untouched(self, *chunks: bytes, **more: Any) -> None:
        found = self.successResultOf(self.negotiate(*chunks, **more))
        self.assertEqual(found.preview.octets, b"".join(chunks))
        self.assertEqual(found.properties["tls.terminated"], "false")

    def test_interface(self) -> None:
        verifyObject(INegotiator, negotiator)
        found = Deferred.fromCoroutine(
            negotiator.negotiate(None, lambda connection: Deferred.fromCoroutine(_same(1)))
        )
        self.assertEqual(self.successResultOf(found), 1)

    def test_terminated(self) -> None:
        peer = Peer()
        peer.connection.set_tlsext_host_name(NAME)
        peer.hear(b"")
        result = self.negotiate(peer.said())
        lower = self.connection.stream.transport
        for _ in range(2):
            peer.hear(lower.value())
            lower.clear()
            if said := peer.said():
                lower.deliver(said)
        found = self.successResultOf(result)
        lower.deliver(peer.say(b"GET / HTTP/1.0\r\n"))
        self.assertEqual(found.preview.octets, b"GET / HTTP/1.0\r\n")
        expected = {
            "tls": "true",
            "tls.terminated": "true",
            "tls.sni": "shop.example.org",
            "tls.protocol": "TLSv1.3",
            "tls.client.certificate": "false",
        }
        self.assertEqual({name: found.properties.get(name) for name in expected}, expected)
        self.assertTrue(found.properties["tls.cipher-suite"].startswith("TLS_"))
        self.assertTrue(found.properties["tls.ja4"].startswith("t13d"))
        self.assertEqual(found.trace.negotiators, [("tls", "terminated for shop.example.org")])

    def test_untouched(self) -> None:
        self.untouched(client_hello(b"other.example.org"))
        self.untouched(client_hello(None))
        self.untouched(client_hello(NAME), passed=("shop.example.org",))
        self.untouched(client_hello(NAME), passed=("*.example.org",))
        self.untouched(b"GET / HTTP/1.0\r\n")
        self.untouched(b"SSH-2.0-x\r\n")

    def test_names_as_clients_write_them(self) -> None:
        for name in (b"SHOP.Example.org", b"shop.example.org."):
            result = self.negotiate(client_hello(name))
            self.assertNotEqual(self.connection.stream.transport.value(), b"")
            result.cancel()
            self.failureResultOf(result)

    def test_strange_names(self) -> None:
        self.untouched(client_hello(b"192.0.2.1"))
        for name in (b"a\0b", b"\x1b[31m", "ü.example.org".encode(), b"x" * 256, b"a b"):
            self.assertEqual(self.refused(client_hello(name)).outcome, "malformed")

    def test_plaintext_where_tls_is_required(self) -> None:
        self.assertIn("plaintext", self.refused(b"GET /", requires=True).detail)
        self.untouched(client_hello(b"other.example.org"), requires=True)

    def test_broken(self) -> None:
        hello = client_hello(NAME)
        self.assertEqual(self.refused(hello[:43] + b"\xff" * (len(hello) - 43)).outcome, "malformed")
        self.assertEqual(self.refused(hello[:60], b"").outcome, "malformed")
        # Too short to be certain: that may be something else.
        self.untouched(hello[:3], b"")

    def test_sizes(self) -> None:
        for size in (2000, 11418, 32000):
            self.untouched(client_hello_of(size), passed=("*.example.org",))
        self.assertEqual(self.refused(client_hello_of(60000)[:32768]).outcome, "malformed")

    def test_one_octet_records_and_segments(self) -> None:
        hello = client_hello(b"other.example.org", fragment_octets=1)
        self.untouched(hello)
        result = self.negotiate()
        for octet in hello:
            self.assertNoResult(result)
            self.connection.stream.transport.deliver(bytes((octet,)))
        self.successResultOf(result)

    def test_hello_that_openssl_refuses(self) -> None:
        # It has no key share.
        error = self.refused(client_hello(NAME))
        self.assertEqual(error.outcome, "negotiation-failed")
        self.assertIn("TLS handshake", error.detail)

    def test_silence(self) -> None:
        result = self.negotiate()
        self.clock.advance(3)
        self.assertTrue(self.successResultOf(result).preview.final)

    def test_hello_timeout(self) -> None:
        result = self.negotiate()
        self.clock.advance(2)
        self.connection.stream.transport.deliver(client_hello(NAME)[:50])
        self.clock.advance(4.9)
        self.assertNoResult(result)
        self.clock.advance(0.2)
        self.assertEqual(self.failureResultOf(result, RouteError).value.outcome, "malformed")

    def test_gone(self) -> None:
        self.assertEqual(self.refused(b"").outcome, "client-gone")


async def _same(value: Any) -> Any:
    return value


class ConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="pmmux-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.shop = SHOP.write(self.directory / "shop.pem")
        self.root = AUTHORITY.root.write(self.directory / "root.pem", AUTHORITY.root_pem)

    def load(self, text: str, listener: str = "") -> Any:
        path = self.directory / "pmmux.ini"
        path.write_text(f"[listener front]\nport = 1\n{listener}\n{text}\n[backend b]\nprotocol = noop\n")
        return load_settings((), {}, str(path))[0]

    def faults(self, text: str, listener: str = "") -> list[str]:
        error = self.assertRaises(ConfigurationError, self.load, text, listener)
        return [str(fault) for fault in error.faults]

    def certificate(self, name: str = "shop", *lines: str) -> str:
        return "\n".join((f"[certificate {name}]", f"path = {self.shop}", *lines, ""))

    def test_right(self) -> None:
        client = f"client-certificates = require\nclient-ca = {self.root}"
        self.load(
            "[tls]\nversions = 1.3\ntickets = no\n" + self.certificate(),
            "tls = require\nalpn = h2\n" + client,
        )

    def test_only_listeners_that_need_it(self) -> None:
        for text, listener, is_there in (
            ("", "", False),
            ("", "tls = auto", True),
            (self.certificate(), "", True),
            (self.certificate(), "tls = off", False),
            ("[tls]\ngenerate-certificates = yes", "", True),
            (self.certificate(), "protocol = udp", False),
        ):
            settings = self.load(text, listener)

            class Services:
                reactor = Clock()

                class registry:
                    @staticmethod
                    def get(interface: Any) -> Any:
                        return CertificateStore((), False, lambda: 0.0)

            found = negotiator.for_listener(settings.listeners[0], settings, Services)
            self.assertEqual(found is not None, is_there, (text, listener))

    def test_faults(self) -> None:
        self.assertIn("No such file", self.faults("[certificate x]\npath = /nowhere")[0])
        self.assertIn("path is missing", self.faults("[certificate x]")[0])
        defaults = self.certificate("a", "default = yes") + self.certificate("b", "default = yes")
        self.assertIn("default already", self.faults(defaults)[0])
        shop = self.certificate()
        self.assertIn("need client-ca", self.faults(shop, "client-certificates = optional")[0])
        required = "client-certificates = require\nclient-ca ="
        self.assertIn("/nowhere: No such file", self.faults(shop, f"{required} /nowhere")[0])
        self.assertIn("no certificate", self.faults(shop, f"{required} /dev/null")[0])
        self.assertIn("client-ca asks nobody", self.faults(shop, f"client-ca = {self.root}")[0])
        for text, listener in (("", ""), (shop, "tls = off\n")):
            self.assertIn("need TLS", self.faults(text, f"{listener}{required} {self.root}")[0])
        self.assertIn("ciphers", self.faults("[tls]\nciphers = NONSENSE")[0])
        self.assertIn("datagrams", self.faults("", "tls = auto\nprotocol = udp")[0])
        self.assertIn("negotiators", self.faults("[pmmux]\nnegotiators = socket", "tls = auto")[0])
        twice = self.certificate("a", "password = x", "password-file = /x")
        self.assertTrue(any("already" in fault for fault in self.faults(twice)))
