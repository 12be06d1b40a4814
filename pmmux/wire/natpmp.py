"""
NAT-PMP: requests to octets, answers to values.

@see: RFC 6886
"""

from __future__ import annotations

import enum
import ipaddress
import struct

from attrs import frozen

VERSION = 0
SERVER_PORT = 5351
ANNOUNCEMENT_PORT = 5350
ANNOUNCEMENT_GROUP = "224.0.0.1"

_ANSWER_BIT = 0x80
_OPCODE_ADDRESS = 0
_OPCODES = {"udp": 1, "tcp": 2}
_TRANSPORTS = {opcode: transport for transport, opcode in _OPCODES.items()}
_MAP_REQUEST = struct.Struct("!BBHHHI")
_HEAD = struct.Struct("!BBHI")
_ADDRESS_ANSWER_OCTETS = 12
_MAP_ANSWER_OCTETS = 16
_RESULT_END = 4
_LEAST_INTERNAL_PORT_END = 10


class Result(enum.IntEnum):
    """Result codes. @see: RFC 6886, section 3.5"""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@frozen(slots=True)
class AddressAnswer:
    """The gateway's external address; also what it announces when that changes."""

    epoch_seconds: int
    address: str


@frozen(slots=True)
class MapAnswer:
    """
    A mapping made, renewed or (with a lifetime of 0) deleted.

    @ivar transport: C{"tcp"} or C{"udp"}.
    """

    epoch_seconds: int
    transport: str
    internal_port: int
    external_port: int
    lifetime_seconds: int


@frozen(slots=True)
class ErrorAnswer:
    """
    A refusal.

    @ivar transport: which kind of mapping was asked for; empty for the external address.
    @ivar internal_port: whose mapping it refuses; C{None} where the answer is too short to say.
    @ivar epoch_seconds: C{None} where the answer is too short to say.
    """

    result: int
    transport: str
    internal_port: int | None
    epoch_seconds: int | None


@frozen(slots=True)
class OtherVersion:
    """The server speaks another version: 2 is PCP. @see: RFC 6886, section 3.5"""

    version: int


Answer = AddressAnswer | MapAnswer | ErrorAnswer | OtherVersion


def encode_address_request() -> bytes:
    """Ask for the external address. @see: RFC 6886, section 3.2"""
    return bytes((VERSION, _OPCODE_ADDRESS))


def encode_map_request(
    transport: str, internal_port: int, external_port: int, lifetime_seconds: int
) -> bytes:
    """
    Ask for a mapping; with a lifetime and an external port of 0, for its deletion.

    @param external_port: the one suggested; 0 for any.
    @see: RFC 6886, sections 3.3 and 3.4
    """
    return _MAP_REQUEST.pack(VERSION, _OPCODES[transport], 0, internal_port, external_port, lifetime_seconds)


def decode(octets: bytes) -> Answer | None:
    """
    Read one datagram from a server.

    @return: C{None} where it is no answer, or a truncated one.
    """
    if len(octets) < _RESULT_END or not octets[1] & _ANSWER_BIT:
        return None
    # A PCP server has its result in octet 3 alone, where ours has the low half of 16 bits.
    if octets[0] != VERSION:
        return OtherVersion(octets[0]) if octets[3] == Result.UNSUPPORTED_VERSION else None
    opcode = octets[1] & ~_ANSWER_BIT
    transport = _TRANSPORTS.get(opcode, "")
    if opcode != _OPCODE_ADDRESS and not transport:
        return None
    result = int.from_bytes(octets[2:4], "big")
    epoch = _HEAD.unpack_from(octets)[3] if len(octets) >= _HEAD.size else None
    if result:
        port = None
        if transport and len(octets) >= _LEAST_INTERNAL_PORT_END:
            port = int.from_bytes(octets[8:10], "big")
        return ErrorAnswer(result, transport, port, epoch)
    if epoch is None:
        return None
    if not transport:
        if len(octets) < _ADDRESS_ANSWER_OCTETS:
            return None
        return AddressAnswer(epoch, str(ipaddress.IPv4Address(octets[8:12])))
    if len(octets) < _MAP_ANSWER_OCTETS:
        return None
    internal, external, lifetime = struct.unpack_from("!HHI", octets, 8)
    return MapAnswer(epoch, transport, internal, external, lifetime)
