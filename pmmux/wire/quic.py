"""
QUIC as a client first speaks it: long headers, and the ClientHello inside the first Initial packets.

Initial packets are encrypted with keys that anyone can derive from what is in the packet, so what they
say can be read, and that they authenticate shows beyond doubt that they are QUIC.

@see: RFC 8999 (what holds for every version), RFC 9000 section 17, RFC 9001 section 5, RFC 9369.
"""

from __future__ import annotations

import enum

from attrs import frozen

from pmmux.wire import quiccrypto

VERSION_1 = 0x00000001
VERSION_2 = 0x6B3343CF
"""RFC 9369 section 3.1."""
DRAFT_PREFIX = 0xFF000000
DRAFT_MASK = 0xFFFFFF00
RESERVED_MASK = 0x0F0F0F0F
RESERVED_PATTERN = 0x0A0A0A0A
"""Versions reserved to exercise version negotiation, RFC 9000 section 15."""

INITIAL_DATAGRAM_OCTETS = 1200
"""A server discards Initial packets in smaller datagrams, RFC 9000 section 14.1."""
CONNECTION_ID_LIMIT_OCTETS = 20
FIRST_CONNECTION_ID_OCTETS = 8
"""What a client makes up for the server has at least this length, RFC 9000 section 7.2."""
CRYPTO_LIMIT_OCTETS = 65536
DATAGRAM_LIMIT = 16
FRAGMENT_LIMIT = 256
PACKET_LIMIT = 8
"""How many packets of one datagram are looked at."""

LONG_FORM = 0x80
FIXED_BIT = 0x40
TYPE_SHIFT = 4
TYPE_MASK = 0x3
TYPE_INITIAL = {VERSION_1: 0, VERSION_2: 1}
TYPE_RETRY = {VERSION_1: 3, VERSION_2: 0}
LONG_HEADER_MINIMUM_OCTETS = 7

FRAME_PADDING = 0x00
FRAME_PING = 0x01
FRAME_ACK = 0x02
FRAME_ACK_ECN = 0x03
FRAME_CRYPTO = 0x06
FRAME_CONNECTION_CLOSE = 0x1C
ACK_FIELDS = 3
ECN_COUNTS = 3

HANDSHAKE_HEADER_OCTETS = 4
CLIENT_HELLO = 1


@frozen(slots=True)
class LongHeader:
    """
    The part of a long header that is the same in every version.

    @ivar first: the first octet, as it is on the wire.
    @ivar version: 0 marks version negotiation.
    @ivar destination: the destination connection ID.
    @ivar source: the source connection ID.
    @ivar end: where the header's version-specific part begins.
    @see: RFC 8999 section 5.1
    """

    first: int
    version: int
    destination: bytes
    source: bytes
    end: int


def long_header(datagram: bytes, start: int = 0) -> LongHeader | None:
    """
    Read the long header of the packet that begins at C{start}.

    @return: C{None} where there is none: a short header, cut off, or a connection ID longer than
        versions 1 and 2 allow.
    """
    if len(datagram) - start < LONG_HEADER_MINIMUM_OCTETS or not datagram[start] & LONG_FORM:
        return None
    destination_start = start + 6
    destination_end = destination_start + datagram[start + 5]
    if destination_end - destination_start > CONNECTION_ID_LIMIT_OCTETS or destination_end >= len(datagram):
        return None
    source_start = destination_end + 1
    source_end = source_start + datagram[destination_end]
    if source_end - source_start > CONNECTION_ID_LIMIT_OCTETS or source_end > len(datagram):
        return None
    return LongHeader(
        datagram[start],
        int.from_bytes(datagram[start + 1 : start + 5], "big"),
        datagram[destination_start:destination_end],
        datagram[source_start:source_end],
        source_end,
    )


def destination_connection_id(datagram: bytes, length: int) -> bytes | None:
    """
    The destination connection ID of a datagram of either header form.

    @param length: how many octets the server's connection IDs have, which a short header does not say.
    @return: C{None} where the datagram is too short, or its long header broken.
    @see: RFC 8999 section 5.2
    """
    if not datagram:
        return None
    if datagram[0] & LONG_FORM:
        header = long_header(datagram)
        return None if header is None else header.destination
    return datagram[1 : 1 + length] if len(datagram) > length else None


