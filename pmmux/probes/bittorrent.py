"""
BitTorrent: the handshake between peers, in the clear; C{bittorrent.info-hash} in hexadecimal.

An encrypted handshake (MSE) is random from its first octet on and cannot be told.

@see: BEP 3, "peer protocol"
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe

_PROTOCOL = b"\x13BitTorrent protocol"
_RESERVED_OCTETS = 8
_HASH = slice(len(_PROTOCOL) + _RESERVED_OCTETS, len(_PROTOCOL) + _RESERVED_OCTETS + 20)


def inspect(octets: bytes) -> Verdict:
    """Match the protocol's name; the hash follows."""
    if not octets.startswith(_PROTOCOL):
        return need(len(octets) + 1) if _PROTOCOL.startswith(octets) else NO_MATCH
    if len(octets) < _HASH.stop:
        return match({}, _HASH.stop)
    return match({"bittorrent.info-hash": octets[_HASH].hex()})


probe = Probe(name="bittorrent", transport="tcp", provides=("bittorrent.",), inspect=inspect)
