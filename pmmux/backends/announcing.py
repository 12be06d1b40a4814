"""The PROXY protocol, outbound: telling an upstream who the client is, before the first octets."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import frozen
from zope.interface import implementer

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.errors import Fault
from pmmux.interfaces import IDatagramSession
from pmmux.model import Address, Client, OptionKey, SectionValues
from pmmux.wire.proxyheader import Endpoint, ProxyHeader, write_v1, write_v2
from pmmux.wire.proxytlv import (
    CLIENT_CERTIFICATE_IN_SESSION,
    CLIENT_CERTIFICATE_ON_CONNECTION,
    CLIENT_SSL,
    UNIQUE_ID_LIMIT_OCTETS,
    Facts,
    SSLFacts,
)

V1, V2 = "v1", "v2"
AUTHORITY, ALPN, SSL, UNIQUE_ID, CRC32C = "authority", "alpn", "ssl", "unique-id", "crc32c"
_FACTS = (AUTHORITY, ALPN, SSL, UNIQUE_ID, CRC32C)
_UNVERIFIED = 1
# Of this session at least once: whether in this very connection, too, a resumed one does not tell.
_CERTIFICATE = CLIENT_CERTIFICATE_ON_CONNECTION | CLIENT_CERTIFICATE_IN_SESSION
_OUR_SSL = (
    "tls.client.certificate",
    "tls.client.verified",
    "tls.protocol",
    "tls.client.name",
    "tls.cipher-suite",
)
_TOLD_SSL = (
    "proxy.ssl.client-certificate",
    "proxy.ssl.verified",
    "proxy.ssl.version",
    "proxy.ssl.common-name",
    "proxy.ssl.cipher",
)
# What makes a connection's number unique among processes and their restarts.
_PREFIX_OCTETS = 6

ANNOUNCING_OPTIONS = (
    Option(
        "send-proxy",
        values.choice(V1, V2),
        "v1 or v2",
        description="Tell the upstream who the client is, by a PROXY header of this version.",
    ),
    Option(
        "send-proxy-tlv",
        values.choice(*_FACTS),
        "any of " + ", ".join(_FACTS),
        (),
        listed=True,
        description="What a header of version 2 tells besides addresses.",
    ),
)


@frozen(slots=True)
class Announcement:
    """
    The headers that one backend's upstream is sent.

    @ivar version: C{"v1"} or C{"v2"}.
    @ivar told: what a header of version 2 tells besides addresses.
    @ivar process: what makes unique ids unique among processes.
    """

    version: str
    told: frozenset[str] = frozenset()
    process: str = ""

    def octets_for(self, client: Client, properties: Mapping[str, str], identifier: int | str) -> bytes:
        """
        The header for one client's connection, or for each of its datagrams.

        @param properties: the connection's.
        @param identifier: the connection's or session's, unique in this process.
        """
        family, source, destination = _ends(client)
        facts = Facts()
        if self.version == V1:
            return write_v1(ProxyHeader(1, False, family, client.transport, source, destination))
        if self.told:
            facts = self._facts(properties, identifier)
        header = ProxyHeader(2, False, family, client.transport, source, destination, facts)
        return write_v2(header, CRC32C in self.told)

    def octets_for_check(self) -> bytes:
        """The header for a connection of our own, such as a health check: it announces nobody."""
        if self.version == V1:
            return write_v1(ProxyHeader(1))
        return write_v2(ProxyHeader(2, is_local=True))

    def _facts(self, properties: Mapping[str, str], identifier: int | str) -> Facts:
        told = self.told
        alpn = authority = unique_id = None
        if AUTHORITY in told:
            authority = properties.get("tls.sni") or properties.get("proxy.authority")
        if ALPN in told:
            name = properties.get("tls.application-protocol") or properties.get("proxy.alpn")
            alpn = unquote_to_bytes(name) if name else None
        if UNIQUE_ID in told:
            known = properties.get("proxy.unique-id")
            unique_id = unquote_to_bytes(known) if known else f"{self.process}-{identifier}".encode("ascii")
            unique_id = unique_id[:UNIQUE_ID_LIMIT_OCTETS]
        return Facts(alpn, authority, unique_id, _ssl_facts(properties) if SSL in told else None)


@implementer(IDatagramSession)
class AnnouncingSession:
    """A session whose datagrams each begin with a header."""

    __slots__ = ("_header", "_upstream")

    def __init__(self, upstream: Any, header: bytes) -> None:
        """@param upstream: the L{pmmux.interfaces.IDatagramSession} that sends them."""
        self._upstream = upstream
        self._header = header

    @property
    def address(self) -> Address | None:
        """The upstream's."""
        found: Address | None = self._upstream.address
        return found

    @property
    def local_name(self) -> Any:
        """The address that the upstream sees."""
        return self._upstream.local_name

    def send(self, octets: Any) -> None:
        """Send one datagram upstream. @raises OSError: it was not sent, for it may be too large now."""
        self._upstream.send(b"".join((self._header, octets)))

    def close(self) -> None:
        """Idempotent."""
        self._upstream.close()


def _ssl_facts(properties: Mapping[str, str]) -> SSLFacts | None:
    get = properties.get
    if get("tls.terminated") == "true":
        names = _OUR_SSL
    elif get("proxy.ssl") == "true":
        # It was told to us by whoever the listener believes.
        names = _TOLD_SSL
    else:
        return None
    certificate, verified, version, common_name, cipher = (get(name) or "" for name in names)
    return SSLFacts(
        CLIENT_SSL | (_CERTIFICATE if certificate == "true" else 0),
        0 if verified == "true" else _UNVERIFIED,
        version,
        common_name,
        cipher,
    )


def _ends(client: Client) -> tuple[str, Endpoint | None, Endpoint | None]:
    remote, local = client.remote, client.local
    families = {remote.family, local.family}
    if len(families) == 1:
        return remote.family, Endpoint(remote.host, remote.port), Endpoint(local.host, local.port)
    if "unix" in families:
        return "", None, None
    return "ipv6", _as_ipv6(remote), _as_ipv6(local)


def _as_ipv6(address: Address) -> Endpoint:
    host = f"::ffff:{address.host}" if address.family == "ipv4" else address.host
    return Endpoint(str(ipaddress.IPv6Address(host)), address.port)


def announcement_of(options: SectionValues) -> Announcement | None:
    """What L{ANNOUNCING_OPTIONS} in C{options} say; C{None} where no header is to be sent."""
    version = options.get("send-proxy")
    if version is None:
        return None
    return Announcement(
        version, frozenset(options.get("send-proxy-tlv") or ()), os.urandom(_PREFIX_OCTETS).hex()
    )


def announcing_faults(options: SectionValues) -> Sequence[Fault]:
    """What in L{ANNOUNCING_OPTIONS} does not go together."""
    if options.get("send-proxy-tlv") and options.get("send-proxy") != V2:
        where = options.where(OptionKey("send-proxy-tlv"))
        return (Fault(where, "only a header of version 2 tells more than addresses", "send-proxy = v2"),)
    return ()
