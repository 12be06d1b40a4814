"""OpenVPN: the hard reset that opens a session; C{openvpn.mode} says how it is wrapped."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.openvpn import read_reset


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, which must be a first packet and nothing else."""
    found = read_reset(octets)
    if found is None:
        return NO_MATCH
    return match({"openvpn.mode": found.mode})


probe = Probe(name="openvpn", transport="udp", provides=("openvpn.",), inspect=inspect)
