"""What backends may say of TLS to their upstreams."""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.values import Target
from pmmux.errors import Fault
from pmmux.model import OptionKey, SectionValues
from pmmux.tls.certificates import CertificateError, CertificateFiles
from pmmux.tls.options import application_protocol
from pmmux.tls.upstream import UpstreamSettings, load_trusted

AUTHORITIES_EXPECTED = "a PEM file of certificates"
NAME_EXPECTED = "a host name or an IP address"


def authorities(text: str) -> str:
    """A file of those whom to trust."""
    try:
        load_trusted(SSL.Context(SSL.TLS_CLIENT_METHOD), text)
    except CertificateError:
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
        authorities,
        AUTHORITIES_EXPECTED,
        description="Whom to trust; absent: the system's authorities.",
    ),
    Option(
        "upstream-tls-name",
        values.host,
        NAME_EXPECTED,
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


def upstream_settings(options: SectionValues) -> UpstreamSettings | None:
    """What L{UPSTREAM_TLS_OPTIONS} in C{options} say; C{None} where no TLS is spoken."""
    get = options.get
    if not get("upstream-tls"):
        return None
    path = get("upstream-tls-certificate")
    certificate = None
    if path:
        password = get("upstream-tls-password") or ""
        certificate = CertificateFiles(options.name, path, get("upstream-tls-key") or "", password=password)
    return UpstreamSettings(
        get("upstream-tls-verify") is not False,
        get("upstream-tls-ca") or "",
        get("upstream-tls-name") or "",
        tuple(get("upstream-tls-alpn") or ()),
        certificate,
    )


def upstream_tls_faults(options: SectionValues, target: Target) -> Sequence[Fault]:
    """What in L{UPSTREAM_TLS_OPTIONS} cannot be."""
    settings = upstream_settings(options)
    if settings is None:
        return [
            Fault(options.where(key), f"{key} needs upstream-tls", "upstream-tls = true")
            for key in options.values
            if key.name.startswith("upstream-tls-")
        ]
    if settings.verifies and not (settings.name or target.host):
        where = options.where(OptionKey("upstream-tls"))
        return (Fault(where, "upstream-tls-name is needed to verify who is on a unix socket"),)
    if settings.certificate is not None:
        try:
            settings.certificate.load()
        except CertificateError as error:
            return (Fault(options.where(OptionKey("upstream-tls-certificate")), str(error)),)
    return ()
