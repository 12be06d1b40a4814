"""
STUN messages, and with them TURN's and ICE's.

@see: RFC 8489 sections 5 and 14, RFC 8656 section 17.
"""

from __future__ import annotations

import struct
import zlib

from attrs import frozen

HEADER = struct.Struct("!HHL")
HEADER_OCTETS = 20
MAGIC_COOKIE = 0x2112A442
TYPE_TOP_BITS = 0xC000
TYPE_TOP_OCTET_BITS = TYPE_TOP_BITS >> 8
ALIGNMENT_OCTETS = 4
ATTRIBUTE_HEADER_OCTETS = 4
ATTRIBUTE_USERNAME = 0x0006
ATTRIBUTE_FINGERPRINT = 0x8028
FINGERPRINT_OCTETS = 4
FINGERPRINT_MASK = 0x5354554E
USERNAME_LIMIT_OCTETS = 513

CLASS_NAMES = ("request", "indication", "success", "error")
METHOD_NAMES = {
    0x001: "binding",
    0x003: "allocate",
    0x004: "refresh",
    0x006: "send",
    0x007: "data",
    0x008: "create-permission",
    0x009: "channel-bind",
    0x00A: "connect",
    0x00B: "connection-bind",
    0x00C: "connection-attempt",
}


@frozen(slots=True)
class Message:
    """
    A STUN message.

    @ivar method: its name, or its number in hexadecimal.
    @ivar kind: one of C{CLASS_NAMES}.
    @ivar username: empty where there is none or where it is not printable text.
    """

    method: str
    kind: str
    username: str


def parse_message(datagram: bytes) -> Message | None:
    """
    Read a message with its attributes; a FINGERPRINT must be right and last.

    @return: C{None} where the datagram is anything else, or lacks the magic cookie (RFC 3489).
    """
    if len(datagram) < HEADER_OCTETS:
        return None
    message_type, length, cookie = HEADER.unpack_from(datagram)
    if cookie != MAGIC_COOKIE or message_type & TYPE_TOP_BITS:
        return None
    if length % ALIGNMENT_OCTETS or length != len(datagram) - HEADER_OCTETS:
        return None
    username = ""
    position = HEADER_OCTETS
    while position < len(datagram):
        attribute = int.from_bytes(datagram[position : position + 2], "big")
        octets = int.from_bytes(datagram[position + 2 : position + 4], "big")
        value_start = position + ATTRIBUTE_HEADER_OCTETS
        value_end = value_start + octets
        if value_end > len(datagram):
            return None
        if attribute == ATTRIBUTE_USERNAME:
            username = _printable(datagram[value_start:value_end])
        elif attribute == ATTRIBUTE_FINGERPRINT:
            expected = zlib.crc32(datagram[:position]) ^ FINGERPRINT_MASK
            is_last = value_end == len(datagram) and octets == FINGERPRINT_OCTETS
            if not is_last or int.from_bytes(datagram[value_start:value_end], "big") != expected:
                return None
        position = value_end + -octets % ALIGNMENT_OCTETS
    # The class is spread over bits 4 and 8, the method over the others, RFC 8489 figure 3.
    kind = message_type >> 4 & 1 | message_type >> 7 & 2
    method = message_type & 0xF | message_type >> 1 & 0x70 | message_type >> 2 & 0xF80
    return Message(METHOD_NAMES.get(method) or f"0x{method:03x}", CLASS_NAMES[kind], username)


def _printable(value: bytes) -> str:
    if len(value) > USERNAME_LIMIT_OCTETS:
        return ""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