def version_name(version: int) -> str:
    """A version as people write it: C{1}, C{2}, C{draft-29}, C{0x1a2a3a4a}."""
    if version == VERSION_1:
        return "1"
    if version == VERSION_2:
        return "2"
    if version & DRAFT_MASK == DRAFT_PREFIX:
        return f"draft-{version & ~DRAFT_MASK}"
    return f"0x{version:08x}"


def read_foreign_version(datagram: bytes) -> int | None:
    """
    Recognise a client's first datagram of a version whose packets we cannot open.

    Only the versions reserved for exercising version negotiation and the drafts count, and only in a
    datagram of the size and with the connection ID that a first one must have: nothing else about
    it could be checked.

    @return: the version, or C{None}.
    """
    if len(datagram) < INITIAL_DATAGRAM_OCTETS or datagram[0] & FIXED_BIT == 0:
        return None
    header = long_header(datagram)
    if header is None or len(header.destination) < FIRST_CONNECTION_ID_OCTETS:
        return None
    version = header.version
    is_reserved = version & RESERVED_MASK == RESERVED_PATTERN
    return version if is_reserved or version & DRAFT_MASK == DRAFT_PREFIX else None


class State(enum.Enum):
    """What an L{InitialReader} makes of the datagrams so far."""

    MORE = "more"
    """QUIC for certain once a datagram was fed; the ClientHello has not all come."""
    COMPLETE = "complete"
    NOT_QUIC = "not-quic"
    MALFORMED = "malformed"


