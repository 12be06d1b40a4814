"""
IKE messages of versions 1 and 2.

@see: RFC 7296 section 3, RFC 2408 section 3, RFC 3948 section 2.2
"""

from __future__ import annotations

import struct

from attrs import frozen

HEADER = struct.Struct("!QQBBBBLL")
"""Initiator's and responder's SPI, next payload, version, exchange, flags, message ID, length."""
NON_ESP_MARKER = bytes(4)
PAYLOAD_HEADER_OCTETS = 4
PAYLOAD_LIMIT = 64
NO_PAYLOAD = 0

VERSION_OFFSET = 17
VERSION_1 = 0x10
VERSION_2 = 0x20
FLAG_ENCRYPTED = 0x01
FLAG_INITIATOR = 0x08
FLAG_VERSION = 0x10
FLAGS_VERSION_1 = frozenset({0, FLAG_ENCRYPTED})
"""Encrypted; the commit bit is gone, and clear when a session opens."""
FLAGS_VERSION_2 = frozenset({FLAG_INITIATOR, FLAG_INITIATOR | FLAG_VERSION})
"""A request of the original initiator."""

SECURITY_ASSOCIATION_1 = 1
PAYLOADS_1 = range(1, 22)
EXCHANGES_1 = {1: "base", 2: "identity-protection", 4: "aggressive"}
OPENING_2 = {34: "ike-sa-init", 38: "ike-session-resume"}
LATER_2 = {35: "ike-auth", 36: "create-child-sa", 37: "informational", 43: "ike-intermediate"}
OPENING_PAYLOADS_2 = frozenset({33, 40, 41, 43})
"""SA, nonce (resumption), notification (a cookie), vendor ID."""
PAYLOADS_2 = range(33, 55)
ENCRYPTED_PAYLOADS_2 = frozenset({46, 53})


@frozen(slots=True)
class Message:
    """
    A message of an initiator.

    @ivar version: C{1} or C{2}.
    @ivar exchange: the exchange type's name.
    @ivar is_nat_traversal: whether the marker of port 4500 came before it.
    """

    version: str
    exchange: str
    is_nat_traversal: bool


def parse_message(datagram: bytes) -> Message | None:
    """
    Recognise what opens an IKE SA, or in version 2 also what an initiator sends that has moved.

    @return: C{None} where it is anything else, ESP too.
    """
    is_nat_traversal = datagram[: len(NON_ESP_MARKER)] == NON_ESP_MARKER
    start = len(NON_ESP_MARKER) if is_nat_traversal else 0
    if len(datagram) < start + HEADER.size + PAYLOAD_HEADER_OCTETS:
        return None
    if datagram[start + VERSION_OFFSET] not in (VERSION_1, VERSION_2):
        return None
    message = datagram[start:]
    initiator, responder, payload, version, exchange, flags, number, length = HEADER.unpack_from(message)
    if length != len(message) or not initiator:
        return None
    if version == VERSION_1:
        name = EXCHANGES_1.get(exchange)
        if name is None or responder or number or flags not in FLAGS_VERSION_1:
            return None
        if payload != SECURITY_ASSOCIATION_1 or not _are_payloads(message, payload, PAYLOADS_1):
            return None
        return Message("1", name, is_nat_traversal)
    if flags not in FLAGS_VERSION_2:
        return None
    if not responder:
        name = OPENING_2.get(exchange)
        if name is None or number or payload not in OPENING_PAYLOADS_2:
            return None
        return Message("2", name, is_nat_traversal) if _are_payloads(message, payload, PAYLOADS_2) else None
    name = LATER_2.get(exchange)
    if name is None or payload not in ENCRYPTED_PAYLOADS_2 or number > 1 << 16:
        return None
    # The encrypted payload is the last one, so that it fills the message, RFC 7296 section 3.14.
    octets = int.from_bytes(message[HEADER.size + 2 : HEADER.size + 4], "big")
    return Message("2", name, is_nat_traversal) if octets == length - HEADER.size else None


def _are_payloads(message: bytes, payload: int, known: range) -> bool:
    """Whether the chain of payloads ends where the message does. @see: RFC 7296 section 3.2"""
    position = HEADER.size
    for _ in range(PAYLOAD_LIMIT):
        if payload == NO_PAYLOAD:
            return position == len(message)
        # Private payload types are above 127.
        if (payload not in known and payload < 128) or position + PAYLOAD_HEADER_OCTETS > len(message):  # noqa: PLR2004
            return False
        octets = int.from_bytes(message[position + 2 : position + 4], "big")
        if octets < PAYLOAD_HEADER_OCTETS:
            return False
        payload = message[position]
        position += octets
    return False
