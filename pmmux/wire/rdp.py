"""
RDP: the X.224 connection request that a client begins with.

@see: [MS-RDPBCGR] section 2.2.1.1, RFC 1006 section 6 (TPKT), X.224 section 13.3
"""

from __future__ import annotations

import re

from attrs import frozen

from pmmux.wire.reading import Incomplete

#: The security protocols a client may ask for, by bit.
PROTOCOL_NAMES = {0x01: "tls", 0x02: "hybrid", 0x04: "rdstls", 0x08: "hybrid-ex", 0x10: "aad"}
#: What C{requestedProtocols} 0 stands for.
STANDARD_SECURITY = "rdp"

_TPKT = b"\x03\x00"
_TPKT_OCTETS = 4
_INDICATOR_AT = 4
# The length indicator counts what follows it, and is at most 254.
_INDICATOR_OVERHEAD = 5
_LARGEST_INDICATOR = 254
_CODE_AT = 5
_CONNECTION_REQUEST = 0xE0
_DESTINATION = slice(6, 8)
_CLASS_AT = 10
_FIXED_OCTETS = 11

_COOKIE = b"Cookie: mstshash="
_LINE_END = b"\r\n"
# A line of text; S7 and other users of X.224 go on with parameters, which begin with a high octet.
_LINE_BEGINNING = re.compile(rb"[ -~][ -~\x80-\xff]*(?:\r\n?)?")

_NEGOTIATION_TYPE = 0x01
_NEGOTIATION_OCTETS = 8
_CORRELATION_TYPE = 0x06
_CORRELATION_OCTETS = 36
_CORRELATION_FLAG = 0x08
_KNOWN_FLAGS = 0x0B


@frozen(slots=True)
class ConnectionRequest:
    """
    What a client asks for.

    @ivar cookie: the name after C{mstshash=}, mostly the user's, cut by clients to 9 octets.
    @ivar routing_token: the line for a load balancer, where it is no such cookie.
    @ivar protocols: the bits asked for; C{None} where the client does not negotiate.
    """

    cookie: bytes | None = None
    routing_token: bytes | None = None
    protocols: int | None = None


def read_connection_request(octets: bytes) -> ConnectionRequest | Incomplete | None:
    """Read the request, which has to be there whole."""
    length = _read_length(octets)
    if not isinstance(length, int):
        return length
    if (
        (len(octets) > _INDICATOR_AT and octets[_INDICATOR_AT] != length - _INDICATOR_OVERHEAD)
        or (len(octets) > _CODE_AT and octets[_CODE_AT] != _CONNECTION_REQUEST)
        or any(octets[_DESTINATION])
        or (len(octets) > _CLASS_AT and octets[_CLASS_AT])
    ):
        return None
    if len(octets) < _FIXED_OCTETS:
        return Incomplete(len(octets) + 1)
    return _read_variable(octets[:length], length)


def _read_length(octets: bytes) -> int | Incomplete | None:
    """The length of the whole packet, from its TPKT header."""
    if octets[:2] != _TPKT[: len(octets)]:
        return None
    largest = _LARGEST_INDICATOR + _INDICATOR_OVERHEAD
    if len(octets) < _TPKT_OCTETS:
        too_long = len(octets) > len(_TPKT) and octets[len(_TPKT)] > largest >> 8
        return None if too_long else Incomplete(len(octets) + 1)
    length = int.from_bytes(octets[2:4], "big")
    return length if _FIXED_OCTETS <= length <= largest else None


def _read_variable(packet: bytes, length: int) -> ConnectionRequest | Incomplete | None:
    """Read what follows the fixed part of a packet that may be incomplete."""
    if length == _FIXED_OCTETS:
        return ConnectionRequest()
    if len(packet) == _FIXED_OCTETS:
        return Incomplete(_FIXED_OCTETS + 1)
    cookie = token = None
    at = _FIXED_OCTETS
    if packet[at] != _NEGOTIATION_TYPE:
        end = packet.find(_LINE_END, at)
        if end < 0:
            may_end = _LINE_BEGINNING.fullmatch(packet, at) and len(packet) < length
            return Incomplete(length) if may_end else None
        if not _LINE_BEGINNING.fullmatch(packet, at, end + len(_LINE_END)):
            return None
        line = packet[at:end]
        if line.startswith(_COOKIE):
            cookie = line[len(_COOKIE) :]
        else:
            token = line
        at = end + len(_LINE_END)
        if at == length:
            return ConnectionRequest(cookie, token)
    protocols = _read_negotiation(packet, at, length)
    if not isinstance(protocols, int):
        return protocols
    return ConnectionRequest(cookie, token, protocols)


def _read_negotiation(packet: bytes, at: int, length: int) -> int | Incomplete | None:
    """
    Read RDP_NEG_REQ, and RDP_NEG_CORRELATION_INFO where it is announced.

    @return: the protocols asked for.
    """
    size = length - at
    if size not in {_NEGOTIATION_OCTETS, _NEGOTIATION_OCTETS + _CORRELATION_OCTETS}:
        return None
    part = packet[at:]
    expected = bytes((_NEGOTIATION_TYPE,))
    if part[:1] != expected[: len(part)]:
        return None
    if len(part) > 1:
        flags = part[1]
        has_correlation = size > _NEGOTIATION_OCTETS
        if flags & ~_KNOWN_FLAGS or bool(flags & _CORRELATION_FLAG) != has_correlation:
            return None
    announced = _NEGOTIATION_OCTETS.to_bytes(2, "little")
    if part[2:4] != announced[: len(part[2:4])] or any(part[6:8]):
        return None
    if len(part) > _NEGOTIATION_OCTETS and part[_NEGOTIATION_OCTETS] != _CORRELATION_TYPE:
        return None
    if len(packet) < length:
        return Incomplete(length)
    return int.from_bytes(part[4:8], "little")
