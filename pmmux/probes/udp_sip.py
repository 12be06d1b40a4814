"""SIP requests: C{sip.method}, and C{sip.uri-host} of the request URI."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.siprequest import parse_request


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram: a request line with headers after it, Via among them."""
    found = parse_request(octets)
    if found is None:
        return NO_MATCH
    properties = {"sip.method": found.method}
    if found.host:
        properties["sip.uri-host"] = found.host
    return match(properties)


probe = Probe(name="sip", transport="udp", provides=("sip.",), inspect=inspect)
