"""RADIUS requests: C{radius.code}, and C{radius.realm} where the user name has one."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.radius import parse_request


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, whose attributes must fill it."""
    found = parse_request(octets)
    if found is None:
        return NO_MATCH
    properties = {"radius.code": found.code}
    if found.realm:
        properties["radius.realm"] = found.realm
    return match(properties)


probe = Probe(name="radius", transport="udp", provides=("radius.",), inspect=inspect)
