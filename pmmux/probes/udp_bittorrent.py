"""BitTorrent: uTP, the DHT and UDP trackers, told apart by C{bittorrent.kind}."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.bittorrentudp import parse_datagram


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram."""
    found = parse_datagram(octets)
    if found is None:
        return NO_MATCH
    return match({"bittorrent.kind": found.kind, "bittorrent.method": found.method})


probe = Probe(name="bittorrent", transport="udp", provides=("bittorrent.",), inspect=inspect)
