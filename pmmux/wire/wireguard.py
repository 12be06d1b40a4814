"""
WireGuard messages that may be the first a server sees of a client.

@see: the WireGuard paper, section 5.4, U{https://www.wireguard.com/protocol/}
"""

from __future__ import annotations

import struct

from attrs import frozen

INITIATION = 1
INITIATION_OCTETS = 148
MAC2_OCTETS = 16
TRANSPORT_DATA = 4
TRANSPORT_MINIMUM_OCTETS = 32
TRANSPORT_ALIGNMENT_OCTETS = 16
TRANSPORT_HEADER = struct.Struct("<LLQ")
COUNTER_BITS = 40
"""Keys are replaced every two minutes, so that counters stay far below this."""
NO_RESERVED = bytes(3)
NO_MAC2 = bytes(MAC2_OCTETS)
STUN_COOKIE = bytes.fromhex("2112a442")


@frozen(slots=True)
class Message:
    """
    A message of a client.

    @ivar kind: C{initiation}, or C{transport-data} of a client that roamed or whose session we forgot.
    @ivar reserved: the three octets after the type; some providers put a client's identity there.
    """

    kind: str
    reserved: bytes


def parse_message(datagram: bytes) -> Message | None:
    """
    Recognise a handshake initiation or transport data; a server's messages are not a client's.

    Where the reserved octets are not zero the first octet and the length alone would tell too
    little, so that mac2 must be zero, as it is until a server under load has sent a cookie.

    @return: C{None} where it is neither.
    """
    if not datagram:
        return None
    kind = datagram[0]
    reserved = datagram[1:4]
    if kind == INITIATION and len(datagram) == INITIATION_OCTETS:
        if reserved == NO_RESERVED:
            return Message("initiation", reserved)
        # 148 octets of RADIUS state their length where the last two reserved octets are.
        is_radius = int.from_bytes(reserved[1:], "big") == INITIATION_OCTETS
        if datagram[-MAC2_OCTETS:] == NO_MAC2 and not is_radius and datagram[4:8] != STUN_COOKIE:
            return Message("initiation", reserved)
        return None
    if kind != TRANSPORT_DATA or reserved != NO_RESERVED:
        return None
    if len(datagram) < TRANSPORT_MINIMUM_OCTETS or len(datagram) % TRANSPORT_ALIGNMENT_OCTETS:
        return None
    _header, _receiver, counter = TRANSPORT_HEADER.unpack_from(datagram)
    return Message("transport-data", reserved) if counter >> COUNTER_BITS == 0 else None
