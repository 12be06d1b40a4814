"""C{http}: makes one HTTP request, and looks at the status and the body of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from pmmux.checks.expecting import EXPECTATION_EXPECTED, Expectation, parse_expectation
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION, TLS_OPTION, TLS_OPTIONS, speaks_tls, tls_for
from pmmux.checks.streams import LentStream
from pmmux.checks.verdict import Answer
from pmmux.config.options import Option
from pmmux.errors import Fault, UpstreamError
from pmmux.model import SectionValues
from pmmux.preview import PreviewTransport
from pmmux.tls.upstream import UpstreamContexts

BODY_LIMIT_OCTETS = 65536
LOWEST_STATUS = 100
HIGHEST_STATUS = 599
HTTP_PORT = 80
HTTPS_PORT = 443
DEFAULT_STATUSES = (range(200, 300),)

# RFC 9110 section 5.6.2: a token.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 3986: what may stand in a request's target; no space, no control character.
_REQUEST_TARGET = re.compile(r"/[!-~]*")
_STATUS = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")
_HOST = re.compile(r"[!-~]+")


def parse_statuses(text: str) -> tuple[range, ...]:
    """Codes and ranges of codes with both ends included: C{200-299,301}."""
    found = []
    for part in re.split(r"[,;\s]+", text.strip()):
        matched = _STATUS.fullmatch(part)
        if matched is None:
            raise ValueError("not codes or ranges of codes such as 200-299,301")
        low, high = int(matched[1]), int(matched[2] or matched[1])
        if not LOWEST_STATUS <= low <= high <= HIGHEST_STATUS:
            raise ValueError(f"codes are from {LOWEST_STATUS} to {HIGHEST_STATUS}, the lower one first")
        found.append(range(low, high + 1))
    return tuple(found)


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("not a method")
    return text


def _path(text: str) -> str:
    if not _REQUEST_TARGET.fullmatch(text):
        raise ValueError("a path begins with / and holds neither spaces nor control characters")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("a host holds neither spaces nor control characters")
    return text


def _header_value(text: str) -> str:
    if any(ord(character) < ord(" ") and character != "\t" for character in text):
        raise ValueError("a control character")
    text.encode("latin-1")
    return text


@implementer(IStreamClientEndpoint)
class _LentEndpoint:
    """Gives the agent a stream that is open already."""

    stream: PreviewTransport

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """The agent calls it once."""
        protocol = protocolFactory.buildProtocol(None)
        self.stream.hand_over(protocol)
        return succeed(protocol)


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    def __init__(self, endpoint: _LentEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> _LentEndpoint:
        """The agent calls it."""
        return self._endpoint


class _Body(Protocol):
    """Reads a body until it holds what is expected."""

    def __init__(self, expected: Expectation, answer: Answer) -> None:
        self._expected = expected
        self._answer = answer
        self._received = b""

    def dataReceived(self, data: bytes) -> None:
        """Look whether it is there now."""
        self._received += data
        if self._expected.is_met_by(self._received[:BODY_LIMIT_OCTETS]):
            self._answer.say()
        elif len(self._received) >= BODY_LIMIT_OCTETS:
            self._received = b""
            self._answer.say(f"what is expected is not in the first {BODY_LIMIT_OCTETS} octets of the body")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended."""
        if reason.check(ResponseDone, PotentialDataLoss) is not None:  # type: ignore[no-untyped-call]
            self._answer.say("the body does not hold what is expected")
        else:
            self._answer.say("closed in the middle of the body")


@implementer(IHealthCheck)
class HTTPCheck:
    """See the module. Redirections are not followed: their status is what counts."""

    name = "http"
    options = (
        Option("method", _method, "an HTTP method", "GET", description="Method of the request."),
        Option("path", _path, "a path that begins with /", "/", description="Path, with any query."),
        Option("host", _host, "a host, with any port", description="Host header; absent: the target."),
        Option(
            "header",
            _header_value,
            "text without control characters",
            keyed=True,
            description="A header field of the request.",
        ),
        Option(
            "status",
            parse_statuses,
            "codes or ranges such as 200-299,301",
            DEFAULT_STATUSES,
            description="Statuses that count as healthy.",
        ),
        Option(
            "body",
            parse_expectation,
            EXPECTATION_EXPECTED,
            description="What the body must hold, in its first 64 KiB; absent: it is not read.",
        ),
        TLS_OPTION,
        *TLS_OPTIONS,
        HEADER_OPTION,
    )

    def __init__(self) -> None:
        self._contexts = UpstreamContexts()

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """Header names must be tokens, and some are ours to state."""
        faults = []
        for key, _ in check.keyed("header"):
            name = (key.key or "").lower()
            if not _TOKEN.fullmatch(name):
                faults.append(Fault(check.where(key), f"{name!r} is not a header name"))
            elif name in ("content-length", "transfer-encoding", "connection", "host"):
                expected = "host = …" if name == "host" else ""
                faults.append(Fault(check.where(key), f"{name} is set by pmmux itself", expected))
        return faults

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect and ask."""
        is_secure = speaks_tls(target, check)
        # What the agent speaks, where the backend's traffic negotiates anything.
        tls = tls_for(target, check, self._contexts, ()) if is_secure else None
        endpoint = _LentEndpoint()
        agent = Agent.usingEndpointFactory(services.reactor, _OneEndpoint(endpoint))  # type: ignore[no-untyped-call]
        headers = Headers({"Host": [check.get("host") or _host_of(target, is_secure)]})
        headers.addRawHeader("User-Agent", "pmmux")
        for key, value in check.keyed("header"):
            headers.setRawHeaders((key.key or "").encode("ascii"), [value.encode("latin-1")])
        uri = "http://upstream" + (check.get("path") or "/")
        method: str = check.get("method") or "GET"
        async with LentStream(services, target, check, tls) as stream:
            endpoint.stream = stream
            try:
                response = await agent.request(method.encode("ascii"), uri.encode("ascii"), headers)
            except (ResponseFailed, RequestTransmissionFailed):
                raise UpstreamError(str(target), _reason(stream)) from None
            error = await self._judge(response, check)
        if error:
            raise UpstreamError(str(target), error)

    async def _judge(self, response: Any, check: SectionValues) -> str:
        statuses: tuple[range, ...] = check.get("status") or DEFAULT_STATUSES
        if not any(response.code in codes for codes in statuses):
            return f"status {response.code}"
        expected: Expectation | None = check.get("body")
        if expected is None:
            return ""
        answer = Answer()
        response.deliverBody(_Body(expected, answer))
        return await answer.wait()


def _host_of(target: Any, is_secure: bool) -> str:
    if target.unix_path is not None:
        return "localhost"
    default_port = HTTPS_PORT if is_secure else HTTP_PORT
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == default_port else f"{host}:{target.port}"


def _reason(stream: PreviewTransport) -> str:
    return "its answer is no whole HTTP response" if stream.octets_read else "closed without an answer"


make_check = HTTPCheck
