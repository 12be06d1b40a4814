"""C{http-response}: answers HTTP requests itself, with a configured status, body and headers."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.web.http import BAD_REQUEST, HTTPFactory, Request
from zope.interface import implementer

from pmmux.backends.backend import Backend
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.connection import Connection
from pmmux.errors import Fault
from pmmux.interfaces import IBackendProtocol, IProtocolBackend
from pmmux.model import BackendSpec
from pmmux.wire.http1 import RequestLine, normalise_host, read_request_line

LOWEST_FINAL_STATUS = 200
HIGHEST_STATUS = 599
STATUSES_WITHOUT_BODY = frozenset({204, 304})
KEEP_ALIVE_SECONDS = 60
DEFAULT_CONTENT_TYPE = "text/plain; charset=utf-8"

# What browsers take for markup has one of these in its type: image/svg+xml too.
_MARKUP = ("html", "xml")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEMPLATE = re.compile(r"\{(scheme|host|port|method|path|query)\}")


@frozen(slots=True)
class Answer:
    """
    What is answered. Templates in body and header values are filled from the request; in a body of
    HTML or XML what is filled in is escaped.

    @ivar headers: names and values, C{content-type} among them.
    """

    status: int
    body: str
    headers: tuple[tuple[str, str], ...]

    def fill(self, facts: Mapping[str, str]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """The body and the headers for one request."""
        content_type = next(value for name, value in self.headers if name.lower() == "content-type").lower()
        escape = html.escape if any(kind in content_type for kind in _MARKUP) else str
        body = _TEMPLATE.sub(lambda found: escape(facts[found[1]]), self.body).encode("utf-8", "replace")
        headers = [
            (
                name.encode("ascii"),
                _TEMPLATE.sub(lambda found: facts[found[1]], value).encode("latin-1", "replace"),
            )
            for name, value in self.headers
        ]
        return body, headers


class _AnsweringRequest(Request):
    """Twisted calls C{process} when a request is complete."""

    def process(self) -> None:
        """Answer it."""
        line = read_request_line(b"%s %s HTTP/1.1\r\n" % (self.method, self.uri))
        if not isinstance(line, RequestLine) or not self._has_right_host():
            self._refuse()
            return
        factory: _AnsweringFactory = self.channel.factory
        body, headers = factory.answer.fill(self._facts(line, factory.scheme, factory.local_port))
        self.setResponseCode(factory.answer.status)
        for name, value in headers:
            self.responseHeaders.addRawHeader(name, value)
        if factory.answer.status not in STATUSES_WITHOUT_BODY:
            self.setHeader(b"content-length", b"%d" % len(body))  # type: ignore[no-untyped-call]
            if self.method != b"HEAD":
                self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def _has_right_host(self) -> bool:
        """One, and no more; in HTTP/1.0 none will do (RFC 9112, section 3.2)."""
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        if not hosts:
            return bool(self.clientproto == b"HTTP/1.0")
        host = hosts[0].decode("latin-1")
        return len(hosts) == 1 and (not host or normalise_host(host) is not None)

    def _refuse(self) -> None:
        # Whoever sends one that others may read in another way is not heard any further.
        self.channel.persistent = False
        self.setResponseCode(BAD_REQUEST)
        self.setHeader(b"connection", b"close")  # type: ignore[no-untyped-call]
        self.setHeader(b"content-length", b"0")  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def _facts(self, line: RequestLine, scheme: str, local_port: int) -> dict[str, str]:
        # What the target names goes before Host (RFC 9112, section 3.2.2).
        authority = line.authority or (self.getHeader(b"host") or b"").decode("latin-1")
        # A unix socket has no address to put in the place of a missing name.
        own: str = getattr(self.getHost(), "host", "")  # type: ignore[no-untyped-call]
        return {
            "scheme": scheme,
            "host": normalise_host(authority) or own,
            "port": str(local_port),
            "method": line.method,
            "path": line.path or "",
            "query": line.query or "",
        }


class _AnsweringFactory(HTTPFactory):
    """One per connection, because requests on it share what is known of it."""

    noisy = False

    def __init__(self, reactor: Any, answer: Answer, scheme: str, local_port: int) -> None:
        super().__init__(timeout=KEEP_ALIVE_SECONDS, reactor=reactor)
        self.answer = answer
        self.scheme = scheme
        self.local_port = local_port


@implementer(IProtocolBackend)
class HTTPResponseBackend(Backend):
    """Answers."""

    def __init__(self, spec: BackendSpec, condition: Any, services: Any) -> None:
        """@param services: L{pmmux.registry.Services}"""
        super().__init__(spec, condition)
        self._reactor = services.reactor
        headers = tuple((key.key or "", value) for key, value in spec.options.keyed("response.header"))
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers = (*headers, ("Content-Type", DEFAULT_CONTENT_TYPE))
        self._answer = Answer(spec.options.get("response.status"), spec.options.get("response.body"), headers)

    def build_protocol(self, connection: Connection) -> Any:
        """Twisted's HTTP server, answering every request the same way."""
        scheme = "https" if connection.properties.get("tls.terminated") == "true" else "http"
        factory = _AnsweringFactory(self._reactor, self._answer, scheme, connection.client.local.port)
        protocol = factory.buildProtocol(None)
        protocol.requestFactory = _AnsweringRequest  # type: ignore[union-attr]
        return protocol


def _header_value(text: str) -> str:
    if any(ord(character) < ord(" ") and character != "\t" for character in text):
        raise ValueError("a control character")
    text.encode("latin-1")
    return text


@implementer(IBackendProtocol)
class HTTPResponseProtocol:
    """See the module."""

    name = "http-response"
    transports = ("tcp",)
    options = (
        Option(
            "response.status",
            values.integer(LOWEST_FINAL_STATUS, HIGHEST_STATUS),
            f"a number from {LOWEST_FINAL_STATUS} to {HIGHEST_STATUS}",
            default=200,
            description="The status code.",
        ),
        Option(
            "response.body",
            str,
            "text",
            default="",
            description="The body; `{scheme} {host} {port} {method} {path} {query}` are filled in.",
        ),
        Option(
            "response.header",
            _header_value,
            "text without control characters",
            keyed=True,
            description="A header field; filled in like the body.",
        ),
    )

    def validate(self, spec: BackendSpec) -> Sequence[Fault]:
        """Header names must be tokens, and the length is ours to state."""
        faults = []
        for key, _ in spec.options.keyed("response.header"):
            name = key.key or ""
            if not _FIELD_NAME.fullmatch(name):
                faults.append(Fault(spec.options.where(key), f"{name!r} is not a header name"))
            elif name.lower() in ("content-length", "transfer-encoding", "connection"):
                faults.append(Fault(spec.options.where(key), f"{name} is set by pmmux itself"))
        return faults

    def create(self, spec: BackendSpec, condition: Any, services: Any) -> HTTPResponseBackend:
        """Make one."""
        return HTTPResponseBackend(spec, condition, services)


protocol = HTTPResponseProtocol()
