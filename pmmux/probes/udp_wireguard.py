"""WireGuard: C{wireguard.message}, and C{wireguard.reserved} in hexadecimal where it is not zero."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.wireguard import parse_message


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram: a handshake initiation, or data of a client that roamed."""
    found = parse_message(octets)
    if found is None:
        return NO_MATCH
    properties = {"wireguard.message": found.kind}
    if any(found.reserved):
        properties["wireguard.reserved"] = found.reserved.hex()
    return match(properties)


probe = Probe(name="wireguard", transport="udp", provides=("wireguard.",), inspect=inspect)
