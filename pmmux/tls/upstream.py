"""TLS towards an upstream: who it must be, who we are, and what is spoken inside."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import define, field, frozen
from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError as IdentityError
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.defer import Deferred, TimeoutError

from pmmux.config.values import Target
from pmmux.errors import UpstreamError
from pmmux.preview import PreviewTransport
from pmmux.tls.certificates import CertificateError, CertificateFiles, is_address
from pmmux.tls.contexts import TLSSettings, bare_context, present
from pmmux.tls.faults import HandshakeFailed
from pmmux.tls.stream import shake_hands
from pmmux.tls.watching import Pace, Watched

# What an upstream says before the relay has begun is held up to here.
PREVIEW_OCTETS = 65536
KEPT_CONTEXTS = 1024
_LEAF_DEPTH = 0
# X509_V_ERR_*, from OpenSSL's x509_vfy.h: those an operator meets.
_REASONS = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "its certificate's root is not trusted",
    20: "its certificate's issuer is not known",
    21: "its certificate's issuer is not known",
    24: "its certificate's issuer is not a CA",
    26: "its certificate is not for servers",
}


@frozen
class UpstreamSettings:
    """
    How TLS is spoken to an upstream.

    @ivar verifies: whether its certificate must be valid, trusted, and for this server.
    @ivar authorities_path: a PEM file of whom to trust; empty for the system's authorities.
    @ivar name: asked for by SNI, and looked for in the certificate; empty for the target's host.
    @ivar alpn: what is offered to be spoken; empty for what the client has chosen, if it has.
    @ivar certificate: what it is shown of us; C{None} for nothing.
    """

    verifies: bool = True
    authorities_path: str = ""
    name: str = ""
    alpn: tuple[bytes, ...] = ()
    certificate: CertificateFiles | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that is read."""
        own = () if self.certificate is None else self.certificate.paths
        return (self.authorities_path, *own) if self.authorities_path else own


def _load_context(settings: UpstreamSettings) -> SSL.Context:
    context = bare_context(SSL.TLS_CLIENT_METHOD, TLSSettings())
    if not settings.verifies:
        context.set_verify(SSL.VERIFY_NONE)
    else:
        if settings.authorities_path:
            load_trusted(context, settings.authorities_path)
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, _verify)
    if settings.certificate is not None:
        present(context, settings.certificate.load())
    return context


def load_trusted(context: SSL.Context, path: str) -> None:
    """
    Trust the authorities in the PEM file C{path}.

    @raises CertificateError: there are none that can be read.
    """
    try:
        context.load_verify_locations(path)
    except SSL.Error:
        raise CertificateError(f"{path}: no certificates in PEM form that can be read") from None


class UpstreamContexts:
    """
    OpenSSL's contexts, one for all that ask for the same: the system's authorities take tens of
    milliseconds to be loaded. They are made anew when the files have changed.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[Watched[SSL.Context], Pace]] = OrderedDict()

    def get(self, settings: UpstreamSettings, now: float) -> SSL.Context:
        """
        @param now: in seconds of any clock.
        @raises CertificateError: the files cannot be used, and never could.
        """
        key = (settings.verifies, settings.authorities_path, settings.certificate)
        found = self._kept.get(key)
        if found is None:
            what = f"TLS to upstreams by {', '.join(settings.paths) or 'the system authorities'}"
            watched = Watched(what, settings.paths, lambda: _load_context(settings))
            watched.look()
            self._kept[key] = found = (watched, Pace(now))
            if len(self._kept) > KEPT_CONTEXTS:
                self._kept.popitem(last=False)
        elif found[1].is_due(now):
            found[0].look()
        context = found[0].content
        if context is None:
            raise CertificateError(f"{' or '.join(settings.paths)} cannot be used")
        return context


@define
class _Expectation:
    """
    Who an upstream must be, and why it is not.

    @ivar identities: empty where nothing is verified.
    """

    name: str
    identities: Sequence[Any]
    problem: str = field(default="")


class UpstreamTLS:
    """TLS to one upstream."""

    def __init__(self, settings: UpstreamSettings, target: Target, contexts: UpstreamContexts) -> None:
        """@param contexts: shared with others."""
        self._target = str(target)
        self._name = settings.name or target.host
        self._settings = settings
        self._contexts = contexts
        is_ip = is_address(self._name)
        # An address must not be sent as a name (RFC 6066 section 3).
        self._server_name = b"" if is_ip else self._name.encode("ascii")
        self._identities: list[Any] = []
        if settings.verifies and self._name:
            self._identities.append(IPAddress_ID(self._name) if is_ip else DNS_ID(self._name))

    def _connection(self, properties: Mapping[str, str], expectation: _Expectation, now: float) -> Any:
        if self._settings.verifies and not self._identities:
            raise CertificateError("there is no name to verify its certificate by")
        connection = SSL.Connection(self._contexts.get(self._settings, now))
        connection.set_app_data(expectation)
        connection.set_connect_state()
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name)
        chosen = properties.get("tls.application-protocol")
        alpn = self._settings.alpn or ((unquote_to_bytes(chosen),) if chosen else ())
        if alpn:
            connection.set_alpn_protos(list(alpn))
        return connection

    async def secure(
        self, stream: PreviewTransport, properties: Mapping[str, str], clock: Any, timeout_seconds: float
    ) -> PreviewTransport:
        """
        Shake hands on C{stream}, which is used up, or closed where that fails.

        @param properties: the client's.
        @return: the stream of the plaintext.
        @raises UpstreamError: it is not who it must be, or does not speak TLS, or not in time.
        """
        expectation = _Expectation(self._name, self._identities)
        try:
            connection = self._connection(properties, expectation, clock.seconds())
            shaking = Deferred.fromCoroutine(
                shake_hands(connection, stream, PREVIEW_OCTETS, PreviewTransport.pause)
            )
            shaking.addTimeout(timeout_seconds, clock)
            _, plain = await shaking
        except (HandshakeFailed, CertificateError) as failed:
            stream.transport.abortConnection()
            raise UpstreamError(self._target, f"TLS: {expectation.problem or failed}") from None
        except TimeoutError:
            stream.transport.abortConnection()
            raise UpstreamError(self._target, f"TLS: not within {timeout_seconds:g} s") from None
        except BaseException:  # cancelled: the socket must not outlive it
            stream.transport.abortConnection()
            raise
        return plain


def certificate_of(plain: PreviewTransport) -> x509.Certificate | None:
    """The certificate that whoever is at the other end of C{plain} has shown."""
    found: x509.Certificate | None = plain.transport.connection.get_peer_certificate(as_cryptography=True)
    return found


def _verify(connection: SSL.Connection, certificate: Any, error: int, depth: int, valid: int) -> bool:
    expectation: _Expectation = connection.get_app_data()
    if not valid:
        expectation.problem = _REASONS.get(error, f"its certificate is not valid (OpenSSL's error {error})")
        return False
    if depth == _LEAF_DEPTH:
        try:
            verify_service_identity(extract_patterns(certificate), expectation.identities, [])
        except (VerificationError, IdentityError):
            expectation.problem = f"its certificate is not for {expectation.name}"
            return False
    return True
