"""TLS towards an upstream under check: whom to trust, who it must be, and why it was refused."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import define
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.values import Target
from pmmux.errors import UpstreamError
from pmmux.model import SectionValues

KEPT_CONTEXTS = 64

# X509_V_ERR_*, from OpenSSL's x509_vfy.h: those an operator meets.
_REASONS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's root is self-signed and not trusted",
    20: "the certificate's issuer is not known",
    21: "the certificate's issuer is not known",
    24: "the certificate's issuer is not a CA",
    26: "the certificate is not for servers",
}


def _authority_file(text: str) -> str:
    try:
        SSL.Context(SSL.TLS_METHOD).load_verify_locations(text)
    except SSL.Error:
        raise ValueError("not a file of certificates in PEM form that can be read") from None
    return text


TLS_OPTIONS = (
    Option(
        "verify",
        values.boolean,
        "true or false",
        True,
        description="Whether the certificate must be valid, trusted, and for this server.",
    ),
    Option(
        "ca",
        _authority_file,
        "a PEM file of certificates",
        description="Whom to trust; absent: the system's authorities.",
    ),
    Option(
        "server-name",
        values.host,
        "a host name or an IP address",
        description="Asked for by SNI, and looked for in the certificate; absent: the target's host.",
    ),
)


@define(slots=True, eq=False)
class Findings:
    """
    What verification found.

    @ivar problem: empty where there was none.
    """

    problem: str = ""


class TLSContexts:
    """OpenSSL's contexts, kept: loading the system's authorities takes tens of milliseconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str | None, int], SSL.Context] = OrderedDict()

    def get(self, authority_file: str | None) -> SSL.Context:
        """
        The context that trusts C{authority_file}, or the system's authorities.

        @raises OSError: the file is not there any more.
        """
        key = (authority_file, 0 if authority_file is None else os.stat(authority_file).st_mtime_ns)
        context = self._kept.get(key)
        if context is None:
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_min_proto_version(SSL.TLS1_2_VERSION)
            if authority_file is None:
                context.set_default_verify_paths()
            else:
                context.load_verify_locations(authority_file)
            self._kept[key] = context
            if len(self._kept) > KEPT_CONTEXTS:
                self._kept.popitem(last=False)
        return context

    def secure(
        self, protocol: Any, target: Target, check: SectionValues, findings: Findings, clock: Any
    ) -> Any:
        """
        Wrap C{protocol} so that it speaks through TLS, as L{TLS_OPTIONS} in C{check} say.

        @param clock: Twisted collects small writes until its next turn.
        @return: the protocol to be connected to the stream.
        @raises UpstreamError: the authorities cannot be loaded, or there is no name to verify.
        """
        try:
            context = self.get(check.get("ca"))
        except (OSError, SSL.Error):
            raise UpstreamError(str(target), f"{check.get('ca')} cannot be loaded") from None
        name: str = check.get("server-name") or target.host
        verify = check.get("verify") is not False
        if verify and not name:
            raise UpstreamError(str(target), "server-name is needed to verify a certificate")
        creator = _ConnectionCreator(context, name, verify, findings)
        factory = TLSMemoryBIOFactory(creator, True, _Wrapping(protocol), clock)
        return factory.buildProtocol(None)


class _Wrapping(Factory):
    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._wrapped = protocol

    def buildProtocol(self, addr: Any) -> Any:
        return self._wrapped


@implementer(IOpenSSLClientConnectionCreator)
class _ConnectionCreator:
    def __init__(self, context: SSL.Context, name: str, verify: bool, findings: Findings) -> None:
        self._context = context
        self._name = name
        self._verify = verify
        self._findings = findings

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Twisted calls it for each connection."""
        connection = SSL.Connection(self._context)
        is_address = _is_address(self._name)
        if self._name and not is_address:
            # An address must not be sent as a name (RFC 6066 section 3).
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        if self._verify:
            identity = IPAddress_ID(self._name) if is_address else DNS_ID(self._name)
            connection.set_verify(SSL.VERIFY_PEER, _verifier(identity, self._name, self._findings))
        else:
            connection.set_verify(SSL.VERIFY_NONE)
        return connection


def _verifier(
    identity: Any, name: str, findings: Findings
) -> Callable[[SSL.Connection, Any, int, int, int], bool]:
    def verify(connection: SSL.Connection, certificate: Any, error: int, depth: int, valid: int) -> bool:
        if not valid:
            findings.problem = _REASONS.get(error, f"the certificate is not valid (OpenSSL's error {error})")
            return False
        if depth == 0:
            try:
                verify_service_identity(extract_patterns(certificate), [identity], [])
            except (VerificationError, CertificateError):
                findings.problem = f"the certificate is not for {name}"
                return False
        return True

    return verify


def _is_address(name: str) -> bool:
    try:
        values.address(name)
    except ValueError:
        return False
    return True


def explain(reason: Any) -> str:
    """Why a TLS connection was lost, in words; C{reason} is a Failure."""
    if reason.check(SSL.Error) is not None:
        arguments = reason.value.args[0] if reason.value.args else ()
        texts = [entry[-1] for entry in arguments if entry] if isinstance(arguments, list) else []
        return f"TLS failed: {texts[-1]}" if texts else "TLS failed"
    return "closed during the TLS handshake"
