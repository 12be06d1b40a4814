"""TLS towards an upstream: who it must be, who we are, and what is spoken inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import define, field
from OpenSSL import SSL
from service_identity import CertificateError as IdentityError
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.defer import Deferred, TimeoutError

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.values import Target
from pmmux.errors import Fault, UpstreamError
from pmmux.model import OptionKey, SectionValues
from pmmux.preview import PreviewTransport
from pmmux.tls.certificates import CertificateError, CertificateFiles, is_address
from pmmux.tls.contexts import CIPHER_SUITES, INTERMEDIATE_CIPHERS, VERSION_1_2, VERSION_1_3, limit_versions
from pmmux.tls.options import application_protocol
from pmmux.tls.stream import HandshakeFailed, shake_hands

# What an upstream says before the relay has begun is held up to here.
PREVIEW_OCTETS = 65536
_PARTIAL_WRITE = 1
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


def _authorities(text: str) -> str:
    try:
        SSL.Context(SSL.TLS_CLIENT_METHOD).load_verify_locations(text)
    except SSL.Error:
        raise ValueError("not a file of certificates in PEM form that can be read") from None
    return text


UPSTREAM_TLS_OPTIONS = (
    Option(
        "upstream-tls",
        values.boolean,
        "true or false",
        False,
        description="Whether TLS is spoken to the upstream.",
    ),
    Option(
        "upstream-tls-verify",
        values.boolean,
        "true or false",
        True,
        description="Whether its certificate must be valid, trusted, and for this server.",
    ),
    Option(
        "upstream-tls-ca",
        _authorities,
        "a PEM file of certificates",
        description="Whom to trust; absent: the system's authorities.",
    ),
    Option(
        "upstream-tls-name",
        values.host,
        "a host name or an IP address",
        description="Asked for by SNI, and looked for in its certificate; absent: the target's host.",
    ),
    Option(
        "upstream-tls-certificate",
        values.text,
        "a file",
        description="A certificate to show it, with its key if that has no file of its own.",
    ),
    Option("upstream-tls-key", values.text, "a file", description="The key of that certificate."),
    Option(
        "upstream-tls-password",
        values.any_text,
        "text",
        description="The password of that key.",
    ),
    Option(
        "upstream-tls-alpn",
        application_protocol,
        "names such as h2 and http/1.1, the preferred one first",
        (),
        listed=True,
        description="What is offered to be spoken; absent: what the client has chosen, if it has.",
    ),
)


@define
class _Expectation:
    """
    Who an upstream must be, and why it is not.

    @ivar identities: empty where nothing is verified.
    """

    identities: Sequence[Any]
    problem: str = field(default="")


class UpstreamTLS:
    """TLS to the upstream of one backend."""

    def __init__(self, options: SectionValues, target: Target) -> None:
        """
        @param options: with values of L{UPSTREAM_TLS_OPTIONS}.
        @raises CertificateError: our certificate cannot be used.
        """
        get = options.get
        self._target = str(target)
        self._name: str = get("upstream-tls-name") or target.host
        self._verifies = get("upstream-tls-verify") is not False
        self._alpn: tuple[bytes, ...] = tuple(get("upstream-tls-alpn") or ())
        is_ip = is_address(self._name)
        self._server_name = b"" if is_ip else self._name.encode("ascii")
        self._identities = (
            [IPAddress_ID(self._name) if is_ip else DNS_ID(self._name)] if self._verifies else []
        )
        self._context = self._make_context(options)

    def _make_context(self, options: SectionValues) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        limit_versions(context, (VERSION_1_2, VERSION_1_3))
        context.set_cipher_list(INTERMEDIATE_CIPHERS.encode("ascii"))
        context.set_tls13_ciphersuites(CIPHER_SUITES.encode("ascii"))
        context.clear_mode(_PARTIAL_WRITE)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        if self._verifies:
            authorities = options.get("upstream-tls-ca")
            if authorities is None:
                context.set_default_verify_paths()
            else:
                context.load_verify_locations(authorities)
            context.set_verify(SSL.VERIFY_PEER, _verify)
        else:
            context.set_verify(SSL.VERIFY_NONE)
        ours = _our_certificate(options)
        if ours is not None:
            certificate = ours.load()
            context.use_certificate(certificate.leaf)
            for following in certificate.chain:
                context.add_extra_chain_cert(following)
            context.use_privatekey(certificate.key)
        return context

    async def secure(
        self, stream: PreviewTransport, properties: Mapping[str, str], clock: Any, timeout_seconds: float
    ) -> PreviewTransport:
        """
        Shake hands on C{stream}, which is used up, or closed where that fails.

        @param properties: the client's.
        @return: the stream of the plaintext.
        @raises UpstreamError: it is not who it must be, or does not speak TLS, or not in time.
        """
        expectation = _Expectation(self._identities)
        connection = SSL.Connection(self._context)
        connection.set_app_data(expectation)
        connection.set_connect_state()
        if self._server_name:
            # An address must not be sent as a name (RFC 6066 section 3).
            connection.set_tlsext_host_name(self._server_name)
        chosen = properties.get("tls.application-protocol")
        alpn = self._alpn or ((unquote_to_bytes(chosen),) if chosen else ())
        if alpn:
            connection.set_alpn_protos(list(alpn))
        shaking = Deferred.fromCoroutine(
            shake_hands(connection, stream, PREVIEW_OCTETS, PreviewTransport.pause)
        )
        shaking.addTimeout(timeout_seconds, clock)
        try:
            _, plain = await shaking
        except HandshakeFailed as failed:
            stream.transport.abortConnection()
            raise UpstreamError(self._target, f"TLS: {expectation.problem or failed}") from None
        except TimeoutError:
            stream.transport.abortConnection()
            raise UpstreamError(self._target, f"TLS: not within {timeout_seconds:g} s") from None
        except BaseException:  # cancelled: the socket must not outlive it
            stream.transport.abortConnection()
            raise
        return plain


def _verify(connection: SSL.Connection, certificate: Any, error: int, depth: int, valid: int) -> bool:
    expectation: _Expectation = connection.get_app_data()
    if not valid:
        expectation.problem = _REASONS.get(error, f"its certificate is not valid (OpenSSL's error {error})")
        return False
    if depth == _LEAF_DEPTH:
        try:
            verify_service_identity(extract_patterns(certificate), expectation.identities, [])
        except (VerificationError, IdentityError):
            expectation.problem = "its certificate is for another name"
            return False
    return True


def _our_certificate(options: SectionValues) -> CertificateFiles | None:
    path = options.get("upstream-tls-certificate")
    if not path:
        return None
    return CertificateFiles(
        options.name,
        path,
        options.get("upstream-tls-key") or "",
        password=options.get("upstream-tls-password") or "",
    )


def upstream_tls_of(options: SectionValues, target: Target) -> UpstreamTLS | None:
    """What L{UPSTREAM_TLS_OPTIONS} in C{options} say; C{None} where no TLS is spoken."""
    return UpstreamTLS(options, target) if options.get("upstream-tls") else None


def upstream_tls_faults(options: SectionValues, target: Target) -> Sequence[Fault]:
    """What in L{UPSTREAM_TLS_OPTIONS} cannot be."""
    if not options.get("upstream-tls"):
        return [
            Fault(options.where(key), f"{key} needs upstream-tls", "upstream-tls = true")
            for key in options.values
            if key.name.startswith("upstream-tls-")
        ]
    if options.get("upstream-tls-verify") is not False and not (
        options.get("upstream-tls-name") or target.host
    ):
        where = options.where(OptionKey("upstream-tls"))
        return (Fault(where, "upstream-tls-name is needed to verify who is on a unix socket"),)
    ours = _our_certificate(options)
    if ours is not None:
        try:
            ours.load()
        except CertificateError as error:
            return (Fault(options.where(OptionKey("upstream-tls-certificate")), str(error)),)
    return ()
