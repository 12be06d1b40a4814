"""
Minecraft (Java edition): the handshake that a client begins with, and the older server list pings.

@see: minecraft.wiki, "Java Edition protocol": Handshaking, "Server List Ping" (1.6 and older)
"""

from __future__ import annotations

import re

from attrs import frozen

from pmmux.wire.reading import Incomplete, Number, read_varint

STATUS = "status"
LOGIN = "login"
TRANSFER = "transfer"

_NEXT_STATES = {1: STATUS, 2: LOGIN, 3: TRANSFER}
_HANDSHAKE = 0x00
_NUMBER_LIMIT_OCTETS = 5
_LENGTH_LIMIT_OCTETS = 2
# 255 characters, each of at most 4 octets.
_ADDRESS_LIMIT_OCTETS = 255 * 4
_PORT_AND_STATE_OCTETS = 3
# Packet identifier, version, length of the address, one octet of it.
_SMALLEST_LENGTH = 4 + _PORT_AND_STATE_OCTETS
_LARGEST_LENGTH = (
    1 + _NUMBER_LIMIT_OCTETS + _LENGTH_LIMIT_OCTETS + _ADDRESS_LIMIT_OCTETS + _PORT_AND_STATE_OCTETS
)
# A name; what Forge and proxies add comes after a NUL.
_ADDRESS = re.compile(rb"(?:[!-~\x80-\xff]+(?:\0.*)?)?", re.DOTALL)
_LARGEST_NUMBER = 2**32 - 1

_OLD_PING = b"\xfe\x01"
_PLUGIN_MESSAGE = 0xFA
_PING_HOST = "MC|PingHost".encode("utf-16-be")
_PING_HOST_MESSAGE = _OLD_PING + b"\xfa" + (len(_PING_HOST) // 2).to_bytes(2, "big") + _PING_HOST
# The length of the rest, and the version.
_OLD_NAME_LENGTH_AT = len(_PING_HOST_MESSAGE) + 3
_OLD_NAME_AT = _OLD_NAME_LENGTH_AT + 2


@frozen(slots=True)
class Handshake:
    """
    What a client wants from which server.

    @ivar address: as the player typed it, without what follows a NUL; C{None} where it was not sent.
    @ivar next_state: C{status}, C{login} or C{transfer}; C{None} likewise.
    @ivar protocol: the number of the protocol's version; C{None} likewise.
    @ivar octets_needed: the octets in all that would tell more; 0 for none.
    """

    address: bytes | None = None
    next_state: str | None = None
    protocol: int | None = None
    octets_needed: int = 0


def read_handshake(octets: bytes) -> Handshake | Incomplete | None:
    """Read the handshake, which has to be there whole, or the ping of an older client."""
    if not octets.startswith(_OLD_PING):
        return _read_modern(octets)
    third = octets[len(_OLD_PING) : len(_OLD_PING) + 1]
    if not third:
        # All that clients 1.4 and 1.5 send; also how a handshake of 254 octets begins.
        return Handshake(octets_needed=len(_OLD_PING) + 1)
    if third[0] == _PLUGIN_MESSAGE:
        return _read_ping_host(octets)
    modern = _read_modern(octets)
    if isinstance(modern, Handshake):
        return modern
    return Handshake(octets_needed=modern.octets_needed if modern else 0)


def _read_modern(octets: bytes) -> Handshake | Incomplete | None:
    """Read the handshake of 1.7 and later."""
    length = read_varint(octets, 0, _LENGTH_LIMIT_OCTETS)
    if not isinstance(length, Number):
        return length
    if not _SMALLEST_LENGTH <= length.value <= _LARGEST_LENGTH:
        return None
    at = length.end
    end = at + length.value
    if at >= len(octets):
        return Incomplete(at + 1)
    if octets[at] != _HANDSHAKE:
        return None
    protocol = read_varint(octets, at + 1, _NUMBER_LIMIT_OCTETS)
    if not isinstance(protocol, Number):
        return protocol
    size = read_varint(octets, protocol.end, _LENGTH_LIMIT_OCTETS)
    if protocol.value > _LARGEST_NUMBER:
        return None
    if not isinstance(size, Number):
        return size
    port_at = size.end + size.value
    address = octets[size.end : port_at]
    if not size.value or port_at + _PORT_AND_STATE_OCTETS != end or not _ADDRESS.fullmatch(address):
        return None
    if len(octets) < end:
        return Incomplete(end)
    state = _NEXT_STATES.get(octets[end - 1])
    if state is None:
        return None
    return Handshake(address.split(b"\0", 1)[0], state, protocol.value)


def _read_ping_host(octets: bytes) -> Handshake:
    """Read the ping of 1.6, which names the server; the protocol is certain already."""
    message = octets[: len(_PING_HOST_MESSAGE)]
    if not _PING_HOST_MESSAGE.startswith(message):
        return Handshake(next_state=STATUS)
    if len(octets) < _OLD_NAME_AT:
        needed = _OLD_NAME_AT if message == _PING_HOST_MESSAGE else len(octets) + 1
        return Handshake(next_state=STATUS, octets_needed=needed)
    end = _OLD_NAME_AT + 2 * int.from_bytes(octets[_OLD_NAME_LENGTH_AT:_OLD_NAME_AT], "big")
    if end > _OLD_NAME_AT + _ADDRESS_LIMIT_OCTETS:
        return Handshake(next_state=STATUS)
    if len(octets) < end:
        return Handshake(next_state=STATUS, octets_needed=end)
    name = octets[_OLD_NAME_AT:end].decode("utf-16-be", "replace").encode("utf-8", "replace")
    return Handshake(name, STATUS, octets[_OLD_NAME_LENGTH_AT - 1])
