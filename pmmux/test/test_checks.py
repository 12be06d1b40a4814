"""L{pmmux.checks}: connecting, sending and expecting, and what all checks share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.passthrough import PassBackend, protocol
from pmmux.checks.catalogue import builtin_checks
from pmmux.checks.connect import ConnectCheck
from pmmux.checks.expecting import ANSWER_LIMIT_OCTETS, parse_expectation, parse_octets
from pmmux.checks.http import HTTPCheck
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import speaks_tls, tls_for
from pmmux.checks.target import target_under_check
from pmmux.checks.tcp import TCPCheck
from pmmux.checks.tls import TLSCheck
from pmmux.errors import UpstreamError
from pmmux.interfaces import IHealthCheckable
from pmmux.model import BackendSpec, OptionKey, SectionValues
from pmmux.test.doubles import make_spec
from pmmux.test.health_doubles import TARGET, StubConnector, StubServices, section
from pmmux.tls.upstream import UpstreamContexts, UpstreamSettings
from pmmux.wire.proxyheader import read_proxy_header


class CheckCase(SynchronousTestCase):
    """Runs a check against an upstream that the test plays."""

    def setUp(self) -> None:
        self.services = StubServices()
        self.connector = self.services.connector

    def begin(self, check: Any, target: Any = TARGET, /, **options: str) -> Deferred[None]:
        found = section(**options)
        self.assertEqual(list(check.validate(found)), [])
        return Deferred.fromCoroutine(check.run(target, found, self.services))

    @property
    def transport(self) -> Any:
        return self.connector.transports[-1]

    def assert_passed(self, running: Deferred[None]) -> None:
        self.assertIs(self.successResultOf(running), None)
        self.assertFalse(self.transport.connected)

    def assert_failed(self, running: Deferred[None], reason: str) -> None:
        failed = self.failureResultOf(running, UpstreamError).value
        self.assertEqual((failed.target, failed.reason), (str(TARGET), reason))
        self.assertFalse(self.transport.connected)

    def assert_cancellable(self, running: Deferred[None]) -> None:
        self.assertNoResult(running)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertFalse(self.transport.connected)
        self.assertTrue(self.transport.aborted)


class CatalogueTests(SynchronousTestCase):
    def test_has_all(self) -> None:
        checks = builtin_checks()
        self.assertEqual(set(checks), {"connect", "tcp", "tls", "http", "exec", "udp", "dns"})
        for check in checks.values():
            verifyObject(IHealthCheck, check)

    def test_what_has_one_name_reads_alike(self) -> None:
        found: dict[str, Any] = {}
        for check in builtin_checks().values():
            for option in check.options:
                self.assertIs(found.setdefault(option.name, option).parse, option.parse)


class PassBackendTests(SynchronousTestCase):
    def test_can_be_checked(self) -> None:
        options = SectionValues("backend", "web", {OptionKey("target"): TARGET, OptionKey("weight"): 1})
        services = SimpleNamespace(connector=StubConnector(), connect_seconds=5.0)
        backend = PassBackend(BackendSpec("web", "pass", options), None, services)
        verifyObject(IHealthCheckable, backend)
        self.assertEqual((backend.health_target, backend.default_check), (TARGET, ConnectCheck.name))

    def test_tells_checks_what_comes_first(self) -> None:
        spec = make_spec(
            "web", protocol, {"target": "192.0.2.1:80", "send-proxy": "v2", "upstream-tls": "yes"}
        )
        services = SimpleNamespace(connector=StubConnector(), connect_seconds=5.0)
        target = protocol.create(spec, None, services).health_target
        self.assertTrue(read_proxy_header(target.header).is_local)
        self.assertEqual((target.tls, target.traffic_port), (UpstreamSettings(), 80))
        self.assertEqual(str(target), "192.0.2.1:80")


HEADER = b"PROXY UNKNOWN\r\n"
ANNOUNCED = target_under_check(TARGET, HEADER, None)
ELSEWHERE = evolve(ANNOUNCED, port=8080)


class HeaderTests(CheckCase):
    """A PROXY header in front of a check."""

    def test_connect(self) -> None:
        self.assert_passed(self.begin(ConnectCheck(), ANNOUNCED))
        # It would not arrive before a reset.
        self.assertFalse(self.transport.aborted)
        self.assertEqual(self.transport.value(), HEADER)

    def test_comes_before_what_is_sent(self) -> None:
        for target, written, expected in (
            (ANNOUNCED, {}, HEADER),
            (ANNOUNCED, {"send_proxy": "no"}, b""),
            (ELSEWHERE, {}, b""),
            (ELSEWHERE, {"send_proxy": "yes"}, HEADER),
            (TARGET, {"send_proxy": "yes"}, b""),
        ):
            self.assert_passed(self.begin(TCPCheck(), target, send="hello", **written))
            self.assertEqual(self.transport.value(), expected + b"hello")

    def test_http(self) -> None:
        running = self.begin(HTTPCheck(), ANNOUNCED)
        self.assertTrue(self.transport.value().startswith(HEADER + b"GET / HTTP/1.1\r\n"))
        self.transport.protocol.dataReceived(b"HTTP/1.1 204 OK\r\n\r\n")
        self.assert_passed(running)

    def test_before_tls(self) -> None:
        for check in (TLSCheck(), HTTPCheck(), TCPCheck()):
            more = {"send": "x"} if check.name == "tcp" else {}
            target = target_under_check(TARGET, HEADER, UpstreamSettings())
            running = self.begin(check, target, **more)
            said = self.transport.value()
            self.assertTrue(said.startswith(HEADER + b"\x16\x03\x01"), said)
            self.assert_cancellable(running)


class SecuredTests(CheckCase):
    """Whether a check speaks through TLS, and how."""

    SECURED = target_under_check(TARGET, b"", UpstreamSettings(True, "root.pem", "a.example.org", (b"h2",)))

    def test_as_the_traffic_or_as_written(self) -> None:
        elsewhere = evolve(self.SECURED, port=8080)
        for target, written, expected in (
            (self.SECURED, {}, True),
            (self.SECURED, {"tls": "no"}, False),
            (elsewhere, {}, False),
            (elsewhere, {"tls": "yes"}, True),
            (TARGET, {}, False),
            (TARGET, {"tls": "yes"}, True),
            (ANNOUNCED, {}, False),
        ):
            self.assertIs(speaks_tls(target, section(**written)), expected)

    def test_settings(self) -> None:
        contexts = UpstreamContexts()

        def settings(target: Any, **written: str) -> UpstreamSettings:
            return tls_for(target, section(**written), contexts)._settings

        self.assertEqual(settings(self.SECURED), self.SECURED.tls)
        self.assertEqual(settings(TARGET), UpstreamSettings())
        found = settings(self.SECURED, verify="no", server_name="b.example.org")
        self.assertEqual(found, UpstreamSettings(False, "root.pem", "b.example.org", (b"h2",)))


class ConnectTests(CheckCase):
    def test_connects_and_resets(self) -> None:
        self.assert_passed(self.begin(ConnectCheck()))
        self.assertTrue(self.transport.aborted)
        self.assertEqual((self.connector.targets, self.transport.value()), ([TARGET], b""))

    def test_refused(self) -> None:
        self.connector.error = UpstreamError(str(TARGET), "connection refused")
        failure = self.failureResultOf(self.begin(ConnectCheck()), UpstreamError)
        self.assertEqual(failure.value.reason, "connection refused")


class TCPTests(CheckCase):
    def test_what_is_expected_comes(self) -> None:
        running = self.begin(TCPCheck(), send=r"PING\r\n", expect="+PONG")
        self.assertEqual(self.transport.value(), b"PING\r\n")
        self.transport.protocol.dataReceived(b"+PONG\r\n")
        self.assert_passed(running)
        self.assertFalse(self.transport.aborted)

    def test_any_split_is_the_same(self) -> None:
        for expect in ("220 mail", "hex:32 32 30 20 6d", "re:^220 .*ready", r"re:^2\d\d"):
            running = self.begin(TCPCheck(), expect=expect)
            for octet in b"220 mail ready":
                self.transport.protocol.dataReceived(bytes([octet]))
            self.assert_passed(running)

    def test_sending_alone(self) -> None:
        self.assert_passed(self.begin(TCPCheck(), send="hello"))
        self.assertEqual(self.transport.value(), b"hello")

    def test_silence_is_cancelled(self) -> None:
        self.assert_cancellable(self.begin(TCPCheck(), expect="220"))

    def test_other_answer(self) -> None:
        running = self.begin(TCPCheck(), expect="re:^220")
        self.transport.protocol.dataReceived(b"554 220 no\r\n")
        self.transport.protocol.readConnectionLost()
        self.assert_failed(running, "closed before it said what is expected")

    def test_closed_or_reset_at_once(self) -> None:
        running = self.begin(TCPCheck(), expect="220")
        self.transport.protocol.readConnectionLost()
        self.assert_failed(running, "closed without an answer")
        running = self.begin(TCPCheck(), expect="220")
        self.transport.connected = False
        self.transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.assert_failed(running, "closed without an answer")

    def test_endless_answer(self) -> None:
        running = self.begin(TCPCheck(), expect="220")
        for _ in range(100):
            if self.transport.connected:
                self.transport.protocol.dataReceived(b"x" * 1000)
        self.assert_failed(running, f"what is expected is not in the first {ANSWER_LIMIT_OCTETS} octets")

    def test_answer_beyond_the_limit_does_not_count(self) -> None:
        running = self.begin(TCPCheck(), expect="220")
        self.transport.protocol.dataReceived(b"x" * ANSWER_LIMIT_OCTETS + b"220")
        self.assert_failed(running, f"what is expected is not in the first {ANSWER_LIMIT_OCTETS} octets")

    def test_upstream_that_does_not_take_the_end(self) -> None:
        running = self.begin(TCPCheck(), expect="220")
        transport = self.transport
        transport.loseConnection = lambda: None
        transport.protocol.dataReceived(b"220")
        self.assertNoResult(running)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertTrue(transport.aborted)


class ExpectingTests(SynchronousTestCase):
    def test_octets(self) -> None:
        for text, octets in (
            ("plain", b"plain"),
            (r"a\r\n\t\0\\\x41", b"a\r\n\t\0\\A"),
            ("text:hex:00", b"hex:00"),
            ("hex:00 ff", b"\x00\xff"),
            ("ü", "ü".encode()),
        ):
            self.assertEqual(parse_octets(text), octets)

    def test_refused(self) -> None:
        for text in ("", "hex:", "hex:0", "hex:zz", "text:", "\\q", "\\", r"\x4"):
            self.assertRaises(ValueError, parse_octets, text)
            self.assertRaises(ValueError, parse_expectation, text)
        self.assertRaises(ValueError, parse_expectation, "re:(")
        self.assertRaises(ValueError, parse_expectation, "re:a)|(b")

    def test_patterns(self) -> None:
        self.assertTrue(parse_expectation("re:b+").is_met_by(b"\xff\nabb"))
        self.assertTrue(parse_expectation("re:b|^a").is_met_by(b"a"))
        self.assertFalse(parse_expectation("re:^b").is_met_by(b"ab"))

    @given(st.binary(min_size=1, max_size=40), st.binary(max_size=20), st.binary(max_size=20))
    def test_hexadecimal_is_found_anywhere(self, octets: bytes, before: bytes, after: bytes) -> None:
        self.assertTrue(parse_expectation(f"hex:{octets.hex()}").is_met_by(before + octets + after))
