"""TFTP requests: C{tftp.operation}, C{tftp.filename}, C{tftp.mode}."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.tftp import parse_request


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, which must be one request exactly."""
    found = parse_request(octets)
    if found is None:
        return NO_MATCH
    return match(
        {"tftp.operation": found.operation, "tftp.filename": found.filename, "tftp.mode": found.mode}
    )


probe = Probe(name="tftp", transport="udp", provides=("tftp.",), inspect=inspect)
