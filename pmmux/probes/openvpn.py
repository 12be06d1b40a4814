"""
OpenVPN over TCP: a client's hard reset behind two octets of length.

C{openvpn.mode} is C{plain}, C{tls-auth}, C{tls-crypt} or C{tls-crypt-v2}.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.wire.openvpn import read_stream_reset
from pmmux.wire.reading import Incomplete


def inspect(octets: bytes) -> Verdict:
    """Match a whole reset."""
    reset = read_stream_reset(octets)
    if reset is None:
        return NO_MATCH
    if isinstance(reset, Incomplete):
        return need(reset.octets_needed)
    return match({"openvpn.mode": reset.mode})


probe = Probe(name="openvpn", transport="tcp", provides=("openvpn.",), inspect=inspect)
