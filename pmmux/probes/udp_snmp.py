"""SNMP requests: C{snmp.version}, and C{snmp.pdu} where it is not encrypted; never the community."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.snmp import parse_message


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, which must be one message exactly."""
    found = parse_message(octets)
    if found is None:
        return NO_MATCH
    properties = {"snmp.version": found.version}
    if found.pdu:
        properties["snmp.pdu"] = found.pdu
    return match(properties)


probe = Probe(name="snmp", transport="udp", provides=("snmp.",), inspect=inspect)
