"""
The report: for each wanted port, whether it is reachable in principle, and why not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Iterator

from attrs import evolve, frozen

from pmmux.nat.lease import MappingState
from pmmux.nat.mapping import Finding, Reason
from pmmux.nat.settings import ANY_PORT, IPV4, IPV6

CARRIER_NETWORK = ipaddress.ip_network("100.64.0.0/10")
PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_BEHIND_ANOTHER = (Reason.DOUBLE_NAT, Reason.CARRIER_NAT, Reason.NO_EXTERNAL_ADDRESS)


@frozen(slots=True)
class ProtocolReport:
    """
    What became of asking by one protocol.

    @ivar answered: C{None} while it is being asked.
    @ivar text: the device or version, or why it is not there.
    """

    name: str
    answered: bool | None
    text: str


@frozen(slots=True)
class GatewayReport:
    """
    A gateway and the way to it; empty texts for what is not known.

    @ivar family: L{IPV4} or L{IPV6}.
    @ivar address: our own address, as the gateway sees it.
    """

    family: int
    gateway: str
    interface: str
    address: str
    external_address: str
    protocols: tuple[ProtocolReport, ...]
    findings: tuple[Finding, ...]


@frozen(slots=True)
class PortReport:
    """
    A wanted port as it stands.

    @ivar wanted_port: L{ANY_PORT} where any would do.
    @ivar local_port: where the gateway sends traffic; 0 while that is not chosen.
    @ivar protocol: the driver that made the mapping; empty where there is none.
    @ivar public_port: the port on the gateway; 0 where there is none.
    @ivar remaining_seconds: until it ends unless renewed; infinity for a permanent one, C{None} for none.
    @ivar reachable: in principle; C{None} while that is not known.
    """

    name: str
    transport: str
    family: int
    state: MappingState
    wanted_port: int
    local_port: int
    protocol: str
    external_address: str
    public_port: int
    remaining_seconds: float | None
    reachable: bool | None
    findings: tuple[Finding, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """As L{pmmux.nat.settings.WantedMapping.key}."""
        return (self.name, self.transport, self.family)


@frozen(slots=True)
class NATReport:
    """All that is known of gateways and ports at one moment."""

    gateways: tuple[GatewayReport, ...] = ()
    ports: tuple[PortReport, ...] = ()

    def find(self, name: str, transport: str, family: int = IPV4) -> PortReport | None:
        """@return: the report of one wanted port; C{None} where it is not wanted."""
        key = (name, transport, family)
        return next((port for port in self.ports if port.key == key), None)

    def render(self) -> str:
        """@return: the report in words, several lines, for a log or a terminal."""
        lines: list[str] = []
        for gateway in self.gateways:
            lines.extend(_render_gateway(gateway))
        for port in self.ports:
            lines.extend(_render_port(port))
        return "\n".join(lines) or "no public port is wanted"

    def list_lines(self) -> dict[Hashable, str]:
        """
        The report for a log: a line each for gateways and ports, by whom they are about.

        What is still being found out is left out, and so is that a mapping is being renewed.
        """
        lines: dict[Hashable, str] = {}
        for gateway in self._list_gateways():
            if all(protocol.answered is not None for protocol in gateway.protocols):
                lines[gateway.family] = _join(_render_gateway(gateway))
        for port in self._list_ports():
            if port.reachable is not None:
                state = MappingState.MAPPED if port.state is MappingState.RENEWING else port.state
                lines[port.key] = _join(_render_port(evolve(port, state=state)))
        return lines

    def _list_gateways(self) -> list[GatewayReport]:
        """Without that there is none on IPv6, where IPv4 does."""
        alone = len(self.gateways) == 1
        return [one for one in self.gateways if alone or one.gateway or one.family == IPV4]

    def _list_ports(self) -> list[PortReport]:
        """Without those on IPv6 that are there as IPv4's companions, where there is no gateway on IPv6."""
        has_gateway = any(gateway.gateway for gateway in self.gateways if gateway.family == IPV6)
        companions = {(port.name, port.transport) for port in self.ports if port.family == IPV4}
        return [
            port
            for port in self.ports
            if has_gateway or port.family == IPV4 or (port.name, port.transport) not in companions
        ]


