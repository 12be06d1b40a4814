"""
TLS, terminated for some names and left untouched for others on the same port, as the previewed
ClientHello says. After termination the router sees the plaintext.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from zope.interface import implementer

from pmmux.conditions import Names
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.connection import Connection
from pmmux.errors import (
    OUTCOME_CLIENT_GONE,
    OUTCOME_MALFORMED,
    OUTCOME_NEGOTIATION_FAILED,
    Fault,
    RouteError,
)
from pmmux.interfaces import INegotiator
from pmmux.model import OptionKey, Properties
from pmmux.preview import Preview
from pmmux.probes.hello import HelloProperties
from pmmux.tls.contexts import OFF, REQUIRE, ListenerContexts
from pmmux.tls.faults import HandshakeFailed
from pmmux.tls.options import (
    CERTIFICATE_SECTION,
    LISTENER_OPTIONS,
    TLS_SECTION,
    certificate_faults,
    certificate_store,
    listener_faults,
    listener_tls,
    terminates,
    tls_settings,
)
from pmmux.tls.stream import shake_hands
from pmmux.transport.timeouts import TimeoutQueue
from pmmux.wire.tls import ClientHello, Incomplete, Malformed, read_client_hello

_ALPN_SAFE = "!\"#$&'()*+-./:;<=>?@[]^_`{|}~"


def _names(names: Sequence[str]) -> Names:
    wildcards = frozenset(name[2:] for name in names if name.startswith("*."))
    return Names(frozenset(name for name in names if not name.startswith("*.")), wildcards)


class Terminating:
    """
    What one listener does with TLS.

    @ivar requires: whether plaintext is refused.
    @ivar passed: names whose TLS is left untouched.
    """

    def __init__(
        self,
        requires: bool,
        passed: Sequence[str],
        contexts: ListenerContexts,
        silence: TimeoutQueue,
        hello: TimeoutQueue,
    ) -> None:
        """
        @param silence: for how long a client is waited for that says nothing.
        @param hello: for how long a ClientHello is waited for that has begun.
        """
        self.requires = requires
        self.passed = _names(passed)
        self.contexts = contexts
        self.silence = silence
        self.hello = hello

    def choose(self, hello: ClientHello, octets: bytes) -> SSL.Context | None:
        """
        What the TLS of a client is to be terminated with; C{None} where it is left untouched.

        @param octets: those that C{hello} was read from.
        """
        if hello.server_name is not None and self.passed.contain(hello.server_name):
            return None
        return self.contexts.choose(hello.server_name, octets)


@implementer(INegotiator)
class TLSNegotiator:
    """Terminates TLS."""

    name = "tls"

    def __init__(self, terminating: Terminating | None = None) -> None:
        """@param terminating: C{None} where nothing is."""
        self.terminating = terminating

    def add_options(self, registry: Any) -> None:
        """Sections for certificates, and options for listeners."""
        registry.add_section(TLS_SECTION)
        registry.add_section(CERTIFICATE_SECTION)
        registry.add_options("listener", LISTENER_OPTIONS)

    def validate(self, settings: Settings) -> Sequence[Fault]:
        """Every certificate must be usable, and what listeners ask for must be possible."""
        faults = certificate_faults(settings)
        for listener in settings.listeners:
            faults += listener_faults(listener, settings)
            mode = listener.options.get("tls")
            if mode not in (None, OFF) and self.name not in settings.globals.get("negotiators"):
                where = listener.options.where(OptionKey("tls"))
                faults.append(
                    Fault(where, "needs tls among the negotiators in [pmmux]", "negotiators = tls, …")
                )
        return faults

    def for_listener(self, listener: ListenerSpec, settings: Settings, services: Any) -> TLSNegotiator | None:
        """Only listeners that may terminate TLS have it in their chain."""
        mode = terminates(listener, settings)
        if mode == OFF or listener.transport != "tcp":
            return None
        asked = tls_settings(settings)
        clock = services.reactor
        contexts = ListenerContexts(
            certificate_store(settings, services), asked, listener_tls(listener), clock.seconds
        )
        terminating = Terminating(
            mode == REQUIRE,
            tuple(listener.options.get("tls-pass") or ()),
            contexts,
            TimeoutQueue(clock, settings.globals.get("detect-timeout")),
            TimeoutQueue(clock, asked.hello_seconds),
        )
        return TLSNegotiator(terminating)

    async def negotiate(
        self, connection: Connection, proceed: Callable[[Connection], Awaitable[Connection]]
    ) -> Connection:
        """Terminate TLS where it is to be."""
        terminating = self.terminating
        if terminating is None:
            return await proceed(connection)
        hello = await self._hear(connection.preview, terminating)
        context = None
        if hello is None:
            if terminating.requires:
                raise _refusal("plaintext, where TLS is required")
        else:
            context = terminating.choose(hello, connection.preview.octets)
        if hello is None or context is None:
            connection.properties["tls.terminated"] = "false"
        else:
            await self._terminate(connection, hello, context)
        return await proceed(connection)

    async def _hear(self, preview: Preview, terminating: Terminating) -> ClientHello | None:
        queue = timeout = None
        try:
            while isinstance(found := read_client_hello(preview.octets), Incomplete):
                if preview.ended and not preview.size:
                    raise RouteError(OUTCOME_CLIENT_GONE, "the client said nothing and closed")
                if preview.final or found.octets_needed > preview.limit_octets:
                    if found.is_certain:
                        raise RouteError(OUTCOME_MALFORMED, "tls: truncated TLS ClientHello, or too long")
                    return None
                wanted = terminating.hello if found.is_certain else terminating.silence
                if wanted is not queue:
                    if queue is not None and timeout is not None:
                        queue.cancel(timeout)
                    queue, timeout = wanted, wanted.add(preview.finish)
                await preview.changed(found.octets_needed)
        finally:
            if queue is not None and timeout is not None:
                queue.cancel(timeout)
        if isinstance(found, Malformed):
            # What begins as TLS and is broken must not reach a rule that asks for less.
            raise RouteError(OUTCOME_MALFORMED, f"tls: {found.reason}")
        return found

    async def _terminate(self, connection: Connection, hello: ClientHello, context: SSL.Context) -> None:
        secured = SSL.Connection(context)
        secured.set_accept_state()
        below = connection.stream
        try:
            _, plain = await shake_hands(secured, below, below.preview.limit_octets, lambda stream: None)
        except HandshakeFailed as failed:
            if failed.is_gone:
                raise RouteError(OUTCOME_CLIENT_GONE, "the client closed during the TLS handshake") from None
            raise refuse_handshake(str(failed)) from None
        connection.stream = plain
        describe_terminated(connection.properties, secured, hello)
        name = hello.server_name or "no name"
        connection.trace.negotiators.append((self.name, f"terminated for {name}"))


def _refusal(detail: str) -> RouteError:
    return RouteError(OUTCOME_NEGOTIATION_FAILED, detail)


def refuse_handshake(why: str) -> RouteError:
    """The end of a handshake that failed."""
    return _refusal(f"TLS handshake: {why}")


def _alpn_of(secured: SSL.Connection) -> str | None:
    alpn = secured.get_alpn_proto_negotiated()
    return quote(alpn, _ALPN_SAFE) if alpn else None


def _client_name(certificate: x509.Certificate) -> str | None:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else None


_READERS: Mapping[str, Callable[[SSL.Connection], str | None]] = {
    "tls": lambda secured: "true",
    "tls.terminated": lambda secured: "true",
    "tls.protocol": lambda secured: secured.get_protocol_version_name(),
    "tls.cipher-suite": lambda secured: secured.get_cipher_name(),
    "tls.application-protocol": _alpn_of,
}
_CERTIFICATE_READERS: Mapping[str, Callable[[x509.Certificate], str | None]] = {
    "tls.client.certificate": lambda certificate: "true",
    # One that is not ends the handshake.
    "tls.client.verified": lambda certificate: "true",
    "tls.client.name": _client_name,
    "tls.client.subject": lambda certificate: certificate.subject.rfc4514_string(),
    "tls.client.issuer": lambda certificate: certificate.issuer.rfc4514_string(),
    "tls.client.serial": lambda certificate: format(certificate.serial_number, "x"),
    "tls.client.fingerprint": lambda certificate: certificate.fingerprint(SHA256()).hex(),
}
_WITHOUT_CERTIFICATE = {"tls.client.certificate": "false", "tls.client.verified": "false"}


class SecuredProperties(Mapping[str, str]):
    """What a handshake has told, each property made when it is asked for."""

    __slots__ = ("_secured",)

    def __init__(self, secured: SSL.Connection) -> None:
        self._secured = secured

    def get(self, name: str, default: Any = None) -> Any:
        """The property C{name}, or C{default}."""
        found: str | None = None
        read = _READERS.get(name)
        if read is not None:
            found = read(self._secured)
        elif name in _CERTIFICATE_READERS:
            certificate = self._secured.get_peer_certificate(as_cryptography=True)
            if certificate is None:
                found = _WITHOUT_CERTIFICATE.get(name)
            else:
                found = _CERTIFICATE_READERS[name](certificate)
        return default if found is None else found

    def __getitem__(self, name: str) -> str:
        found: str | None = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in (*_READERS, *_CERTIFICATE_READERS) if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def describe_terminated(properties: Properties, secured: SSL.Connection, hello: ClientHello) -> None:
    """Let C{properties} tell of a handshake and its ClientHello."""
    properties.join(SecuredProperties(secured))
    properties.join(HelloProperties(hello))


negotiator = TLSNegotiator()
