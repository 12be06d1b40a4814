"""
MQTT: the CONNECT packet that a client begins with.

@see: MQTT 3.1.1 section 3.1, MQTT 5.0 section 3.1
"""

from __future__ import annotations

from attrs import frozen

from pmmux.wire.reading import Incomplete, Number, read_varint

_CONNECT = 0x10
_LENGTH_LIMIT_OCTETS = 4
_SMALLEST_LENGTH = 12
_NAMES = {b"\x00\x04MQTT": (4, 5), b"\x00\x06MQIsdp": (3,)}
_VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5"}
# Bridges between brokers set it; only before version 5.
_BRIDGE = 0x80
_VERSION_5 = 5
_KEEP_ALIVE_OCTETS = 2
_TEXT_LENGTH_OCTETS = 2

_RESERVED = 0x01
_HAS_WILL = 0x04
_WILL_QOS = 0x18
_WILL_RETAIN = 0x20
_HAS_PASSWORD = 0x40
_HAS_USERNAME = 0x80


@frozen(slots=True)
class Connect:
    """
    What a client says of itself.

    @ivar version: C{3.1}, C{3.1.1} or C{5}.
    @ivar client_id: may be empty; C{None} while not there, or where it breaks the rules.
    @ivar username: C{None} likewise, and where there is none.
    @ivar octets_needed: the octets in all that would tell more; 0 for none.
    """

    version: str
    client_id: bytes | None = None
    username: bytes | None = None
    octets_needed: int = 0


def read_connect(octets: bytes) -> Connect | Incomplete | None:
    """Read the packet; the protocol is certain from its flags on."""
    if octets and octets[0] != _CONNECT:
        return None
    if not octets:
        return Incomplete(1)
    length = read_varint(octets, 1, _LENGTH_LIMIT_OCTETS)
    if not isinstance(length, Number):
        return length
    if length.value < _SMALLEST_LENGTH:
        return None
    rest = octets[length.end :]
    for name, levels in _NAMES.items():
        if rest.startswith(name):
            return _read_variable(octets, length.end + len(name), length.end + length.value, levels)
        if name.startswith(rest):
            return Incomplete(len(octets) + 1)
    return None


def _read_variable(octets: bytes, at: int, end: int, levels: tuple[int, ...]) -> Connect | Incomplete | None:
    """Read from the level on."""
    if at >= len(octets):
        return Incomplete(at + 1)
    level = octets[at] & ~_BRIDGE
    if level not in levels or (level == _VERSION_5 and octets[at] & _BRIDGE):
        return None
    if at + 1 >= len(octets):
        return Incomplete(at + 2)
    flags = octets[at + 1]
    if not _are_flags(flags, level):
        return None
    return _read_payload(octets[:end], at + 2 + _KEEP_ALIVE_OCTETS, end, level, flags)


def _are_flags(flags: int, level: int) -> bool:
    """Whether no two flags contradict each other."""
    if flags & _RESERVED or flags & _WILL_QOS == _WILL_QOS:
        return False
    if not flags & _HAS_WILL and flags & (_WILL_QOS | _WILL_RETAIN):
        return False
    return bool(flags & _HAS_USERNAME or not flags & _HAS_PASSWORD or level == _VERSION_5)


def _read_payload(packet: bytes, at: int, end: int, level: int, flags: int) -> Connect:
    """Read what is there of the payload; C{at} is behind the keep-alive."""
    version = _VERSIONS[level]
    has_properties = level == _VERSION_5
    here = _skip_properties(packet, at, end) if has_properties else at
    client_id = _read_text(packet, here, end)
    if not isinstance(client_id, _Text):
        return Connect(version, octets_needed=_needed(client_id))
    if not flags & _HAS_USERNAME:
        return Connect(version, client_id.octets)
    here = client_id.end
    if flags & _HAS_WILL:
        here = _skip_properties(packet, here, end) if has_properties else here
        for _ in ("topic", "message"):
            text = _read_text(packet, here, end)
            here = text.end if isinstance(text, _Text) else text
    username = _read_text(packet, here, end)
    if not isinstance(username, _Text):
        return Connect(version, client_id.octets, octets_needed=_needed(username))
    return Connect(version, client_id.octets, username.octets)


@frozen(slots=True)
class _Text:
    octets: bytes
    end: int


_Place = int | Incomplete | None


def _needed(place: Incomplete | None) -> int:
    return place.octets_needed if isinstance(place, Incomplete) else 0


def _skip_properties(packet: bytes, at: _Place, end: int) -> _Place:
    """The place behind the properties of version 5."""
    if not isinstance(at, int):
        return at
    length = read_varint(packet, at, _LENGTH_LIMIT_OCTETS)
    if not isinstance(length, Number):
        return length
    after = length.end + length.value
    return after if after <= end else None


def _read_text(packet: bytes, at: _Place, end: int) -> _Text | Incomplete | None:
    """Octets with two octets of length before them, which must lie before C{end}."""
    if not isinstance(at, int):
        return at
    start = at + _TEXT_LENGTH_OCTETS
    if start > end:
        return None
    if len(packet) < start:
        return Incomplete(start)
    after = start + int.from_bytes(packet[at:start], "big")
    if after > end:
        return None
    return _Text(packet[start:after], after) if len(packet) >= after else Incomplete(after)
