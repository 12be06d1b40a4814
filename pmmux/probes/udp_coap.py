"""CoAP requests: C{coap.method}, C{coap.path}, and C{coap.host} where it was sent."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.coap import parse_request


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, of which every option is checked."""
    found = parse_request(octets)
    if found is None:
        return NO_MATCH
    properties = {"coap.method": found.method, "coap.path": found.path}
    if found.host:
        properties["coap.host"] = found.host
    return match(properties)


probe = Probe(name="coap", transport="udp", provides=("coap.",), inspect=inspect)
