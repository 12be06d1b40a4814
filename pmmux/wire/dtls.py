"""
DTLS as a client first speaks it: the records that carry its ClientHello.

@see: RFC 6347 sections 4.1 and 4.2, RFC 9147 sections 4 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from attrs import field, frozen

RECORD_HEADER = struct.Struct("!BHHHLH")
"""Content type, version, epoch, sequence number in two parts, length."""
HANDSHAKE = 22
VERSION_1_0 = 0xFEFF
VERSION_1_2 = 0xFEFD
RECORD_VERSIONS = frozenset({VERSION_1_0, VERSION_1_2})
RECORD_LIMIT_OCTETS = 16384

MESSAGE_HEADER_OCTETS = 12
CLIENT_HELLO = 1
HELLO_LIMIT_OCTETS = 65536
MESSAGE_NUMBER_LIMIT = 2
"""A ClientHello is message 0, or 1 when it answers a cookie; higher ones are later in a handshake."""
FRAGMENT_LIMIT = 256


@frozen(slots=True)
class Fragment:
    """
    A piece of a ClientHello.

    @ivar total: how long the whole body is, in octets.
    @ivar number: the message's sequence number.
    @ivar offset: where in the body C{data} belongs.
    """

    total: int
    number: int
    offset: int
    data: bytes = field(repr=False)


def read_fragments(datagram: bytes) -> tuple[Fragment, ...]:
    """
    Read a datagram that holds nothing but records of a ClientHello.

    @return: at least one piece; empty where the datagram is anything else.
    """
    fragments: list[Fragment] = []
    start = 0
    while start < len(datagram):
        data_start = start + RECORD_HEADER.size
        if data_start > len(datagram):
            return ()
        content, version, epoch, number_high, _low, octets = RECORD_HEADER.unpack_from(datagram, start)
        end = data_start + octets
        if content != HANDSHAKE or version not in RECORD_VERSIONS or epoch or number_high:
            return ()
        if octets > RECORD_LIMIT_OCTETS or end > len(datagram):
            return ()
        if not _read_record(datagram[data_start:end], fragments):
            return ()
        start = end
    return tuple(fragments)


def _read_record(record: bytes, fragments: list[Fragment]) -> bool:
    """Add what the record holds to C{fragments}. @return: whether it holds nothing else."""
    position = 0
    while position < len(record):
        body = position + MESSAGE_HEADER_OCTETS
        if body > len(record) or record[position] != CLIENT_HELLO or len(fragments) == FRAGMENT_LIMIT:
            return False
        total = int.from_bytes(record[position + 1 : position + 4], "big")
        number = int.from_bytes(record[position + 4 : position + 6], "big")
        offset = int.from_bytes(record[position + 6 : position + 9], "big")
        octets = int.from_bytes(record[position + 9 : position + 12], "big")
        if total > HELLO_LIMIT_OCTETS or number >= MESSAGE_NUMBER_LIMIT or offset + octets > total:
            return False
        if not octets or body + octets > len(record):
            return False
        fragments.append(Fragment(total, number, offset, record[body : body + octets]))
        position = body + octets
    return position > 0


def join_fragments(fragments: Iterable[Fragment]) -> bytes | None:
    """
    Join the pieces of the latest ClientHello among C{fragments}; they may overlap, in any order.

    @return: its body; C{None} while a piece is missing, or where pieces contradict each other.
    """
    ordered = sorted(fragments, key=lambda fragment: (-fragment.number, fragment.offset))
    joined = bytearray()
    for fragment in ordered:
        latest = ordered[0]
        if fragment.number != latest.number:
            break
        overlap = len(joined) - fragment.offset
        if overlap < 0 or fragment.total != latest.total:
            return None
        shared = min(overlap, len(fragment.data))
        if joined[fragment.offset : fragment.offset + shared] != fragment.data[:shared]:
            return None
        joined += fragment.data[shared:]
    return bytes(joined) if ordered and len(joined) == ordered[0].total else None
