"""
NTP as clients speak it.

@see: RFC 5905 section 7.3, RFC 7822, RFC 9327
"""

from __future__ import annotations

import struct

from attrs import frozen

HEADER = struct.Struct("!BBbbHHHH")
"""Leap, version and mode; stratum; poll; precision; root delay and root dispersion as seconds and parts."""
HEADER_OCTETS = 48
VERSION_SHIFT = 3
VERSION_MASK = 7
VERSIONS = frozenset({3, 4})
MODE_MASK = 7
MODE_CLIENT = 3
MODE_CONTROL = 6
MODE_PRIVATE = 7
STRATUM_MAXIMUM = 16
POLL_MINIMUM = -7
POLL_MAXIMUM = 17
PRECISION_RANGE = range(-32, 1)
PRECISION_HIDDEN = 32
"""What clients send that keep their clock's state to themselves."""
ROOT_LIMIT_SECONDS = 16

NTS_COOKIE = 0x0204
"""RFC 8915 section 5.4."""
EXTENSION_MINIMUM_OCTETS = 16
EXTENSION_ALIGNMENT_OCTETS = 4
MAC_OCTETS = frozenset({0, 4, 20, 24})
"""None, a crypto-NAK, a key ID with a digest of 16 or 20 octets, RFC 7822 section 3."""

CONTROL_HEADER = struct.Struct("!BBHHHHH")
"""Mode, operation, sequence, status, association, offset, count; RFC 9327 section 2."""
CONTROL_OPERATIONS = frozenset({*range(13), 31})
MONITORED_VERSIONS = frozenset({2, 3, 4})
PRIVATE_HEADER = struct.Struct("!BBBBHH")
"""Mode, sequence, implementation, request, number of items, size of each."""
PRIVATE_IMPLEMENTATIONS = frozenset({0, 2, 3})
PRIVATE_REQUESTS = range(46)
PRIVATE_ITEMS_LIMIT_OCTETS = 500


@frozen(slots=True)
class Packet:
    """
    A client's packet.

    @ivar mode: C{client}, C{control} or C{private}.
    @ivar extensions: the types of the extension fields, in order.
    """

    version: int
    mode: str
    extensions: tuple[int, ...] = ()


def parse_packet(datagram: bytes) -> Packet | None:
    """
    Recognise a time query of version 3 or 4, or a query of the monitoring modes 6 and 7.

    @return: C{None} where it is anything else.
    """
    if len(datagram) < PRIVATE_HEADER.size:
        return None
    first = datagram[0]
    version = first >> VERSION_SHIFT & VERSION_MASK
    mode = first & MODE_MASK
    if mode == MODE_CLIENT:
        if version not in VERSIONS or len(datagram) < HEADER_OCTETS or not _is_client_plausible(datagram):
            return None
        extensions = _read_extensions(datagram)
        return None if extensions is None else Packet(version, "client", extensions)
    if mode == MODE_CONTROL:
        return Packet(version, "control") if _is_control(datagram, version) else None
    if mode == MODE_PRIVATE:
        return Packet(version, "private") if _is_private(datagram) else None
    return None


def _is_client_plausible(datagram: bytes) -> bool:
    _first, stratum, poll, precision, delay, _parts, dispersion, _more = HEADER.unpack_from(datagram)
    return bool(
        stratum <= STRATUM_MAXIMUM
        and POLL_MINIMUM <= poll <= POLL_MAXIMUM
        and (precision in PRECISION_RANGE or precision == PRECISION_HIDDEN)
        and delay < ROOT_LIMIT_SECONDS
        and dispersion < ROOT_LIMIT_SECONDS
    )


def _read_extensions(datagram: bytes) -> tuple[int, ...] | None:
    """@return: the types; C{None} where fields and MAC do not end with the datagram."""
    types: list[int] = []
    position = HEADER_OCTETS
    while len(datagram) - position not in MAC_OCTETS:
        if position + EXTENSION_MINIMUM_OCTETS > len(datagram):
            return None
        octets = int.from_bytes(datagram[position + 2 : position + 4], "big")
        if octets < EXTENSION_MINIMUM_OCTETS or octets % EXTENSION_ALIGNMENT_OCTETS:
            return None
        types.append(int.from_bytes(datagram[position : position + 2], "big"))
        position += octets
        if position > len(datagram):
            return None
    return tuple(types)


def _is_control(datagram: bytes, version: int) -> bool:
    """A mode 6 request: nothing set that only responses set, and the stated amount of data."""
    if len(datagram) < CONTROL_HEADER.size or version not in MONITORED_VERSIONS:
        return False
    _first, operation, _sequence, status, _association, offset, count = CONTROL_HEADER.unpack_from(datagram)
    if operation not in CONTROL_OPERATIONS or status or offset:
        return False
    data_octets = count + -count % EXTENSION_ALIGNMENT_OCTETS
    return len(datagram) - CONTROL_HEADER.size - data_octets in MAC_OCTETS


def _is_private(datagram: bytes) -> bool:
    """A mode 7 request of ntpd, as C{monlist} is: response and more bits clear, no error."""
    first, sequence, implementation, request, items, size = PRIVATE_HEADER.unpack_from(datagram)
    if first >> VERSION_SHIFT not in MONITORED_VERSIONS or sequence:
        return False
    if implementation not in PRIVATE_IMPLEMENTATIONS or request not in PRIVATE_REQUESTS:
        return False
    if not items:
        # Without items there is padding at most, which differs between versions in length.
        return not size and not any(datagram[PRIVATE_HEADER.size :])
    return bool(0 < items * size <= PRIVATE_ITEMS_LIMIT_OCTETS)