def judge_external_address(address: str) -> Finding | None:
    """
    Say why a gateway's external address is not on the Internet.

    @return: C{None} where it may be.
    """
    if not address:
        return None
    parsed = ipaddress.ip_address(address)
    if parsed.version != IPV4:
        return None
    if parsed in CARRIER_NETWORK:
        text = (
            f"the provider shares its addresses (CGNAT): the gateway itself has only {address}, so nobody "
            "outside reaches it; ask the provider for a public address, or use IPv6"
        )
        return Finding(Reason.CARRIER_NAT, text)
    if any(parsed in network for network in PRIVATE_NETWORKS):
        text = (
            f"double NAT: the gateway's own address {address} is private, so another router stands before "
            "it; map the port there too, or make one of the two a bridge"
        )
        return Finding(Reason.DOUBLE_NAT, text)
    return None


def judge_own_address(address: str) -> Finding | None:
    """Say so where this machine has a public IPv4 address, and needs no mapping."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == IPV4 and parsed.is_global:
        return Finding(
            Reason.PUBLIC_ADDRESS, f"this machine has the public address {address} and may need no mapping"
        )
    return None


def add_ipv6_advice(ports: Iterable[PortReport], ipv6_address: str) -> tuple[PortReport, ...]:
    """
    Where IPv4 is of no use, point to IPv6.

    @param ipv6_address: this machine's global one; empty where it has none.
    """
    ports = tuple(ports)
    open_ipv6 = {(p.name, p.transport): p for p in ports if p.family == IPV6 and p.reachable}
    advised = []
    for port in ports:
        if port.family == IPV4 and any(finding.reason in _BEHIND_ANOTHER for finding in port.findings):
            other = open_ipv6.get((port.name, port.transport))
            if other is not None:
                text = f"reach it on IPv6 instead: [{other.external_address}]:{other.public_port}"
            elif ipv6_address:
                text = f"this machine has the IPv6 address {ipv6_address}: listen on IPv6 as well"
            else:
                text = ""
            if text:
                port = evolve(port, findings=(*port.findings, Finding(Reason.IPV6_INSTEAD, text)))  # noqa: PLW2901
        advised.append(port)
    return tuple(advised)


def _join(lines: Iterable[str]) -> str:
    return "; ".join(line.strip() for line in lines)


def _render_gateway(gateway: GatewayReport) -> Iterator[str]:
    if gateway.gateway:
        external = f", external address {gateway.external_address}" if gateway.external_address else ""
        yield (
            f"gateway {gateway.gateway} on {gateway.interface or '?'}, seen from {gateway.address}{external}"
        )
    else:
        yield f"no gateway on IPv{gateway.family}"
    for protocol in gateway.protocols:
        state = {True: "answers", False: "no", None: "being asked"}[protocol.answered]
        yield f"  {protocol.name}: {state}" + (f" ({protocol.text})" if protocol.text else "")
    for finding in gateway.findings:
        yield f"  {finding.text}"


def _render_port(port: PortReport) -> Iterator[str]:
    wanted = "?" if port.wanted_port == ANY_PORT else str(port.wanted_port)
    host = f"[{port.external_address}]" if port.family == IPV6 else port.external_address
    if port.public_port:
        outer = f"{host or 'the gateway'}:{port.public_port}"
        where = f"{outer} -> local port {port.local_port} ({port.protocol})"
    else:
        where = f"public port {wanted}"
    verdict = {True: "reachable in principle", False: "not reachable", None: "not known yet"}[port.reachable]
    yield f"{port.name} ({port.transport}, IPv{port.family}): {where}; {port.state.value}, {verdict}"
    for finding in port.findings:
        yield f"  {finding.text}"
