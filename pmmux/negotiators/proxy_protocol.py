"""
The PROXY protocol, inbound: who the client is, as a trusted proxy tells it before the first octets.

The addresses that it announces become the client's, for matching, limits and logs; the peer itself
stays visible as C{socket.peer-ip} and C{socket.peer-port}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

from attrs import frozen
from zope.interface import implementer

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.connection import Connection
from pmmux.errors import OUTCOME_CLIENT_GONE, OUTCOME_NEGOTIATION_FAILED, Fault, RouteError
from pmmux.interfaces import INegotiator
from pmmux.model import Address, AnnouncedClient, Client, OptionKey
from pmmux.transport.timeouts import TimeoutQueue
from pmmux.wire.proxyheader import (
    Endpoint,
    Malformed,
    ProxyHeader,
    is_proxy_header,
    read_proxy_header,
)
from pmmux.wire.proxytlv import (
    CLIENT_CERTIFICATE_IN_SESSION,
    CLIENT_CERTIFICATE_ON_CONNECTION,
    CLIENT_SSL,
    Facts,
)
from pmmux.wire.reading import Incomplete

IGNORE, USE, REQUIRE, REJECT = "ignore", "use", "require", "reject"
_CLIENT_CERTIFICATE = CLIENT_CERTIFICATE_ON_CONNECTION | CLIENT_CERTIFICATE_IN_SESSION
# Octets that stand for themselves in a property made of octets; the rest is percent-encoded.
_SAFE = "!\"#$&'()*+,-./:;<=>?@[]^_`{|}~"

OPTIONS = (
    Option(
        "proxy-protocol",
        values.choice(IGNORE, USE, REQUIRE, REJECT),
        "ignore, use, require or reject",
        IGNORE,
        description="What becomes of a PROXY header (version 1 or 2) before the first octets.",
    ),
    Option(
        "proxy-protocol-from",
        values.network,
        "IP addresses or networks",
        (),
        listed=True,
        description="Whose PROXY headers are believed; one from anybody else is refused.",
    ),
)


@frozen(slots=True)
class ProxyProtocolPolicy:
    """
    What becomes of headers on one listener.

    @ivar mode: C{"use"}: a trusted peer's header counts where there is one. C{"require"}: a trusted
        peer must send one. C{"reject"}: nobody may. A header from a peer that is not trusted is refused
        in each.
    @ivar trusted: networks; peers on a unix socket are trusted always.
    """

    mode: str
    trusted: tuple[values.IPNetwork, ...] = ()

    def trusts(self, peer: Address) -> bool:
        """Whether headers of C{peer} are believed."""
        if peer.family == "unix":
            return True
        address = ipaddress.ip_address(peer.host)
        return any(address.version == network.version and address in network for network in self.trusted)

    def judge(self, found: ProxyHeader | Malformed | None, client: Client) -> ProxyHeader | None:
        """
        @param found: what the octets begin with; C{None} where that is no header.
        @return: the header to be used; C{None} for none.
        @raises RouteError: the connection, or datagram, is refused.
        """
        peer = client.remote
        if found is None:
            if self.mode == REQUIRE and self.trusts(peer):
                raise _refusal("no PROXY header, where one is required")
            return None
        if self.mode == REJECT:
            raise _refusal("a PROXY header, where none is allowed")
        if not self.trusts(peer):
            raise _refusal(f"a PROXY header from {peer.host}, whose headers are not believed")
        if isinstance(found, Malformed):
            raise _refusal(f"a broken PROXY header: {found.reason}")
        if found.transport not in ("", client.transport):
            raise _refusal(f"a PROXY header that announces {found.transport}")
        return found


def _refusal(detail: str) -> RouteError:
    return RouteError(OUTCOME_NEGOTIATION_FAILED, detail)


def client_of(header: ProxyHeader, client: Client) -> Client:
    """The client as C{header} announces it; C{client} itself where it announces no addresses."""
    if header.source is None or header.destination is None:
        return client
    remote = _address_of(header.source, header.family)
    local = _address_of(header.destination, header.family)
    if remote == client.remote:
        return Client(client.transport, remote, local)
    return AnnouncedClient(client.transport, remote, local, client.remote)


def _address_of(endpoint: Endpoint, family: str) -> Address:
    if family == "ipv6":
        mapped = ipaddress.IPv6Address(endpoint.host).ipv4_mapped
        if mapped is not None:
            return Address(str(mapped), endpoint.port)
    return Address(endpoint.host, endpoint.port, family)


def properties_of(header: ProxyHeader) -> dict[str, str]:
    """What C{header} tells besides addresses, as C{proxy.*} properties."""
    found = {"proxy.version": str(header.version), "proxy.command": "local" if header.is_local else "proxy"}
    facts = header.facts
    if facts.authority is not None:
        found["proxy.authority"] = facts.authority
    if facts.alpn is not None:
        found["proxy.alpn"] = quote(facts.alpn, _SAFE)
    if facts.unique_id is not None:
        found["proxy.unique-id"] = quote(facts.unique_id, _SAFE)
    if facts.netns is not None:
        found["proxy.netns"] = facts.netns
    for kind, value in facts.others:
        found[f"proxy.tlv.{kind:02x}"] = value.hex()
    if facts.ssl is not None:
        found.update(_ssl_properties(facts))
    return found


def _ssl_properties(facts: Facts) -> dict[str, str]:
    ssl = facts.ssl
    assert ssl is not None
    has_certificate = bool(ssl.flags & _CLIENT_CERTIFICATE)
    found = {
        "proxy.ssl": _word(bool(ssl.flags & CLIENT_SSL)),
        "proxy.ssl.client-certificate": _word(has_certificate),
        "proxy.ssl.verified": _word(has_certificate and ssl.verify == 0),
    }
    texts = {
        "proxy.ssl.version": ssl.version,
        "proxy.ssl.cipher": ssl.cipher,
        "proxy.ssl.common-name": ssl.common_name,
        "proxy.ssl.signature-algorithm": ssl.signature_algorithm,
        "proxy.ssl.key-algorithm": ssl.key_algorithm,
    }
    return found | {name: text for name, text in texts.items() if text}


def _word(flag: bool) -> str:
    return "true" if flag else "false"


def announced_by_datagram(
    policy: ProxyProtocolPolicy, datagram: bytes, client: Client
) -> tuple[Client, dict[str, str], bytes]:
    """
    Take the header off C{datagram}, each of which has its own.

    @return: the client, its properties, and the datagram without the header.
    @raises RouteError: it is to be dropped.
    """
    found = read_proxy_header(datagram)
    if isinstance(found, Incomplete):
        found = Malformed("it is cut off") if is_proxy_header(datagram) else None
    header = policy.judge(found, client)
    if header is None:
        return client, _peer_properties(client), datagram
    properties = _peer_properties(client) | properties_of(header)
    return client_of(header, client), properties, datagram[header.octets :]


def _peer_properties(client: Client) -> dict[str, str]:
    return {"socket.peer-ip": client.remote.host, "socket.peer-port": str(client.remote.port)}


@implementer(INegotiator)
class ProxyProtocolNegotiator:
    """Reads the header that comes first, under the policy of one listener."""

    name = "proxy-protocol"

    def __init__(self, policy: ProxyProtocolPolicy, silence: TimeoutQueue | None = None) -> None:
        """@param silence: for how long a client is waited for that says nothing, or not enough."""
        self.policy = policy
        self._silence = silence

    def add_options(self, registry: Any) -> None:
        """Let listeners have a policy."""
        registry.add_options("listener", OPTIONS)

    def validate(self, settings: Settings) -> Sequence[Fault]:
        """Whoever believes headers must say whose."""
        faults = []
        for listener in settings.listeners:
            options = listener.options
            mode = options.get("proxy-protocol")
            where = options.where(OptionKey("proxy-protocol"))
            if mode != IGNORE and self.name not in settings.globals.get("negotiators"):
                faults.append(
                    Fault(
                        where,
                        f"needs {self.name} among the negotiators in [pmmux]",
                        f"negotiators = {self.name}, …",
                    )
                )
            if (
                mode in (USE, REQUIRE)
                and not options.get("proxy-protocol-from")
                and listener.unix_path is None
            ):
                message = f"proxy-protocol = {mode} believes nobody without proxy-protocol-from"
                faults.append(Fault(where, message, "proxy-protocol-from = the proxies' addresses"))
        return faults

    def for_listener(
        self, listener: ListenerSpec, settings: Settings, services: Any
    ) -> ProxyProtocolNegotiator | None:
        """Only listeners with a policy have it in their chain."""
        policy = policy_of(listener)
        if policy is None:
            return None
        silence = TimeoutQueue(services.reactor, settings.globals.get("detect-timeout"))
        return ProxyProtocolNegotiator(policy, silence)

    async def negotiate(
        self, connection: Connection, proceed: Callable[[Connection], Awaitable[Connection]]
    ) -> Connection:
        """Read the header, and let the client be who it says."""
        if self.policy.mode == IGNORE:
            return await proceed(connection)
        client = connection.client
        header = self.policy.judge(await self._read(connection), client)
        properties = connection.properties
        found = _peer_properties(client)
        if header is not None:
            connection.stream.discard(header.octets)
            connection.client = client_of(header, client)
            found |= properties_of(header)
            connection.trace.negotiators.append(
                (self.name, f"{client.remote} for {connection.client.remote}")
            )
        for name, value in found.items():
            properties[name] = value
        return await proceed(connection)

    async def _read(self, connection: Connection) -> ProxyHeader | Malformed | None:
        preview = connection.preview
        timeout = None
        try:
            while isinstance(found := read_proxy_header(preview.octets), Incomplete):
                if preview.ended and not preview.size:
                    raise RouteError(OUTCOME_CLIENT_GONE, "the client said nothing and closed")
                if preview.final or found.octets_needed > preview.limit_octets:
                    is_certain = is_proxy_header(preview.octets)
                    return Malformed("it is cut off, or too long") if is_certain else None
                if timeout is None and self._silence is not None:
                    timeout = self._silence.add(preview.finish)
                await preview.changed(found.octets_needed)
            return found
        finally:
            if timeout is not None and self._silence is not None:
                self._silence.cancel(timeout)


def policy_of(listener: ListenerSpec) -> ProxyProtocolPolicy | None:
    """The policy of C{listener}, for connections and datagrams alike; C{None} where there is none."""
    mode = listener.options.get("proxy-protocol") or IGNORE
    if mode == IGNORE:
        return None
    return ProxyProtocolPolicy(mode, tuple(listener.options.get("proxy-protocol-from") or ()))


negotiator = ProxyProtocolNegotiator(ProxyProtocolPolicy(IGNORE))
