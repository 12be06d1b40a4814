"""IKE: C{ike.version}, C{ike.exchange}, and C{ike.nat-traversal} after the marker of port 4500."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.ike import parse_message


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram: an initiator's message, whose payloads end where it does."""
    found = parse_message(octets)
    if found is None:
        return NO_MATCH
    properties = {"ike.version": found.version, "ike.exchange": found.exchange}
    if found.is_nat_traversal:
        properties["ike.nat-traversal"] = "true"
    return match(properties)


probe = Probe(name="ike", transport="udp", provides=("ike.",), inspect=inspect)
