"""L{pmmux.checks.http}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pmmux.checks.http import BODY_LIMIT_OCTETS, HTTPCheck, parse_statuses
from pmmux.config.draft import Entry
from pmmux.config.values import Target
from pmmux.errors import ConfigurationError, UpstreamError
from pmmux.model import Location
from pmmux.test.health_doubles import StubServices, section, written_section
from pmmux.test.test_checks import CheckCase

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class HTTPTests(CheckCase):
    def answer(self, *octets: bytes, close: bool = False) -> None:
        transport = self.transport
        for part in octets:
            if transport.connected:
                transport.protocol.dataReceived(part)
        if close and transport.connected:
            transport.protocol.readConnectionLost()

    def test_request(self) -> None:
        running = self.begin(HTTPCheck(), path="/health?full=1", method="HEAD", host="shop.example.org")
        head, _, rest = self.transport.value().partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        self.assertEqual((line, rest), (b"HEAD /health?full=1 HTTP/1.1", b""))
        self.assertEqual(
            sorted(fields), [b"Connection: close", b"Host: shop.example.org", b"User-Agent: pmmux"]
        )
        self.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assert_passed(running)

    def test_headers(self) -> None:
        entry = Entry("header[X-Probe]", "yes", Location("test"))
        found = written_section("check", (entry,))
        running = Deferred.fromCoroutine(HTTPCheck().run(Target("::1", 80), found, self.services))
        self.assertIn(b"\r\nX-Probe: yes\r\n", self.transport.value())
        self.assertIn(b"\r\nHost: [::1]\r\n", self.transport.value())
        running.cancel()
        self.failureResultOf(running)

    def test_host_by_default(self) -> None:
        for target, host in (
            (Target("192.0.2.1", 8080), b"192.0.2.1:8080"),
            (Target("example.org", 80), b"example.org"),
            (Target("", 0, "/run/web.sock"), b"localhost"),
        ):
            self.begin(HTTPCheck(), target).addErrback(lambda _: None).cancel()
            self.assertIn(b"\r\nHost: " + host + b"\r\n", self.transport.value())

    def test_any_split(self) -> None:
        running = self.begin(HTTPCheck(), body="hello")
        self.answer(*(bytes([octet]) for octet in OK))
        self.assert_passed(running)

    def test_status(self) -> None:
        for status, accepted in (("200-299,301", True), ("500-599", False)):
            running = self.begin(HTTPCheck(), status=status)
            self.answer(b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
            if accepted:
                self.assert_passed(running)
            else:
                self.assert_failed(running, "status 301")

    def test_status_decides_without_the_body(self) -> None:
        running = self.begin(HTTPCheck())
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
        self.assert_passed(running)
        running = self.begin(HTTPCheck())
        self.answer(b"HTTP/1.1 503 Not now\r\nContent-Length: 1000000\r\n\r\nx")
        self.assert_failed(running, "status 503")

    def test_interim_answers_are_passed_over(self) -> None:
        running = self.begin(HTTPCheck())
        self.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)
        self.assert_passed(running)

    def test_body(self) -> None:
        running = self.begin(HTTPCheck(), body='re:"status": *"up"')
        self.answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b'b\r\n{"status": \r\n',
            b'5\r\n"up"}\r\n0\r\n\r\n',
        )
        self.assert_passed(running)

    def test_other_body(self) -> None:
        running = self.begin(HTTPCheck(), body="goodbye")
        self.answer(OK)
        self.assert_failed(running, "the body does not hold what is expected")
        running = self.begin(HTTPCheck(), body="goodbye")
        self.answer(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True)
        self.assert_failed(running, "the body does not hold what is expected")

    def test_body_cut_short(self) -> None:
        running = self.begin(HTTPCheck(), body="goodbye")
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", close=True)
        self.assert_failed(running, "closed in the middle of the body")

    def test_endless_body(self) -> None:
        running = self.begin(HTTPCheck(), body="goodbye")
        self.answer(b"HTTP/1.1 200 OK\r\n\r\n", *([b"x" * 1000] * 100))
        self.assert_failed(
            running, f"what is expected is not in the first {BODY_LIMIT_OCTETS} octets of the body"
        )

    def test_closed_without_an_answer(self) -> None:
        running = self.begin(HTTPCheck())
        self.answer(close=True)
        self.assert_failed(running, "closed without an answer")

    def test_not_http(self) -> None:
        running = self.begin(HTTPCheck())
        self.answer(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        self.assert_failed(running, "its answer is no whole HTTP response")
        self.flushLoggedErrors()

    def test_is_cancellable_anywhere(self) -> None:
        for parts in ((), (b"HTTP/1.1 200",), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",)):
            running = self.begin(HTTPCheck(), body="never")
            self.answer(*parts)
            self.assertNoResult(running)
            running.cancel()
            self.failureResultOf(running)
            self.assertFalse(self.transport.connected)

    @given(st.binary(max_size=64))
    def test_any_answer_ends_it(self, octets: bytes) -> None:
        self.services = StubServices()
        self.connector = self.services.connector
        running = self.begin(HTTPCheck())
        self.answer(octets, close=True)
        self.failureResultOf(running, UpstreamError)
        self.flushLoggedErrors()


class ValidatingTests(CheckCase):
    def test_statuses(self) -> None:
        self.assertEqual(parse_statuses("200-299, 301"), (range(200, 300), range(301, 302)))
        self.assertEqual(parse_statuses("200;204"), (range(200, 201), range(204, 205)))
        for text in ("", "20", "200-", "299-200", "600", "099", "2xx"):
            self.assertRaises(ValueError, parse_statuses, text)

    def test_headers_that_are_not_to_be_set(self) -> None:
        for name in ("Host", "content-length", "a b"):
            entry = Entry(f"header[{name}]", "x", Location("test"))
            self.assertEqual(len(HTTPCheck().validate(written_section("check", (entry,)))), 1)

    def test_values_that_could_inject(self) -> None:
        for options in ({"path": "/ HTTP/1.1"}, {"path": "x"}, {"method": "G T"}, {"host": "a\r\nb"}):
            self.assertRaises(ConfigurationError, section, **options)