class InitialReader:
    """
    Collects one client's ClientHello from its first datagrams, whatever their order.

    Sans-I/O and bounded: L{DATAGRAM_LIMIT} datagrams, L{CRYPTO_LIMIT_OCTETS} of handshake,
    L{FRAGMENT_LIMIT} pieces of it. Keys come from the first datagram; packets of another version or
    connection ID, packets that do not authenticate and datagrams below the size that a server must
    accept are passed over, as a server would; in the first datagram they mean that it is not QUIC.

    @ivar state: see L{State}; final unless C{MORE}.
    @ivar version: 0 until an Initial packet was opened.
    @ivar hello: the ClientHello's body, without its handshake header, once complete.
    @ivar fault: why it is malformed.
    """

    def __init__(self) -> None:
        self.state = State.MORE
        self.version = 0
        self.destination = b""
        self.hello = b""
        self.fault = ""
        self._keys: quiccrypto.InitialKeys | None = None
        self._largest_number = -1
        self._datagrams = 0
        self._fragments: list[tuple[int, bytes]] = []

    def feed(self, datagram: bytes) -> State:
        """Take one more datagram of this client. @return: the new state."""
        if self.state is not State.MORE:
            return self.state
        if self._datagrams == DATAGRAM_LIMIT:
            return self._fail("the ClientHello takes too many datagrams")
        self._datagrams += 1
        if len(datagram) >= INITIAL_DATAGRAM_OCTETS:
            fragments_before = len(self._fragments)
            self._read_packets(datagram)
            if self.state is State.MORE and len(self._fragments) > fragments_before:
                self._assemble()
        if self.state is State.MORE and self._largest_number < 0:
            self.state = State.NOT_QUIC
        return self.state

    def _fail(self, fault: str) -> State:
        self.state = State.MALFORMED
        self.fault = fault
        return self.state

    def _read_packets(self, datagram: bytes) -> None:
        """Open each Initial packet coalesced in C{datagram}, RFC 9000 section 12.2."""
        start = 0
        for _ in range(PACKET_LIMIT):
            if self.state is not State.MORE:
                return
            header = long_header(datagram, start)
            if header is None or header.version not in TYPE_INITIAL:
                return
            if self.version and (header.version, header.destination) != (self.version, self.destination):
                return
            packet_type = header.first >> TYPE_SHIFT & TYPE_MASK
            if packet_type == TYPE_RETRY[header.version]:
                return
            position = header.end
            is_initial = packet_type == TYPE_INITIAL[header.version]
            if is_initial:
                token_octets, position = read_varint(datagram, position)
                position += token_octets
            length, number_start = read_varint(datagram, position)
            end = number_start + length
            if length < 0 or end > len(datagram):
                return
            if is_initial and not self._open(header, datagram[start:end], number_start - start):
                return
            start = end

    def _open(self, header: LongHeader, packet: bytes, number_start: int) -> bool:
        """@return: whether the packet authenticated."""
        keys = self._keys
        if keys is None:
            if len(header.destination) < FIRST_CONNECTION_ID_OCTETS:
                return False
            keys = quiccrypto.client_initial_keys(header.destination, header.version == VERSION_2)
        opened = keys.open(packet, number_start, self._largest_number)
        if opened is None:
            return False
        number, payload = opened
        self._keys = keys
        self.version = header.version
        self.destination = header.destination
        self._largest_number = max(self._largest_number, number)
        self._read_frames(payload)
        return True

    def _read_frames(self, payload: bytes) -> None:
        """Gather CRYPTO frames; pass over what else may be in Initial packets, RFC 9000 section 12.4."""
        position = 0
        end = len(payload)
        if not end:
            self._fail("an Initial packet without frames")
        while position < end:
            frame_type = payload[position]
            position += 1
            if frame_type == FRAME_PADDING:
                position = end - len(payload[position:].lstrip(b"\0"))
            elif frame_type == FRAME_CRYPTO:
                offset, position = read_varint(payload, position)
                length, position = read_varint(payload, position)
                if length < 0 or position + length > end:
                    self._fail("a CRYPTO frame that runs past its packet")
                    return
                if offset + length > CRYPTO_LIMIT_OCTETS or len(self._fragments) == FRAGMENT_LIMIT:
                    self._fail("a ClientHello beyond the limits")
                    return
                self._fragments.append((offset, payload[position : position + length]))
                position += length
            elif frame_type in (FRAME_ACK, FRAME_ACK_ECN):
                position = _skip_ack(payload, position, frame_type == FRAME_ACK_ECN)
                if position < 0:
                    self._fail("a broken ACK frame")
                    return
            elif frame_type == FRAME_CONNECTION_CLOSE:
                self._fail("the client closes in its first packets")
                return
            elif frame_type != FRAME_PING:
                self._fail("a frame that Initial packets must not have")
                return

    def _assemble(self) -> None:
        """Join the fragments from offset 0 on; where they overlap they must agree."""
        joined = bytearray()
        for offset, piece in sorted(self._fragments):
            overlap = len(joined) - offset
            if overlap < 0:
                break
            shared = min(overlap, len(piece))
            if joined[offset : offset + shared] != piece[:shared]:
                self._fail("CRYPTO frames that contradict each other")
                return
            joined += piece[shared:]
        if not joined:
            return
        if joined[0] != CLIENT_HELLO:
            self._fail("the handshake does not begin with a ClientHello")
            return
        if len(joined) < HANDSHAKE_HEADER_OCTETS:
            return
        end = HANDSHAKE_HEADER_OCTETS + int.from_bytes(joined[1:HANDSHAKE_HEADER_OCTETS], "big")
        if end > CRYPTO_LIMIT_OCTETS:
            self._fail("a ClientHello beyond the limits")
        elif len(joined) >= end:
            self.hello = bytes(joined[HANDSHAKE_HEADER_OCTETS:end])
            self.state = State.COMPLETE


def read_varint(octets: bytes, position: int) -> tuple[int, int]:
    """
    Read a variable-length integer.

    @return: the value and the position after it; a value of -1 where it is cut off. The position is
        past the end then, so that whatever is read next is cut off as well.
    @see: RFC 9000 section 16
    """
    if position >= len(octets):
        return -1, len(octets) + 1
    size = 1 << (octets[position] >> 6)
    end = position + size
    if end > len(octets):
        return -1, len(octets) + 1
    value = int.from_bytes(octets[position:end], "big")
    return value & ((1 << (8 * size - 2)) - 1), end


def _skip_ack(payload: bytes, position: int, has_counts: bool) -> int:
    """@return: the position after the ACK frame; -1 where it is broken. @see: RFC 9000 section 19.3"""
    range_count = 0
    for field in range(ACK_FIELDS):
        value, position = read_varint(payload, position)
        if field == ACK_FIELDS - 1:
            range_count = value
    if range_count < 0 or range_count > len(payload):
        return -1
    for _ in range(1 + 2 * range_count + ECN_COUNTS * has_counts):
        value, position = read_varint(payload, position)
        if value < 0:
            return -1
    return position
