"""
From an uplink and its leases to their report.
"""

from __future__ import annotations

from pmmux.nat.lease import Lease
from pmmux.nat.mapping import NO_EXTERNAL_ADDRESS, Finding, Reason
from pmmux.nat.report import (
    GatewayReport,
    PortReport,
    ProtocolReport,
    judge_external_address,
    judge_own_address,
)
from pmmux.nat.settings import IPV4
from pmmux.nat.uplink import Uplink


def describe_gateway(uplink: Uplink) -> GatewayReport:
    """@return: the gateway's part of the report."""
    link = uplink.link
    protocols = list(uplink.unavailable)
    if uplink.discovery is not None:
        for candidate in uplink.discovery.candidates:
            facts, finding = candidate.facts, candidate.finding
            text = facts.detail if facts else finding.text if finding else ""
            answered = facts is not None if candidate.ended else None
            protocols.append(ProtocolReport(candidate.client.name, answered, text))
    external = _find_external_address(uplink)
    findings = list(uplink.findings)
    if link is not None:
        own, outer = judge_own_address(link.address), judge_external_address(external)
        findings.extend(finding for finding in (own, outer) if finding is not None)
    return GatewayReport(
        uplink.family,
        link.gateway if link else "",
        link.interface if link else "",
        link.address if link else "",
        external,
        tuple(protocols),
        tuple(findings),
    )


def describe_port(uplink: Uplink, lease: Lease) -> PortReport:
    """@return: one port's part of the report."""
    wanted, remaining = lease.wanted, lease.remaining_seconds()
    grant = lease.grant if remaining is not None else None
    findings = list(lease.findings)
    reachable: bool | None = None
    external = ""
    if grant is not None:
        external = grant.external_address or uplink.external_address
        outer = judge_external_address(external)
        if outer is not None:
            findings.append(outer)
        reachable = outer is None
    elif lease.findings or uplink.link is None:
        reachable = False
        findings.extend(finding for finding in uplink.findings if finding not in findings)
        if _is_offline(uplink) and NO_EXTERNAL_ADDRESS not in findings:
            findings.append(NO_EXTERNAL_ADDRESS)
    elif uplink.discovery is not None and not uplink.is_ready:
        candidates = uplink.discovery.candidates
        findings.extend(c.finding for c in candidates if c.finding is not None)
        if not candidates:
            findings.extend(_explain_no_protocol(uplink))
        reachable = False if all(c.ended for c in candidates) else None
    return PortReport(
        wanted.name,
        wanted.transport,
        wanted.family,
        lease.state,
        wanted.public_port,
        lease.internal_port,
        grant.driver if grant else "",
        external,
        grant.external_port if grant else 0,
        remaining,
        reachable,
        tuple(dict.fromkeys(findings)),
    )


def _explain_no_protocol(uplink: Uplink) -> list[Finding]:
    if uplink.unavailable:
        return [Finding(Reason.PACKAGE_MISSING, protocol.text) for protocol in uplink.unavailable]
    asked = ", ".join(uplink.settings.protocols)
    return [Finding(Reason.UNSUPPORTED, f"nothing opens ports on IPv{uplink.family} by {asked}")]


def _is_offline(uplink: Uplink) -> bool:
    """Whether any protocol said so; another may have refused without telling why."""
    return uplink.discovery is not None and any(
        (candidate.facts is not None and candidate.facts.is_offline)
        or candidate.finding == NO_EXTERNAL_ADDRESS
        for candidate in uplink.discovery.candidates
    )


def _find_external_address(uplink: Uplink) -> str:
    grants = [lease.grant for lease in uplink.leases.values() if lease.grant is not None]
    told = next((grant.external_address for grant in grants if grant.external_address), "")
    return told or (uplink.external_address if uplink.family == IPV4 else "")
