"""C{http-response}: what is answered, to whatever is asked, and to what is not HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.http_response import KEEP_ALIVE_SECONDS, protocol
from pmmux.errors import ConfigurationError
from pmmux.interfaces import IBackend, IProtocolBackend
from pmmux.matching import compile_condition
from pmmux.model import Address
from pmmux.test.doubles import make_client, make_connection, make_services, make_spec

GET = b"GET %s HTTP/1.1\r\nHost: web.example\r\n\r\n"


class HTTPResponseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def tearDown(self) -> None:
        self.clock.advance(KEEP_ALIVE_SECONDS * 3)
        self.clock.advance(KEEP_ALIVE_SECONDS * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(
        self, written: Mapping[str, str], *said: bytes, properties: Mapping[str, str] = {}, unix: bool = False
    ) -> None:
        spec = make_spec("answer", protocol, written)
        self.assertEqual(list(protocol.validate(spec)), [])
        backend = protocol.create(spec, compile_condition(spec.options), make_services(self.clock))
        verifyObject(IBackend, backend)
        verifyObject(IProtocolBackend, backend)
        client = make_client(local=Address("203.0.113.1", 8080))
        if unix:
            client = make_client(Address("", 0, "unix"), Address("/run/x", 0, "unix"))
        connection = make_connection(self.clock, *said, client=client)
        for name, value in properties.items():
            connection.properties[name] = value
        self.transport = connection.stream.transport
        if unix:
            self.transport.hostAddr = UNIXAddress("/run/x")
        connection.stream.hand_over(backend.build_protocol(connection))
        self.clock.advance(0)

    def ask(
        self, written: Mapping[str, str], *said: bytes, **rest: object
    ) -> tuple[bytes, dict[str, str], bytes]:
        """@return: the status line, the headers and everything after the head."""
        self.connect(written, *said, **rest)
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        headers = dict(field.decode().lower().split(": ", 1) for field in fields)
        return line, headers, body


class AnswerTests(HTTPResponseCase):
    def test_status_body_and_headers(self) -> None:
        line, headers, body = self.ask(
            {"response.status": "404", "response.body": "nothing here", "response.header[X-Why]": "because"},
            GET % b"/",
        )
        self.assertEqual((line, body), (b"HTTP/1.1 404 Not Found", b"nothing here"))
        self.assertEqual(headers["x-why"], "because")
        self.assertEqual(headers["content-length"], "12")
        self.assertEqual(headers["content-type"], "text/plain; charset=utf-8")
        self.assertTrue(self.transport.connected)

    def test_empty(self) -> None:
        line, headers, body = self.ask({}, GET % b"/")
        self.assertEqual((line, headers["content-length"], body), (b"HTTP/1.1 200 OK", "0", b""))

    def test_templates(self) -> None:
        _, headers, body = self.ask(
            {
                "response.body": "{scheme}|{host}|{port}|{method}|{path}|{query}|{other}",
                "response.header[Location]": "https://{host}{path}",
            },
            GET % b"/a%20b?c=d&e",
        )
        self.assertEqual(body, b"http|web.example|8080|GET|/a%20b|c=d&e|{other}")
        self.assertEqual(headers["location"], "https://web.example/a%20b")

    def test_absolute_target(self) -> None:
        _, headers, body = self.ask(
            {"response.body": "{query}", "response.header[Location]": "https://{host}{path}"},
            GET % b"http://shop.example:80/a?b",
        )
        self.assertEqual((headers["location"], body), ("https://shop.example/a", b"b"))

    def test_templates_are_not_filled_twice(self) -> None:
        _, _, body = self.ask({"response.body": "{path}"}, GET % b"/{host}")
        self.assertEqual(body, b"/{host}")

    def test_length_in_octets(self) -> None:
        _, headers, body = self.ask({"response.body": "ä€"}, GET % b"/")
        self.assertEqual((body, headers["content-length"]), ("ä€".encode(), "5"))

    def test_scheme_behind_tls(self) -> None:
        found = self.ask({"response.body": "{scheme}"}, GET % b"/", properties={"tls.terminated": "true"})
        self.assertEqual(found[2], b"https")

    def test_html_is_escaped(self) -> None:
        for kind in (
            "text/html",
            "Text/HTML; charset=utf-8",
            "application/xhtml+xml",
            "image/svg+xml",
            "text/xml",
        ):
            _, _, body = self.ask(
                {"response.header[content-type]": kind, "response.body": "<b>{path}</b>"},
                GET % b"/<script>'\"",
            )
            self.assertEqual(body, b"<b>/&lt;script&gt;&#x27;&quot;</b>", kind)

    def test_text_is_not(self) -> None:
        self.assertEqual(self.ask({"response.body": "{path}"}, GET % b"/<b>")[2], b"/<b>")

    def test_head_is_as_get_without_the_body(self) -> None:
        line, headers, body = self.ask(
            {"response.body": "nothing"}, b"HEAD / HTTP/1.1\r\nHost: web.example\r\n\r\n"
        )
        self.assertEqual((line, headers["content-length"], body), (b"HTTP/1.1 200 OK", "7", b""))

    def test_statuses_without_a_body(self) -> None:
        for status in ("204", "304"):
            _, headers, body = self.ask({"response.status": status, "response.body": "x"}, GET % b"/")
            self.assertEqual(body, b"")
            self.assertNotIn("content-length", headers)

    def test_post_with_a_body(self) -> None:
        request = b"POST /x HTTP/1.1\r\nHost: web.example\r\nContent-Length: 5\r\n\r\nhello"
        self.assertEqual(self.ask({"response.body": "{method}"}, request)[2], b"POST")

    def test_without_a_host(self) -> None:
        for unix, expected in ((False, b"[10.0.0.1]"), (True, b"[]")):
            line, _, body = self.ask({"response.body": "[{host}]"}, b"GET / HTTP/1.0\r\n\r\n", unix=unix)
            self.assertTrue(line.endswith(b"200 OK"))
            self.assertEqual(body, expected)
            self.assertFalse(self.transport.connected)

    def test_bad_hosts(self) -> None:
        for fields in (
            b"",
            b"Host: a.example\r\nHost: a.example\r\n",
            b"Host: a.example b.example\r\n",
            b"Host: user@a.example\r\n",
        ):
            request = b"GET / HTTP/1.1\r\n%sX-Next: 1\r\n\r\n" % fields
            line, headers, body = self.ask({"response.body": "x"}, request + GET % b"/")
            self.assertEqual((line, body), (b"HTTP/1.1 400 Bad Request", b""), fields)
            self.assertEqual((headers["connection"], headers["content-length"]), ("close", "0"))
            self.assertFalse(self.transport.connected)

    def test_hosts_that_will_do(self) -> None:
        for host, expected in (
            (b"", b"[10.0.0.1]"),
            (b"[::1]:80", b"[[::1]]"),
            (b"A.example:", b"[a.example]"),
        ):
            request = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host
            line, _, body = self.ask({"response.body": "[{host}]"}, request)
            self.assertEqual((line, body), (b"HTTP/1.1 200 OK", expected), host)


class ConnectionTests(HTTPResponseCase):
    def test_keep_alive_and_pipelining(self) -> None:
        self.connect({"response.body": "{path}."}, GET % b"/1" + GET % b"/2", GET % b"/3")
        self.transport.deliver(GET % b"/4")
        answers = self.transport.value().split(b"HTTP/1.1 200 OK")
        self.assertEqual(
            [answer.rpartition(b"\r\n")[2] for answer in answers[1:]], [b"/1.", b"/2.", b"/3.", b"/4."]
        )
        self.assertTrue(self.transport.connected)

    def test_closed_when_asked(self) -> None:
        self.connect({}, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertFalse(self.transport.connected)

    def test_closed_when_idle(self) -> None:
        self.connect({}, GET % b"/")
        self.clock.advance(KEEP_ALIVE_SECONDS + 1)
        self.clock.advance(0)
        self.assertFalse(self.transport.connected)

    def test_request_in_pieces(self) -> None:
        request = GET % b"/pieces"
        self.connect({"response.body": "{path}"}, request[:7])
        for at in range(7, len(request)):
            self.transport.deliver(request[at : at + 1])
        self.assertTrue(self.transport.value().endswith(b"/pieces"))

    def test_what_is_not_http(self) -> None:
        self.connect({}, b"\x16\x03\x01 what\r\n\r\n")
        self.assertFalse(self.transport.connected)


class ValidateTests(SynchronousTestCase):
    def test_headers_that_are_ours(self) -> None:
        for name in ("Content-Length", "transfer-encoding", "Connection"):
            (fault,) = protocol.validate(make_spec("x", protocol, {f"response.header[{name}]": "1"}))
            self.assertIn("set by pmmux itself", fault.message)

    def test_names_that_are_none(self) -> None:
        (fault,) = protocol.validate(make_spec("x", protocol, {"response.header[a b]": "1"}))
        self.assertIn("not a header name", fault.message)

    def test_values(self) -> None:
        for written in (
            {"response.status": "199"},
            {"response.status": "600"},
            {"response.status": "x"},
            {"response.header[a]": "x\ny"},
            {"response.header[a]": "\x00"},
            {"response.header[a]": "€"},
        ):
            with self.assertRaises(ConfigurationError, msg=str(written)):
                make_spec("x", protocol, written)
