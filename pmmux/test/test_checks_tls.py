"""L{pmmux.checks.tls} and C{http} through TLS, against a server in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase

from pmmux.checks.http import HTTPCheck
from pmmux.checks.tls import TLSCheck
from pmmux.config.values import Target
from pmmux.errors import ConfigurationError, UpstreamError
from pmmux.preview import PreviewTransport
from pmmux.test.health_doubles import StubServices, section
from pmmux.tls.certificates import CertificateError
from pmmux.tls.upstream import UpstreamContexts, UpstreamSettings
from pmmux.tls.watching import RELOAD_SECONDS

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def certificate(
    name: x509.GeneralName, days: int = 90, begun: timedelta = DAY
) -> tuple[PrivateCertificate, bytes]:
    """A self-signed certificate for C{name}, and itself in PEM form to be trusted."""
    # OpenSSL judges by the system's clock, so validity is counted from that.
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - begun)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateCertificate.loadPEM(pem + secret), pem


class _Web(Protocol):
    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup")


class _SecureUpstream:
    """A connector to a TLS server in memory."""

    def __init__(self, private: PrivateCertificate, clock: Clock) -> None:
        self.clock = clock
        self.private = private
        self.pumps: list[IOPump] = []
        self.web = _Web()

    async def connect(self, target: Any, timeout_seconds: float) -> PreviewTransport:
        options = CertificateOptions(
            privateKey=self.private.privateKey.original, certificate=self.private.original
        )
        factory = TLSMemoryBIOFactory(options, False, Factory.forProtocol(lambda: self.web), self.clock)
        server = factory.buildProtocol(None)
        stream = PreviewTransport(65536, lambda _: None)
        client_io = FakeTransport(stream, False)
        server_io = FakeTransport(server, True)
        client_io.abortConnection = client_io.loseConnection
        stream.makeConnection(client_io)
        server.makeConnection(server_io)
        self.connection = server.getHandle()
        self.pumps.append(IOPump(stream, server, client_io, server_io, False))
        self.transport = client_io
        return stream


DNS = x509.DNSName("shop.example.org")


class SecureCase(SynchronousTestCase):
    def run_check(self, check: Any, target: Target, private: PrivateCertificate, /, **options: str) -> Any:
        services = StubServices()
        self.upstream = services.connector = _SecureUpstream(private, services.reactor)
        self.running = Deferred.fromCoroutine(check.run(target, section(**options), services))
        for _ in range(4):
            self.upstream.pumps[0].flush()
            services.reactor.advance(0)
        return self.running

    def trusted(self, pem: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as opened:
            opened.write(pem)
        return path

    def assert_refused(self, running: Deferred[None], reason: str) -> None:
        self.assertEqual(self.failureResultOf(running, UpstreamError).value.reason, reason)
        self.assertTrue(self.upstream.transport.disconnected)


class TLSTests(SecureCase):
    target = Target("192.0.2.1", 443)

    def test_valid(self) -> None:
        private, pem = certificate(DNS)
        options = {"ca": self.trusted(pem), "server_name": "shop.example.org", "days_left": "30"}
        self.successResultOf(self.run_check(TLSCheck(), self.target, private, **options))
        self.assertTrue(self.upstream.transport.disconnected)

    def test_name_of_the_target(self) -> None:
        private, pem = certificate(DNS)
        ca = self.trusted(pem)
        self.successResultOf(self.run_check(TLSCheck(), Target("shop.example.org", 443), private, ca=ca))
        self.assertEqual(self.upstream.connection.get_servername(), b"shop.example.org")

    def test_address_of_the_target(self) -> None:
        private, pem = certificate(x509.IPAddress(ip_address("192.0.2.1")))
        ca = self.trusted(pem)
        self.successResultOf(self.run_check(TLSCheck(), self.target, private, ca=ca))
        self.assertIs(self.upstream.connection.get_servername(), None)
        running = self.run_check(TLSCheck(), Target("192.0.2.2", 443), private, ca=ca)
        self.assert_refused(running, "TLS: its certificate is not for 192.0.2.2")

    def test_other_name(self) -> None:
        private, pem = certificate(DNS)
        options = {"ca": self.trusted(pem), "server_name": "other.example.org"}
        running = self.run_check(TLSCheck(), self.target, private, **options)
        self.assert_refused(running, "TLS: its certificate is not for other.example.org")

    def test_not_trusted(self) -> None:
        private, _ = certificate(DNS)
        running = self.run_check(TLSCheck(), self.target, private, server_name="shop.example.org")
        self.assert_refused(running, "TLS: its certificate is self-signed")

    def test_expired_and_not_yet_valid(self) -> None:
        for days, begun, reason in (
            (-1, 9 * DAY, "TLS: its certificate has expired"),
            (9, -1 * DAY, "TLS: its certificate is not valid yet"),
        ):
            private, pem = certificate(DNS, days, begun)
            options = {"ca": self.trusted(pem), "server_name": "shop.example.org"}
            self.assert_refused(self.run_check(TLSCheck(), self.target, private, **options), reason)

    def test_without_verifying(self) -> None:
        private, _ = certificate(DNS, -1, 9 * DAY)
        self.successResultOf(self.run_check(TLSCheck(), self.target, private, verify="no"))

    def test_days_left(self) -> None:
        private, _ = certificate(DNS, 20)
        options = {"verify": "no", "days_left": "30"}
        running = self.run_check(TLSCheck(), self.target, private, **options)
        self.assert_refused(running, "the certificate expires in 19 days")
        later = datetime.now(UTC) + 21 * DAY
        running = self.run_check(TLSCheck(later.timestamp), self.target, private, **options)
        self.assert_refused(running, "the certificate has expired")

    def test_no_name_to_verify(self) -> None:
        check = TLSCheck()
        services = StubServices()
        target = Target("", 0, "/run/tls.sock")
        running = Deferred.fromCoroutine(check.run(target, section(), services))
        failed = self.failureResultOf(running, UpstreamError).value
        self.assertEqual(failed.reason, "TLS: there is no name to verify its certificate by")
        self.assertEqual(services.connector.transports[0].value(), b"")
        self.assertFalse(services.connector.transports[0].connected)

    def test_not_tls(self) -> None:
        services = StubServices()
        running = Deferred.fromCoroutine(TLSCheck().run(self.target, section(), services))
        transport = services.connector.transports[0]
        transport.protocol.dataReceived(b"SSH-2.0-OpenSSH_9.6\r\n")
        failed = self.failureResultOf(running, UpstreamError).value
        self.assertTrue(failed.reason.startswith("TLS: "), failed.reason)
        self.assertFalse(transport.connected)

    def test_closed_and_cancelled(self) -> None:
        services = StubServices()
        running = Deferred.fromCoroutine(TLSCheck().run(self.target, section(), services))
        services.connector.transports[0].protocol.readConnectionLost()
        failed = self.failureResultOf(running, UpstreamError).value
        self.assertEqual(failed.reason, "TLS: the connection ended")
        running = Deferred.fromCoroutine(TLSCheck().run(self.target, section(), services))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertFalse(services.connector.transports[1].connected)


class HTTPSTests(SecureCase):
    def test_through_tls(self) -> None:
        private, pem = certificate(DNS)
        options = {"ca": self.trusted(pem), "tls": "yes", "body": "up"}
        self.successResultOf(self.run_check(HTTPCheck(), Target("shop.example.org", 443), private, **options))
        self.assertIn(b"\r\nHost: shop.example.org\r\n", self.upstream.web.received)

    def test_sends_nothing_to_whom_it_does_not_trust(self) -> None:
        private, _ = certificate(DNS)
        running = self.run_check(HTTPCheck(), Target("shop.example.org", 443), private, tls="yes")
        self.assert_refused(running, "TLS: its certificate is self-signed")
        self.assertEqual(self.upstream.web.received, b"")


class ContextTests(SynchronousTestCase):
    def write(self, path: str, octets: bytes) -> None:
        with open(path, "wb") as opened:
            opened.write(octets)

    def test_are_shared_and_kept_until_a_file_changes(self) -> None:
        path = self.mktemp()
        self.write(path, certificate(DNS)[1])
        contexts = UpstreamContexts()
        settings = UpstreamSettings(authorities_path=path)
        first = contexts.get(settings, 0.0)
        other_name = UpstreamSettings(authorities_path=path, name="other.example.org", alpn=(b"h2",))
        self.assertIs(contexts.get(other_name, 1.0), first)
        self.assertIsNot(contexts.get(UpstreamSettings(verifies=False), 1.0), first)
        self.write(path, certificate(DNS)[1] * 2)
        self.assertIs(contexts.get(settings, RELOAD_SECONDS / 2), first)
        second = contexts.get(settings, RELOAD_SECONDS)
        self.assertIsNot(second, first)
        with capturedLogs() as logs:
            self.write(path, b"half")
            for turn in range(2, 5):
                self.assertIs(contexts.get(settings, turn * RELOAD_SECONDS), second)
        self.assertEqual(len(logs), 1)

    def test_of_the_system(self) -> None:
        contexts = UpstreamContexts()
        self.assertIs(contexts.get(UpstreamSettings(), 0.0), contexts.get(UpstreamSettings(), 0.0))

    def test_file_that_never_was(self) -> None:
        path = self.mktemp()
        contexts = UpstreamContexts()
        settings = UpstreamSettings(authorities_path=path)
        self.assertRaises(CertificateError, contexts.get, settings, 0.0)
        self.write(path, certificate(DNS)[1])
        self.assertIsInstance(contexts.get(settings, RELOAD_SECONDS), SSL.Context)

    def test_broken_file_is_refused_at_load(self) -> None:
        path = self.mktemp()
        with open(path, "w") as opened:
            opened.write("no certificate")
        for broken in (path, "/nonexistent"):
            self.assertRaises(ConfigurationError, section, ca=broken)
