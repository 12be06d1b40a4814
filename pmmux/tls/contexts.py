"""OpenSSL's contexts: what one certificate is presented with on one listener."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from pmmux.errors import OUTCOME_NEGOTIATION_FAILED, RouteError
from pmmux.tls.certificates import Certificate, load_authorities, now_utc
from pmmux.tls.interfaces import ICertificateStore
from pmmux.tls.tickets import find_ticket_key_name
from pmmux.tls.watching import Pace, Watched

# Mozilla's "intermediate" of 2024, without the finite-field groups:
# https://wiki.mozilla.org/Security/Server_Side_TLS
INTERMEDIATE_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
CIPHER_SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
VERSION_1_2, VERSION_1_3 = "1.2", "1.3"
_VERSIONS = {VERSION_1_2: SSL.TLS1_2_VERSION, VERSION_1_3: SSL.TLS1_3_VERSION}
# OpenSSL's SSL_MODE_ENABLE_PARTIAL_WRITE: without it one call encrypts everything, as memory takes all.
_PARTIAL_WRITE = 1
_SESSION_CONTEXT = b"pmmux"
OFF, OPTIONAL, REQUIRE = "off", "optional", "require"


class NoCommonProtocolError(Exception):
    """What the client offers by ALPN has nothing of what the listener speaks (RFC 7301 section 3.2)."""

    def __str__(self) -> str:
        return "no application protocol in common"


@frozen
class TLSSettings:
    """
    The C{[tls]} section.

    @ivar versions: of C{VERSION_*}.
    @ivar ciphers: for TLS 1.2, as OpenSSL writes them.
    @ivar cipher_suites: for TLS 1.3.
    @ivar has_tickets: whether sessions may be resumed.
    @ivar ticket_rotation_seconds: how long tickets are made with the same key. They can be resumed for
        so long again.
    @ivar hello_seconds: how long a ClientHello that has begun may take.
    @ivar generates: whether names without a certificate get one that we sign ourselves.
    """

    versions: tuple[str, ...] = (VERSION_1_2, VERSION_1_3)
    ciphers: str = INTERMEDIATE_CIPHERS
    cipher_suites: str = CIPHER_SUITES
    has_tickets: bool = True
    ticket_rotation_seconds: float = 12 * 3600.0
    hello_seconds: float = 5.0
    generates: bool = False


@frozen
class ListenerTLS:
    """
    What a listener asks of TLS.

    @ivar alpn: the application protocols, the preferred one first; empty to negotiate none.
    @ivar client_certificates: C{OFF}, C{OPTIONAL} or C{REQUIRE}.
    @ivar client_ca_path: whom client certificates are verified by.
    """

    alpn: tuple[bytes, ...] = ()
    client_certificates: str = OFF
    client_ca_path: str = ""


def bare_context(method: int, settings: TLSSettings) -> SSL.Context:
    """A context for servers or clients with what both have alike."""
    context = SSL.Context(method)
    numbers = [_VERSIONS[version] for version in settings.versions]
    context.set_min_proto_version(min(numbers))
    context.set_max_proto_version(max(numbers))
    context.set_cipher_list(settings.ciphers.encode("ascii"))
    context.set_tls13_ciphersuites(settings.cipher_suites.encode("ascii"))
    context.clear_mode(_PARTIAL_WRITE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def present(context: SSL.Context, certificate: Certificate) -> None:
    """
    Show C{certificate} and its chain to the other side.

    @raises OpenSSL.SSL.Error: it cannot be used.
    """
    context.use_certificate(certificate.leaf)
    for following in certificate.chain:
        context.add_extra_chain_cert(following)
    context.use_privatekey(certificate.key)


def make_context(
    certificate: Certificate,
    settings: TLSSettings,
    listener: ListenerTLS,
    authorities: Sequence[x509.Certificate] = (),
) -> SSL.Context:
    """
    @param authorities: whom client certificates are verified by.
    @raises OpenSSL.SSL.Error: the certificate cannot be used.
    """
    context = bare_context(SSL.TLS_SERVER_METHOD, settings)
    # Tickets hold the session: nothing is kept here.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_CONTEXT)
    if settings.has_tickets:
        # Until the key after the next one.
        context.set_timeout(int(2 * settings.ticket_rotation_seconds))
    else:
        context.set_options(SSL.OP_NO_TICKET)
    present(context, certificate)
    # That the name was used is acknowledged only where somebody looks at it (RFC 6066 section 3).
    context.set_tlsext_servername_callback(_look_at_name)
    if listener.alpn:
        context.set_alpn_select_callback(_alpn_chooser(listener.alpn))
    staple = certificate.staple
    if staple is not None:
        # It may grow too old while the context is in use.
        context.set_ocsp_server_callback(lambda connection, data: staple.octets_at(now_utc(time.time())))
    if listener.client_certificates != OFF:
        _ask_for_certificate(context, listener.client_certificates == REQUIRE, authorities)
    return context


def _look_at_name(connection: SSL.Connection) -> None:
    """It has been looked at already, in the preview."""


def _alpn_chooser(ours: tuple[bytes, ...]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    def choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in ours:
            if name in offered:
                return name
        # OpenSSL makes an alert of it.
        raise NoCommonProtocolError

    return choose


def _ask_for_certificate(
    context: SSL.Context, is_required: bool, authorities: Sequence[x509.Certificate]
) -> None:
    believed = context.get_cert_store()
    for authority in authorities:
        if believed is not None:
            believed.add_cert(X509.from_cryptography(authority))
        # The names that the client is told.
        context.add_client_ca(authority)
    must = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if is_required else 0
    context.set_verify(SSL.VERIFY_PEER | must)


class _Rotating:
    """
    A context, replaced by another of its kind from time to time: with it goes the key of its tickets.

    The one before stays for the tickets it has made; by the name of their key, which stands in the
    ClientHello, they are known.
    """

    __slots__ = ("_made_at", "_make", "_previous", "_previous_key_name", "_rotation_seconds", "current")

    def __init__(self, make: Callable[[], SSL.Context], now: float, rotation_seconds: float) -> None:
        self._make = make
        self._made_at = now
        self._rotation_seconds = rotation_seconds
        self._previous: SSL.Context | None = None
        self._previous_key_name = b""
        self.current = make()

    def choose(self, hello_octets: bytes, now: float) -> SSL.Context:
        age = now - self._made_at
        if not 0 <= age < self._rotation_seconds:
            # What was not asked for during a whole period is forgotten.
            has_use = age < 2 * self._rotation_seconds
            self._previous_key_name = find_ticket_key_name(self.current) if has_use else b""
            self._previous = self.current if self._previous_key_name else None
            self.current = self._make()
            self._made_at = now
        if self._previous is not None and self._previous_key_name in hello_octets:
            return self._previous
        return self.current


class ListenerContexts:
    """The contexts of one listener, made when they are first needed."""

    def __init__(
        self, store: Any, settings: TLSSettings, listener: ListenerTLS, seconds: Callable[[], float]
    ) -> None:
        """
        @param store: L{ICertificateStore}
        @param seconds: of any clock.
        """
        self._store = ICertificateStore(store)
        self._settings = settings
        self._listener = listener
        self._seconds = seconds
        self._generation = -1
        self._contexts: dict[Certificate, _Rotating] = {}
        self._authorities: Watched[tuple[x509.Certificate, ...]] | None = None
        self._pace = Pace(seconds())
        if listener.client_certificates != OFF:
            path = listener.client_ca_path
            self._authorities = Watched(f"client-ca {path}", (path,), lambda: load_authorities(path))
            self._authorities.look()

    def choose(self, server_name: str | None, hello_octets: bytes) -> SSL.Context | None:
        """
        @param hello_octets: the ClientHello as it came, which names the key of its ticket.
        @return: C{None} where there is no certificate for C{server_name}.
        @raises RouteError: whom to believe cannot be read.
        """
        certificate: Certificate | None = self._store.find(server_name)
        if certificate is None:
            return None
        now = self._seconds()
        has_news = self._generation != self._store.generation
        authorities = self._authorities
        if authorities is not None and (self._pace.is_due(now) or has_news) and authorities.look():
            # With them go the tickets of clients that the others have verified.
            self._contexts.clear()
        if has_news:
            self._forget_others()
        rotating = self._contexts.get(certificate)
        if rotating is None:
            believed = self._believed()
            rotating = self._contexts[certificate] = _Rotating(
                lambda: make_context(certificate, self._settings, self._listener, believed),
                now,
                self._settings.ticket_rotation_seconds,
            )
        return rotating.choose(hello_octets, now)

    def _believed(self) -> tuple[x509.Certificate, ...]:
        if self._authorities is None:
            return ()
        if not self._authorities.content:
            # Never to be taken for: believe everybody.
            raise RouteError(OUTCOME_NEGOTIATION_FAILED, f"{self._listener.client_ca_path} cannot be read")
        return self._authorities.content

    def _forget_others(self) -> None:
        # Generated certificates come and go: they are made anew at little cost.
        self._generation = self._store.generation
        known = set(self._store.certificates())
        self._contexts = {each: found for each, found in self._contexts.items() if each in known}
