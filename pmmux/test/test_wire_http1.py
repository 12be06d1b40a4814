"""The HTTP/1 request line and header section."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire.http1 import (
    HeaderSection,
    Incomplete,
    RequestLine,
    normalise_host,
    read_header_section,
    read_host,
    read_request_line,
)


def read_head(octets: bytes) -> tuple[RequestLine, HeaderSection]:
    line = read_request_line(octets)
    assert isinstance(line, RequestLine), line
    section = read_header_section(octets, line.end)
    assert section is not None
    return line, section


def host_of(octets: bytes) -> str | None:
    return read_host(*read_head(octets))


class RequestLineTests(SynchronousTestCase):
    def test_forms_of_target(self) -> None:
        for target, path, query, authority in (
            (b"/", "/", None, None),
            (b"/a/b?c=d?e", "/a/b", "c=d?e", None),
            (b"/a?", "/a", "", None),
            (b"*", "*", None, None),
            (b"http://h.example:80/a?b", "/a", "b", "h.example:80"),
            (b"HTTP://h.example", "/", None, "h.example"),
            (b"http://h.example?b/c", "/", "b/c", "h.example"),
            (b"/http://h.example/", "/http://h.example/", None, None),
            (b"/%2e%2E/%00", "/%2e%2E/%00", None, None),
            ("/caf\u00e9?\u00fc".encode(), "/caf%C3%A9", "%C3%BC", None),
            (b"/\x9b31m", "/%9B31m", None, None),
        ):
            octets = b"GET " + target + b" HTTP/1.1\r\n"
            self.assertEqual(
                read_request_line(octets + b"Host"),
                RequestLine("GET", "1.1", path, query, authority, len(octets)),
            )

    def test_connect(self) -> None:
        line = read_request_line(b"CONNECT h.example:443 HTTP/1.0\r\n")
        self.assertEqual(line, RequestLine("CONNECT", "1.0", None, None, "h.example:443", 32))

    def test_methods(self) -> None:
        for method in (b"GET", b"m-search", b"!#$%&'*+-.^_`|~09", b"A" * 32):
            line = read_request_line(method + b" / HTTP/1.1\r\n")
            assert isinstance(line, RequestLine), line
            self.assertEqual(line.method, method.decode("ascii"))

    def test_every_prefix_is_incomplete(self) -> None:
        octets = b"OPTIONS /a?b HTTP/1.1\r\n"
        for length in range(len(octets)):
            self.assertEqual(read_request_line(octets[:length]), Incomplete(length + 1))

    def test_refused_at_the_first_octet_that_cannot_be(self) -> None:
        for octets in (
            b"\x16",
            b" ",
            b"\r",
            b"\n",
            b"GET\t",
            b"G\xc3",
            b"GE(",
            b"A" * 33,
            b"A" * 33 + b" / HTTP/1.1\r\n",
            b"GET  ",
            b"GET /\x00",
            b"GET /\x7f",
            b"GET /\t",
            b"GET /\r",
            b"GET /\n",
            b"GET foo\r\n",
            b"GET / H ",
            b"GET / http",
            b"GET / HTTP/2",
            b"GET / HTTP/1.x",
            b"GET / HTTP/1.1 ",
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\r\r",
            b"GET / HTTP/1.10",
            b"PRI * HTTP/2",
            b"OPTIONS sip:a@b S",
            b"OPTIONS rtsp://a/ R",
            b"\r\nGET / HTTP/1.1\r\n",
        ):
            self.assertIsNone(read_request_line(octets), octets)
        for octets in (b"A" * 32, b"GET / HTTP/1.", b"PRI * HTTP/", b"OPTIONS sip:a@b "):
            self.assertIsInstance(read_request_line(octets), Incomplete)


class HeaderSectionTests(SynchronousTestCase):
    def test_fields(self) -> None:
        _, section = read_head(
            b"GET / HTTP/1.1\r\nHOST:  a \t\r\nX:\r\nCookie: a=b; c\r\nX: \xe9\ty\r\n\r\nbody: x"
        )
        self.assertEqual(
            section,
            HeaderSection((("host", "a"), ("x", ""), ("cookie", "a=b; c"), ("x", "\u00e9\ty"))),
        )

    def test_no_fields(self) -> None:
        self.assertEqual(read_head(b"GET / HTTP/1.0\r\n\r\nA: b")[1], HeaderSection(()))

    def test_nothing_before_its_end(self) -> None:
        octets = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for length in range(16, len(octets)):
            self.assertIsNone(read_header_section(octets[:length], 16))

    def test_broken_lines(self) -> None:
        for line in (
            b"Host : a",
            b"no field",
            b": empty",
            b" folded",
            b"\tfolded",
            b"A: b\nC: d",
            b"A: b\rC",
            b"A: \x00",
            b"A: \x1b[1m",
            b"A: \x7f",
            b"A\xe9: b",
        ):
            _, section = read_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
            self.assertEqual(section, HeaderSection((), False), line)


class HostTests(SynchronousTestCase):
    def test_normalised(self) -> None:
        for authority, host in (
            ("Shop.Example.ORG", "shop.example.org"),
            ("shop.example.org.:8443", "shop.example.org"),
            ("shop:", "shop"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("_a-b.xn--c", "_a-b.xn--c"),
            ("", None),
            (".", None),
            (":80", None),
            ("user@shop", None),
            ("shop:http", None),
            ("shop:65536", None),
            ("shop:123456", None),
            ("shop/..", None),
            ("a b", None),
            ("2001:db8::1", None),
            ("[::1", None),
            ("[g]", None),
            ("b\u00fccher", None),
            ("a\n", None),
        ):
            self.assertEqual(normalise_host(authority), host, authority)

    def test_where_it_stands(self) -> None:
        start = b"GET / HTTP/1.1\r\n"
        absolute = b"GET http://A.example:80/ HTTP/1.1\r\n"
        for octets, host in (
            (start + b"Host: B.example:80\r\n\r\n", "b.example"),
            (start + b"\r\n", None),
            (start + b"Host:\r\n\r\n", None),
            (start + b"Host: b\r\nHost: B:80\r\n\r\n", "b"),
            (start + b"Host: b\r\nHost: c\r\n\r\n", None),
            (start + b"Host: b\r\nHost:\r\n\r\n", None),
            (start + b"Host: b\r\n c\r\n\r\n", None),
            (absolute + b"Host: b\r\n\r\n", "a.example"),
            (absolute + b"\r\n", "a.example"),
            (absolute + b"Host: b\r\nHost: c\r\n\r\n", None),
            (absolute + b"Host: b\r\nbroken\r\n\r\n", None),
            (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", None),
            (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "a.example"),
        ):
            self.assertEqual(host_of(octets), host, octets)
