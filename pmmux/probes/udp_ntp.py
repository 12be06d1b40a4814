"""
NTP: time queries of clients, with C{ntp.version}, and C{ntp.nts} where network time security is asked for.

Queries of the monitoring modes are refused with a fault: servers' long answers to them are what
amplification attacks are made of.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, malformed, match
from pmmux.probes.probe import Probe
from pmmux.wire.ntp import NTS_COOKIE, parse_packet

REFUSED_MODES = {"control": "an NTP control query (mode 6)", "private": "an NTP private query (mode 7)"}


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram."""
    packet = parse_packet(octets)
    if packet is None:
        return NO_MATCH
    refusal = REFUSED_MODES.get(packet.mode)
    if refusal is not None:
        return malformed(refusal)
    properties = {"ntp.version": str(packet.version)}
    if NTS_COOKIE in packet.extensions:
        properties["ntp.nts"] = "true"
    return match(properties)


probe = Probe(name="ntp", transport="udp", provides=("ntp.",), inspect=inspect)
