"""What may be configured of TLS: C{[tls]}, C{[certificate NAME]}, and options of listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL

from pmmux.config import values
from pmmux.config.options import Option, SectionSchema
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.errors import Fault
from pmmux.matching import parse_name
from pmmux.model import OptionKey, SectionValues
from pmmux.tls.certificates import (
    DER,
    PEM,
    PKCS12,
    CertificateError,
    CertificateFiles,
    is_address,
    load_authorities,
)
from pmmux.tls.contexts import (
    CIPHER_SUITES,
    INTERMEDIATE_CIPHERS,
    OFF,
    OPTIONAL,
    REQUIRE,
    VERSION_1_2,
    VERSION_1_3,
    ListenerTLS,
    TLSSettings,
)
from pmmux.tls.interfaces import ICertificateStore
from pmmux.tls.store import CertificateStore

AUTO = "auto"
_SHORTEST_SECONDS = 0.001
_LEAST_ROTATION_SECONDS = 1.0
# RFC 8446 section 4.6.1: no ticket lives longer than 7 days, and ours live for two periods.
_LONGEST_ROTATION_SECONDS = 3.5 * 86400
_ALPN_LIMIT_OCTETS = 255
_BOOLEAN = "true or false"


def _ciphers(text: str) -> str:
    try:
        SSL.Context(SSL.TLS_SERVER_METHOD).set_cipher_list(text.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise ValueError("OpenSSL knows none of these ciphers") from None
    return text


def _cipher_suites(text: str) -> str:
    try:
        SSL.Context(SSL.TLS_SERVER_METHOD).set_tls13_ciphersuites(text.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise ValueError("OpenSSL does not know these cipher suites") from None
    return text


def _host(text: str) -> str:
    return text if is_address(text) else parse_name(text)


def application_protocol(text: str) -> bytes:
    """One name for ALPN (RFC 7301 section 3.1)."""
    name = text.strip().encode("utf-8")
    if not 0 < len(name) <= _ALPN_LIMIT_OCTETS:
        raise ValueError(f"a name has 1 to {_ALPN_LIMIT_OCTETS} octets")
    return name


TLS_SECTION = SectionSchema(
    "tls",
    False,
    (
        Option(
            "versions",
            values.choice(VERSION_1_2, VERSION_1_3),
            "1.2 and 1.3",
            (VERSION_1_2, VERSION_1_3),
            listed=True,
            description="The versions of TLS that are spoken.",
        ),
        Option(
            "ciphers",
            _ciphers,
            "a list of ciphers as OpenSSL writes it",
            INTERMEDIATE_CIPHERS,
            description="What TLS 1.2 may use.",
        ),
        Option(
            "cipher-suites",
            _cipher_suites,
            "a list of cipher suites as OpenSSL writes it",
            CIPHER_SUITES,
            description="What TLS 1.3 may use.",
        ),
        Option(
            "tickets",
            values.boolean,
            _BOOLEAN,
            True,
            description="Whether clients may resume their sessions.",
        ),
        Option(
            "ticket-rotation",
            values.duration_between(_LEAST_ROTATION_SECONDS, _LONGEST_ROTATION_SECONDS),
            "a duration from 1s to 84h",
            12 * 3600.0,
            description="How long tickets are made with the same key.",
        ),
        Option(
            "hello-timeout",
            values.duration_between(_SHORTEST_SECONDS),
            "a duration such as 5s",
            5.0,
            description="How long a ClientHello may take once it has begun.",
        ),
        Option(
            "generate-certificates",
            values.boolean,
            _BOOLEAN,
            False,
            description="Whether names without a certificate get one that is self-signed.",
        ),
    ),
)

CERTIFICATE_SECTION = SectionSchema(
    "certificate",
    True,
    (
        Option("path", values.text, "a file", required=True, description="The certificate, and its chain."),
        Option("key", values.text, "a file", description="The private key; absent: in the same file."),
        Option(
            "type",
            values.choice(PEM, DER, PKCS12, also={"pkcs12": PKCS12, "p12": PKCS12}),
            "pem, der or pfx",
            description="The form of the file; absent: as it looks.",
        ),
        Option("password", values.any_text, "text", description="The password of the key."),
        Option(
            "password-file", values.text, "a file", description="A file with the password in its first line."
        ),
        Option(
            "hosts",
            _host,
            "names, or *. and a name for one more label",
            (),
            listed=True,
            description="What it is for; absent: the names that it holds.",
        ),
        Option(
            "default",
            values.boolean,
            _BOOLEAN,
            False,
            description="Whether clients that ask for no name, or an unknown one, get it.",
        ),
        Option("ocsp", values.text, "a file", description="An OCSP response in DER form to be stapled."),
    ),
)

LISTENER_OPTIONS = (
    Option(
        "tls",
        values.choice(OFF, AUTO, REQUIRE),
        "off, auto or require",
        description="Whether TLS is terminated; absent: auto where there is any certificate.",
    ),
    Option(
        "tls-pass",
        parse_name,
        "names, or *. and a name for one more label",
        (),
        listed=True,
        description="Names whose TLS is passed on untouched, also where there is a certificate.",
    ),
    Option(
        "alpn",
        application_protocol,
        "names such as h2 and http/1.1, the preferred one first",
        (),
        listed=True,
        description="What is spoken after TLS, as clients choose; absent: nothing is negotiated.",
    ),
    Option(
        "client-certificates",
        values.choice(OFF, OPTIONAL, REQUIRE),
        "off, optional or require",
        OFF,
        description="Whether clients are asked for certificates.",
    ),
    Option(
        "client-ca",
        values.text,
        "a PEM file of certificates",
        description="Whom client certificates are verified by.",
    ),
)


def tls_settings(settings: Settings) -> TLSSettings:
    """The C{[tls]} section."""
    get = _getter(settings.sections.get(TLS_SECTION.kind, ()))
    return TLSSettings(
        tuple(get("versions")),
        get("ciphers"),
        get("cipher-suites"),
        get("tickets"),
        get("ticket-rotation"),
        get("hello-timeout"),
        get("generate-certificates"),
    )


def _getter(sections: Sequence[SectionValues]) -> Callable[[str], Any]:
    if sections:
        return sections[0].get
    return {option.name: option.default for option in TLS_SECTION.options}.__getitem__


def certificate_files(section: SectionValues) -> CertificateFiles:
    """What a C{[certificate NAME]} section names."""
    get = section.get
    return CertificateFiles(
        section.name,
        get("path") or "",
        get("key") or "",
        get("type") or "",
        get("password") or "",
        get("password-file") or "",
        tuple(get("hosts") or ()),
        bool(get("default")),
        get("ocsp") or "",
    )


def terminates(listener: ListenerSpec, settings: Settings) -> str:
    """What C{listener} does with TLS: C{off}, C{auto} or C{require}."""
    chosen: str | None = listener.options.get("tls")
    if chosen is not None:
        return chosen
    has_any = bool(settings.sections.get(CERTIFICATE_SECTION.kind)) or tls_settings(settings).generates
    return AUTO if has_any else OFF


def listener_tls(listener: ListenerSpec) -> ListenerTLS:
    """What C{listener} asks of TLS."""
    get = listener.options.get
    return ListenerTLS(tuple(get("alpn") or ()), get("client-certificates") or OFF, get("client-ca") or "")


def certificate_store(settings: Settings, services: Any) -> Any:
    """The L{ICertificateStore} in the registry; made of C{settings} and registered where there is none."""
    store = services.registry.get(ICertificateStore)
    if store is None:
        files = [certificate_files(each) for each in settings.sections.get(CERTIFICATE_SECTION.kind, ())]
        store = CertificateStore(files, tls_settings(settings).generates, time.time)
        services.registry.register(ICertificateStore, store)
    return store


def certificate_faults(settings: Settings) -> list[Fault]:
    """Certificates that cannot be used."""
    faults = []
    defaults: list[str] = []
    for section in settings.sections.get(CERTIFICATE_SECTION.kind, ()):
        where = section.where(OptionKey("path"))
        if section.get("password") and section.get("password-file"):
            faults.append(Fault(section.where(OptionKey("password-file")), "password says it already"))
        try:
            certificate_files(section).load()
        except CertificateError as error:
            faults.append(Fault(where, str(error)))
        if section.get("default"):
            defaults.append(section.name)
            if len(defaults) > 1:
                message = f"the certificate {defaults[0]} is the default already"
                faults.append(Fault(section.where(OptionKey("default")), message))
    return faults


def listener_faults(listener: ListenerSpec, settings: Settings) -> list[Fault]:
    """What a listener asks of TLS and cannot have."""
    options = listener.options
    faults = []
    asked = listener_tls(listener)
    mode = terminates(listener, settings)
    if mode != OFF and listener.transport != "tcp" and options.get("tls") is not None:
        faults.append(
            Fault(options.where(OptionKey("tls")), "TLS is for connections, not for datagrams", OFF)
        )
    if asked.client_certificates == OFF:
        if asked.client_ca_path:
            where = options.where(OptionKey("client-ca"))
            expected = "client-certificates = optional or require"
            faults.append(Fault(where, "client-ca asks nobody without client-certificates", expected))
    else:
        where = options.where(OptionKey("client-certificates"))
        if mode == OFF:
            message = "client certificates need TLS, which this listener does not terminate"
            faults.append(Fault(where, message, "tls = require, and a certificate"))
        elif not asked.client_ca_path:
            # Never to be taken for: believe everybody.
            faults.append(Fault(where, "client certificates need client-ca", "client-ca = a PEM file"))
        else:
            try:
                load_authorities(asked.client_ca_path)
            except CertificateError as error:
                faults.append(Fault(options.where(OptionKey("client-ca")), str(error)))
    return faults
