"""
HTTP with one UPnP device, which is not trusted with anything: not time, memory or where to go.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from pmmux.nat.mapping import NATUnreachable, Reason, refuse
from pmmux.wire.upnp import LARGEST_DOCUMENT_OCTETS, pin_url

USER_AGENT = "pmmux UPnP/1.1"
_LARGEST_HEAD_OCTETS = 16 * 1024
_MOST_OCTETS = LARGEST_DOCUMENT_OCTETS + _LARGEST_HEAD_OCTETS


class _Bounded(ProtocolWrapper):
    """Aborts a connection that brings more octets than any answer may have, headers included."""

    _octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > _MOST_OCTETS:
            self.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]


class _BoundedFactory(WrappingFactory):
    protocol = _Bounded
    noisy = False


class _BoundedEndpoint(TCP4ClientEndpoint):
    """Twisted's endpoint, with the bound beneath the HTTP client."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        # Every request has a factory of its own, which would log its start and its end.
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        bounded = _BoundedFactory(protocolFactory)  # type: ignore[no-untyped-call]
        connected: Deferred[Any] = super().connect(bounded)
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Body(Protocol):
    """Collects a body of at most L{LARGEST_DOCUMENT_OCTETS}."""

    def __init__(self) -> None:
        self.complete: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._chunks: list[bytes] = []
        self._octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets <= LARGEST_DOCUMENT_OCTETS:
            self._chunks.append(data)
        elif not self.complete.called:
            self._abort()
            too_large = refuse(
                Reason.BROKEN_DEVICE, f"the device sends more than {LARGEST_DOCUMENT_OCTETS} octets"
            )
            self.complete.errback(too_large)

    def connectionLost(self, reason: Failure = Failure(ConnectionClosed())) -> None:  # type: ignore  # noqa: B008
        if self.complete.called:
            return
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.complete.callback(b"".join(self._chunks))
        else:
            self.complete.errback(reason)

    def _abort(self) -> None:
        # What Twisted gives a body as its transport can only pause and stop producing.
        transport: Any = self.transport
        getattr(transport, "abortConnection", transport.stopProducing)()


@implementer(IBodyProducer)
class _Question:
    """A request body that is there whole."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Written at once, so nothing to pause."""

    def resumeProducing(self) -> None:
        """Written at once."""

    def stopProducing(self) -> None:
        """Written at once."""


@implementer(IAgentEndpointFactory)
class DeviceHTTP:
    """
    Requests to one device: each with a connection of its own, an absolute deadline and a bound on
    what it may bring; no redirects, no resolver, and to no other host.

    @param host: the device's IPv4 address.
    @param address: our own address to connect from.
    @param timeout_seconds: for a whole request, connecting included.
    """

    def __init__(self, reactor: Any, host: str, address: str, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._host = host
        self._address = address
        self._timeout_seconds = timeout_seconds
        pool = HTTPConnectionPool(reactor, persistent=False)  # type: ignore[no-untyped-call]
        self._agent = Agent.usingEndpointFactory(reactor, self, pool)  # type: ignore[no-untyped-call]

    def endpointForURI(self, uri: Any) -> _BoundedEndpoint:
        """Twisted's Agent asks where to connect; with a numeric host it would ask the resolver still."""
        return _BoundedEndpoint(
            self._reactor, self._host, uri.port, timeout=self._timeout_seconds, bindAddress=(self._address, 0)
        )

    async def fetch(self, url: str) -> bytes:
        """
        Get a document.

        @raises NATUnreachable: no answer in time.
        @raises NATRefused: an answer that is none.
        """
        status, body = await self._request(b"GET", url, {}, None)
        if status != 200:  # noqa: PLR2004
            raise refuse(Reason.BROKEN_DEVICE, f"the device answers with HTTP {status}")
        return body

    async def post(self, url: str, headers: dict[str, str], octets: bytes) -> tuple[int, bytes]:
        """Send a document. @return: the status and body of the answer. Raises as L{fetch} does."""
        return await self._request(b"POST", url, headers, _Question(octets))

    async def _request(
        self, method: bytes, url: str, headers: dict[str, str], question: _Question | None
    ) -> tuple[int, bytes]:
        if pin_url(url, self._host) != url:
            raise refuse(Reason.BROKEN_DEVICE, "the device names an address that is not its own")
        timed = Deferred.fromCoroutine(self._exchange(method, url, headers, question))
        late = NATUnreachable(f"no answer from http://{urlsplit(url).netloc}")

        def expire(_: object, seconds: float) -> None:
            raise late

        timed.addTimeout(self._timeout_seconds, self._reactor, onTimeoutCancel=expire)
        try:
            return await timed
        except ConnectingCancelledError:
            raise CancelledError from None
        except (ConnectError, ConnectionClosed) as error:
            raise NATUnreachable(f"cannot reach http://{urlsplit(url).netloc}: {error}") from None
        except (ResponseFailed, RequestTransmissionFailed) as error:
            # Twisted's HTTP client wraps our own cancelling up with what came of it.
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from None
            if all(reason.check(ConnectionDone, ConnectionLost) for reason in error.reasons):
                raise NATUnreachable(f"http://{urlsplit(url).netloc} closed the connection") from None
            raise refuse(Reason.BROKEN_DEVICE, "the device does not answer in HTTP") from None

    async def _exchange(
        self, method: bytes, url: str, headers: dict[str, str], question: _Question | None
    ) -> tuple[int, bytes]:
        raw = Headers({name: [value] for name, value in headers.items()})
        raw.setRawHeaders("User-Agent", [USER_AGENT])
        response = await self._agent.request(method, url.encode("ascii"), raw, question)
        body = _Body()
        response.deliverBody(body)
        return response.code, await body.complete
