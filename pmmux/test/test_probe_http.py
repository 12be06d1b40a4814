"""The probes C{http} and C{http2}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.model import MATCH, NO_MATCH, Verdict, match, need
from pmmux.probes import http, http2
from pmmux.wire.http2 import PREFACE

HEAD = b"GET /a?b HTTP/1.1\r\nHost: Shop.example.org:80\r\nAccept: x\r\naccept: y\r\n\r\n"
LINE_PROPERTIES = {
    "http.method": "GET",
    "http.version": "1.1",
    "http.path": "/a",
    "http.query": "b",
}


class HTTPProbeTests(SynchronousTestCase):
    def test_whole_head(self) -> None:
        expected = match(
            {
                **LINE_PROPERTIES,
                "http.host": "shop.example.org",
                "http.header.host": "Shop.example.org:80",
                "http.header.accept": "x, y",
            }
        )
        self.assertEqual(http.inspect(HEAD), expected)
        self.assertEqual(http.inspect(HEAD + b"body"), expected)

    def test_every_prefix(self) -> None:
        line_end = HEAD.index(b"\r\n") + 2
        for length in range(line_end):
            self.assertEqual(http.inspect(HEAD[:length]), need(length + 1))
        for length in range(line_end, len(HEAD)):
            self.assertEqual(http.inspect(HEAD[:length]), match(LINE_PROPERTIES, length + 1))

    def test_broken_header_section_is_http_without_headers(self) -> None:
        verdict = http.inspect(b"GET / HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n")
        self.assertEqual(verdict, match({"http.method": "GET", "http.version": "1.1", "http.path": "/"}))

    def test_two_hosts(self) -> None:
        verdict = http.inspect(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.assertTrue(verdict.matched)
        self.assertNotIn("http.host", verdict.properties)
        self.assertEqual(verdict.properties["http.header.host"], "a, b")

    def test_no_http(self) -> None:
        for octets in (b"\x16", b"GET foo\r\n", b"SSH-2.0-x\r\n", PREFACE, b"OPTIONS sip:a SIP/2.0\r\n"):
            self.assertEqual(http.inspect(octets), NO_MATCH)

    def test_ports_and_connect(self) -> None:
        verdict = http.inspect(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n")
        self.assertEqual(
            verdict,
            match({"http.method": "CONNECT", "http.version": "1.1", "http.host": "a.example"}),
        )


class HTTP2ProbeTests(SynchronousTestCase):
    def test_preface(self) -> None:
        for length in range(len(PREFACE)):
            self.assertEqual(http2.inspect(PREFACE[:length]), Verdict(None, length + 1))
        self.assertEqual(http2.inspect(PREFACE), MATCH)
        self.assertEqual(http2.inspect(PREFACE + b"\x00"), MATCH)

    def test_anything_else(self) -> None:
        for octets in (b"G", b"PRX", b"PRI * HTTP/1.1\r\n", PREFACE[:-1] + b"x"):
            self.assertEqual(http2.inspect(octets), NO_MATCH)
