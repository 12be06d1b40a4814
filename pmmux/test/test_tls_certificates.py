"""Certificates: every form of file, what is wrong with them, and the store."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseBuilder, OCSPResponseStatus
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.errors import RouteError
from pmmux.test.authority import Authority
from pmmux.tls.certificates import CertificateError, CertificateFiles
from pmmux.tls.contexts import ListenerContexts, ListenerTLS, TLSSettings, make_context
from pmmux.tls.interfaces import ICertificateStore
from pmmux.tls.store import GENERATED_LIMIT, CertificateStore
from pmmux.tls.tickets import find_ticket_key_name
from pmmux.tls.watching import RELOAD_SECONDS

AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example.org", "*.shop.example.org", "192.0.2.1")
OTHER = AUTHORITY.issue("other.example.org")
STRANGER = Authority("another root")
SAME_SERIAL = STRANGER.issue("shop.example.org", serial_number=SHOP.certificate.serial_number)
TRY_LATER = OCSPResponseBuilder.build_unsuccessful(OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
PASSWORD = b"secret"
NOW = datetime.now(UTC)


class FilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="pmmux-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, name: str, octets: bytes) -> str:
        path = self.directory / name
        path.write_bytes(octets)
        return str(path)


class LoadingTests(FilesCase):
    def check(self, *args: Any, **more: Any) -> None:
        found = CertificateFiles("shop", *args, **more).load()
        self.assertEqual(found.leaf, SHOP.certificate)
        self.assertEqual(found.chain, (AUTHORITY.intermediate.certificate,))
        self.assertEqual(found.hosts, ("shop.example.org", "*.shop.example.org", "192.0.2.1"))
        self.assertEqual(found.warnings(NOW), [])
        make_context(found, TLSSettings(), ListenerTLS())

    def refused(self, *args: Any, **more: Any) -> str:
        error = self.assertRaises(CertificateError, CertificateFiles("shop", *args, **more).load)
        self.assertIn(str(self.directory), str(error))
        return str(error)

    def test_pem(self) -> None:
        self.check(self.write("all.pem", SHOP.pem))
        # In any order, with the root and others in it.
        mixed = (
            AUTHORITY.root_pem
            + SHOP.key_pem()
            + OTHER.certificate_pem
            + SHOP.chain_pem
            + SHOP.certificate_pem
        )
        self.check(self.write("mixed.pem", mixed))
        path, key = (
            self.write("c.pem", SHOP.certificate_pem + SHOP.chain_pem),
            self.write("k.pem", SHOP.key_pem()),
        )
        self.check(path, key)

    def test_pem_with_password(self) -> None:
        path = self.write("c.pem", SHOP.certificate_pem + SHOP.chain_pem + SHOP.key_pem(PASSWORD))
        self.check(path, password="secret")
        self.check(path, password_path=self.write("password", b"secret\n"))
        self.assertIn("needs a password", self.refused(path))
        self.assertIn("this password", self.refused(path, password="wrong"))
        # One that needs none does not mind.
        self.check(self.write("all.pem", SHOP.pem), password="secret")

    def test_der(self) -> None:
        path = self.write("c.der", SHOP.certificate.public_bytes(Encoding.DER))
        found = CertificateFiles("shop", path, self.write("k.der", SHOP.key_der())).load()
        self.assertEqual(found.leaf, SHOP.certificate)
        self.assertIn("without its chain", found.warnings(NOW)[0])

    def test_pkcs12(self) -> None:
        self.check(self.write("a.pfx", SHOP.pfx(PASSWORD)), password="secret")
        self.check(self.write("a.p12", SHOP.pfx()))
        self.check(self.write("no-suffix", SHOP.pfx(PASSWORD)), password="secret", form="pfx")
        self.assertIn("PKCS#12", self.refused(self.write("b.pfx", SHOP.pfx(PASSWORD)), password="wrong"))
        self.assertIn("PKCS#12", self.refused(self.write("b.pfx", SHOP.pfx(PASSWORD))))

    def test_refused(self) -> None:
        self.assertIn("No such file", self.refused(str(self.directory / "none")))
        self.assertIn(
            "not that of", self.refused(self.write("x.pem", SHOP.certificate_pem + OTHER.key_pem()))
        )
        self.assertIn("no certificate", self.refused(self.write("x.pem", SHOP.key_pem())))
        self.assertIn("no private key", self.refused(self.write("x.pem", SHOP.certificate_pem)))
        self.assertIn("no certificate", self.refused(self.write("x.der", b"")))
        self.assertIn("larger", self.refused(self.write("x.pem", bytes(1 << 21))))
        self.assertNotIn("secret", self.refused(self.write("x.pem", SHOP.pem[:400]), password="secret"))

    def test_ocsp(self) -> None:
        path = self.write("all.pem", SHOP.pem)
        self.check(path, ocsp_path=self.write("good.der", AUTHORITY.ocsp_response(SHOP)))
        for other in (OTHER, SAME_SERIAL):
            response = self.write("x.der", STRANGER.ocsp_response(other))
            self.assertIn("x.der: the OCSP response is about another", self.refused(path, ocsp_path=response))
        for octets in (b"nonsense", b"", TRY_LATER):
            self.assertIn("no OCSP", self.refused(path, ocsp_path=self.write("x.der", octets)))
        self.assertIn("No such file", self.refused(path, ocsp_path=str(self.directory / "none")))

    def test_ocsp_without_the_issuer(self) -> None:
        path = self.write("leaf.pem", SHOP.certificate_pem + SHOP.key_pem())
        self.staple(path=path)
        response = self.write("x.der", STRANGER.ocsp_response(SAME_SERIAL))
        self.assertIn("another", self.refused(path, ocsp_path=response))

    def staple(self, path: str = "", **more: Any) -> Any:
        response = self.write("r.der", AUTHORITY.ocsp_response(SHOP, **more))
        path = path or self.write("all.pem", SHOP.pem)
        return CertificateFiles("shop", path, ocsp_path=response).load()

    def test_age_of_ocsp(self) -> None:
        hour = timedelta(hours=1)
        for more, told, is_stapled in (
            ({"ends": 100 * hour}, "", True),
            ({"ends": None}, "", True),
            ({"ends": 2 * hour}, "expires on", True),
            ({"begins": -9 * hour, "ends": -hour}, "has expired on", False),
            ({"begins": hour}, "not valid before", False),
            ({"status": OCSPCertStatus.REVOKED}, "not say that it is good", True),
        ):
            found = self.staple(**more)
            self.assertEqual(bool(found.staple.octets_at(NOW)), is_stapled, told)
            warnings = found.warnings(NOW)
            self.assertEqual(len(warnings), bool(told))
            self.assertIn(told, "".join(warnings))
        grows_old = self.staple(ends=2 * hour).staple
        self.assertEqual(grows_old.octets_at(NOW + 3 * hour), b"")

    def test_warnings(self) -> None:
        def warn(**more: Any) -> list[str]:
            issued = AUTHORITY.issue("a.example.org", **more)
            return CertificateFiles("a", self.write("a.pem", issued.pem)).load().warnings(NOW)

        self.assertIn("has expired", warn(ends=timedelta(days=-0.5))[0])
        self.assertIn("expires on", warn(ends=timedelta(days=3))[0])
        self.assertIn("not valid before", warn(starts=timedelta(days=3))[0])
        self.assertIn("without its chain", warn(is_direct=True)[0])


class StoreTests(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())

    def make(self, *files: CertificateFiles, generates: bool = False) -> CertificateStore:
        return CertificateStore(files, generates, self.clock.seconds)

    def files(self, name: str, issued: Any, **more: Any) -> CertificateFiles:
        return CertificateFiles(name, self.write(f"{name}.pem", issued.pem), **more)

    def find(self, store: CertificateStore, name: str | None) -> str | None:
        found = store.find(name)
        return None if found is None else found.name

    def test_names(self) -> None:
        wild = AUTHORITY.issue("*.example.org")
        store = self.make(self.files("wild", wild), self.files("shop", SHOP))
        verifyObject(ICertificateStore, store)
        expected = {
            "shop.example.org": "shop",
            "any.example.org": "wild",
            "a.shop.example.org": "shop",
            "a.b.example.org": None,
            "example.org": None,
            "192.0.2.1": "shop",
            None: None,
        }
        self.assertEqual({name: self.find(store, name) for name in expected}, expected)

    def test_default(self) -> None:
        store = self.make(self.files("shop", SHOP), self.files("rest", OTHER, is_default=True))
        self.assertEqual(
            [self.find(store, each) for each in ("shop.example.org", "x", None)], ["shop", "rest", "rest"]
        )

    def test_hosts_as_configured(self) -> None:
        store = self.make(self.files("shop", SHOP, hosts=("elsewhere.example.org",)))
        self.assertEqual(self.find(store, "elsewhere.example.org"), "shop")
        self.assertIsNone(self.find(store, "shop.example.org"))

    def test_reloading(self) -> None:
        store = self.make(self.files("shop", SHOP))
        before = store.find("shop.example.org")
        generation = store.generation
        new = AUTHORITY.issue("shop.example.org")
        self.write("shop.pem", new.pem)
        self.assertIs(store.find("shop.example.org"), before)
        self.clock.advance(RELOAD_SECONDS)
        self.assertEqual(store.find("shop.example.org").leaf, new.certificate)
        self.assertNotEqual(store.generation, generation)

    def test_half_written(self) -> None:
        store = self.make(self.files("shop", SHOP))
        self.write("shop.pem", SHOP.pem[:200])
        with capturedLogs() as logs:
            for _ in range(3):
                self.clock.advance(RELOAD_SECONDS)
                self.assertEqual(store.find("shop.example.org").leaf, SHOP.certificate)
        self.assertEqual(len(logs), 1)
        (self.directory / "shop.pem").unlink()
        self.clock.advance(RELOAD_SECONDS)
        self.assertEqual(store.find("shop.example.org").leaf, SHOP.certificate)
        self.write("shop.pem", OTHER.pem)
        self.clock.advance(RELOAD_SECONDS)
        self.assertEqual(self.find(store, "other.example.org"), "shop")

    def test_clock_that_is_set_back(self) -> None:
        store = self.make(self.files("shop", SHOP))
        self.write("shop.pem", OTHER.pem)
        self.clock.rightNow -= 3600
        self.assertEqual(self.find(store, "other.example.org"), "shop")

    def test_adding_and_removing(self) -> None:
        store = self.make()
        store.add(self.files("shop", SHOP).load())
        self.assertEqual([each.name for each in store.certificates()], ["shop"])
        self.assertEqual(self.find(store, "shop.example.org"), "shop")
        store.remove("shop")
        self.assertIsNone(store.find("shop.example.org"))
        self.assertRaises(KeyError, store.remove, "shop")

    def test_generating(self) -> None:
        store = self.make(self.files("shop", SHOP), generates=True)
        self.assertEqual(self.find(store, "shop.example.org"), "shop")
        made = store.find("new.example.org")
        self.assertIs(store.find("new.example.org"), made)
        self.assertEqual(made.hosts, ("new.example.org",))
        for name in (
            "192.0.2.9",
            "2001:db8::1",
            None,
            "a" * 64,
            "-.x",
            "a_b.example.org",
            "x.y" * 80,
            "[odd]",
        ):
            make_context(store.find(name), TLSSettings(), ListenerTLS())
        self.clock.advance(90 * 86400)
        self.assertIsNot(store.find("new.example.org"), made)

    def test_generating_is_bounded(self) -> None:
        store = self.make(generates=True)
        first = store.find("0.example.org")
        for number in range(1, GENERATED_LIMIT + 1):
            store.find(f"{number}.example.org")
        self.assertIsNot(store.find("0.example.org"), first)


class ContextsTests(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store = CertificateStore((), False, NOW.timestamp)
        self.store.add(CertificateFiles("shop", self.write("shop.pem", SHOP.pem)).load())
        settings = TLSSettings(ticket_rotation_seconds=100.0)
        self.contexts = ListenerContexts(self.store, settings, ListenerTLS(), self.clock.seconds)

    def choose(self, octets: bytes = b"") -> SSL.Context:
        return self.contexts.choose("shop.example.org", octets)

    def test_same_until_it_changes(self) -> None:
        first = self.choose()
        self.assertIs(self.choose(), first)
        self.store.add(
            CertificateFiles("shop", self.write("shop.pem", AUTHORITY.issue("shop.example.org").pem)).load()
        )
        self.assertIsNot(self.choose(), first)
        self.assertIsNone(self.contexts.choose("other.example.org", b""))

    def test_rotation(self) -> None:
        first = self.choose()
        key_name = find_ticket_key_name(first)
        self.assertEqual(len(key_name), 16)
        self.clock.advance(100)
        second = self.choose()
        self.assertIsNot(second, first)
        self.assertIs(self.choose(b"..." + key_name + b"..."), first)
        self.assertIs(self.choose(find_ticket_key_name(second)), second)
        self.clock.advance(100)
        self.assertIsNot(self.choose(key_name), first)

    def shake(self, context: SSL.Context, session: Any = None) -> tuple[Any, bool]:
        """A client's handshake in memory. @return: its session, and whether the one given was resumed."""
        client = SSL.Connection(context)
        client.set_connect_state()
        shown: list[Any] = []
        client.set_verify(SSL.VERIFY_PEER, lambda *certificate: bool(shown.append(certificate)) or True)
        if session is not None:
            client.set_session(session)
        server: Any = None
        for _ in range(4):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                client.recv(1)
            with contextlib.suppress(SSL.WantReadError):
                octets = client.bio_read(65536)
                if server is None:
                    server = SSL.Connection(self.choose(octets))
                    server.set_accept_state()
                server.bio_write(octets)
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                client.bio_write(server.bio_read(65536))
        # One that just vanishes takes its session along.
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return client.get_session(), not shown

    def test_resumption_over_rotations(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(version)
            session, is_resumed = self.shake(context)
            self.assertFalse(is_resumed)
            self.assertTrue(self.shake(context, session)[1])
            self.clock.advance(100)
            # Somebody else moves the keys on.
            self.assertFalse(self.shake(context)[1])
            self.assertTrue(self.shake(context, session)[1])
            self.clock.advance(100)
            self.shake(context)
            self.assertFalse(self.shake(context, session)[1])

    def test_unused_for_long(self) -> None:
        first = self.choose()
        key_name = find_ticket_key_name(first)
        self.clock.advance(250)
        self.assertIsNot(self.choose(key_name), first)

    def test_ticket_key_names(self) -> None:
        certificate = self.store.find("shop.example.org")
        for versions in (("1.2",), ("1.3",), ("1.2", "1.3")):
            context = make_context(certificate, TLSSettings(versions=versions), ListenerTLS())
            self.assertEqual(len(find_ticket_key_name(context)), 16)
        required = make_context(
            certificate,
            TLSSettings(versions=("1.2",)),
            ListenerTLS((), "require"),
            (AUTHORITY.root.certificate,),
        )
        self.assertEqual(find_ticket_key_name(required), b"")

    def test_authorities_are_read_again(self) -> None:
        path = self.write("root.pem", AUTHORITY.root_pem)
        asked = ListenerTLS((), "require", path)
        contexts = ListenerContexts(self.store, TLSSettings(), asked, self.clock.seconds)

        def choose() -> SSL.Context:
            self.clock.advance(RELOAD_SECONDS)
            return contexts.choose("shop.example.org", b"")

        first = choose()
        self.assertIs(choose(), first)
        self.write("root.pem", STRANGER.root_pem)
        second = choose()
        self.assertIsNot(second, first)
        # Neither broken nor gone: whom to believe stays, also for contexts that are new.
        for change in (lambda: self.write("root.pem", b"half"), Path(path).unlink):
            change()
            self.assertIs(choose(), second)
        self.clock.advance(TLSSettings().ticket_rotation_seconds)
        self.assertIsNot(choose(), second)

    def test_authorities_are_read_again_at_once(self) -> None:
        path = self.write("root.pem", AUTHORITY.root_pem)
        asked = ListenerTLS((), "require", path)
        contexts = ListenerContexts(self.store, TLSSettings(), asked, self.clock.seconds)
        first = contexts.choose("shop.example.org", b"")
        self.write("root.pem", STRANGER.root_pem)
        self.assertIs(contexts.choose("shop.example.org", b""), first)
        self.store.reload()
        self.assertIsNot(contexts.choose("shop.example.org", b""), first)

    def test_authorities_that_never_were(self) -> None:
        asked = ListenerTLS((), "optional", str(self.directory / "none"))
        contexts = ListenerContexts(self.store, TLSSettings(), asked, self.clock.seconds)
        refused = self.assertRaises(RouteError, contexts.choose, "shop.example.org", b"")
        self.assertEqual(refused.outcome, "negotiation-failed")
        self.write("none", AUTHORITY.root_pem)
        self.clock.advance(RELOAD_SECONDS)
        self.assertIsNotNone(contexts.choose("shop.example.org", b""))
