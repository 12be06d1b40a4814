"""
PCP, version 2: the ANNOUNCE and MAP opcodes, requests to octets and answers to values.

@see: RFC 6887
"""

from __future__ import annotations

import enum
import ipaddress
import struct

from attrs import frozen

VERSION = 2
SERVER_PORT = 5351
ANNOUNCEMENT_PORT = 5350
ANNOUNCEMENT_GROUP = "224.0.0.1"
ANNOUNCEMENT_GROUP_IPV6 = "ff02::1"
NONCE_OCTETS = 12

_ANSWER_BIT = 0x80
_OPCODE_ANNOUNCE = 0
_OPCODE_MAP = 1
_PROTOCOLS = {"tcp": 6, "udp": 17}
_TRANSPORTS = {number: transport for transport, number in _PROTOCOLS.items()}
_REQUEST_HEAD = struct.Struct("!BBHI16s")
_ANSWER_HEAD = struct.Struct("!BBBBII12x")
_MAP_BODY = struct.Struct("!12sB3xHH16s")
_MAP_OCTETS = _ANSWER_HEAD.size + _MAP_BODY.size
_LEAST_OCTETS = 4
_LARGEST_OCTETS = 1100


class Result(enum.IntEnum):
    """Result codes. @see: RFC 6887, section 7.4"""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPPORTED_OPCODE = 4
    UNSUPPORTED_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPPORTED_PROTOCOL = 9
    USER_EXCEEDED_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@frozen(slots=True)
class AnnounceAnswer:
    """
    The server is there; sent without being asked when it has lost its mappings.

    @ivar lifetime_seconds: of a refusal, how long it will last.
    @see: RFC 6887, section 14.1
    """

    result: int
    lifetime_seconds: int
    epoch_seconds: int


@frozen(slots=True)
class MapAnswer:
    """
    A mapping made, renewed, deleted (lifetime 0) or refused.

    @ivar nonce: the one of the request; C{None} in a refusal that does not repeat the request.
    @ivar transport: C{"tcp"}, C{"udp"}, or empty for another one.
    @ivar external_address: IPv4 addresses in their own notation.
    @see: RFC 6887, section 11.1
    """

    result: int
    lifetime_seconds: int
    epoch_seconds: int
    nonce: bytes | None = None
    transport: str = ""
    internal_port: int = 0
    external_port: int = 0
    external_address: str = ""


@frozen(slots=True)
class OtherVersion:
    """The server speaks another version: 0 is NAT-PMP. @see: RFC 6887, section 9 and appendix A"""

    version: int


Answer = AnnounceAnswer | MapAnswer | OtherVersion


def encode_announce(client_address: str) -> bytes:
    """
    Ask whether the server is there, which changes nothing.

    @param client_address: the address this is sent from.
    """
    return _REQUEST_HEAD.pack(VERSION, _OPCODE_ANNOUNCE, 0, 0, _to_sixteen(client_address))


def encode_map(
    client_address: str,
    *,
    nonce: bytes,
    transport: str,
    internal_port: int,
    external_port: int,
    lifetime_seconds: int,
    external_address: str = "",
) -> bytes:
    """
    Ask for a mapping, its renewal, or with a lifetime of 0 its deletion.

    @param nonce: 12 octets; the server deletes and renews only for who knows them.
    @param external_port: the one suggested; 0 for any.
    @param external_address: the one suggested; empty for any.
    """
    any_address = "::" if ":" in client_address else "0.0.0.0"
    head = _REQUEST_HEAD.pack(VERSION, _OPCODE_MAP, 0, lifetime_seconds, _to_sixteen(client_address))
    return head + _MAP_BODY.pack(
        nonce,
        _PROTOCOLS[transport],
        internal_port,
        external_port,
        _to_sixteen(external_address or any_address),
    )


def decode(octets: bytes) -> Answer | None:
    """
    Read one datagram from a server.

    @return: C{None} where it is no answer, or a truncated one.
    """
    if len(octets) < _LEAST_OCTETS or not octets[1] & _ANSWER_BIT:
        return None
    # First of all: a server of another version repeats no other field at its place.
    if octets[3] == Result.UNSUPPORTED_VERSION:
        return OtherVersion(octets[0])
    if octets[0] != VERSION or len(octets) % 4 or not _ANSWER_HEAD.size <= len(octets) <= _LARGEST_OCTETS:
        return None
    _, opcode, _, result, lifetime, epoch = _ANSWER_HEAD.unpack_from(octets)
    opcode &= ~_ANSWER_BIT
    if opcode == _OPCODE_ANNOUNCE:
        return AnnounceAnswer(result, lifetime, epoch)
    if opcode != _OPCODE_MAP:
        return None
    if len(octets) < _MAP_OCTETS:
        return MapAnswer(result, lifetime, epoch) if result else None
    nonce, protocol, internal, external, address = _MAP_BODY.unpack_from(octets, _ANSWER_HEAD.size)
    return MapAnswer(
        result,
        lifetime,
        epoch,
        nonce,
        _TRANSPORTS.get(protocol, ""),
        internal,
        external,
        _from_sixteen(address),
    )


def _to_sixteen(address: str) -> bytes:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 6:  # noqa: PLR2004
        return parsed.packed
    return b"\0" * 10 + b"\xff\xff" + parsed.packed


def _from_sixteen(octets: bytes) -> str:
    address = ipaddress.IPv6Address(octets)
    return str(address.ipv4_mapped or address)
