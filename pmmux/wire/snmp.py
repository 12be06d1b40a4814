"""
SNMP requests of versions 1, 2c and 3.

@see: RFC 1157 section 4, RFC 3416 section 3, RFC 3412 section 6
"""

from __future__ import annotations

from attrs import frozen

TAG_INTEGER = 0x02
TAG_OCTETS = 0x04
TAG_OID = 0x06
TAG_SEQUENCE = 0x30
LENGTH_LONG_FORM = 0x80
LENGTH_LIMIT_OCTETS = 4
INTEGER_LIMIT_OCTETS = 8
TRAP_FIELDS = 5

VERSION_1 = 0
VERSION_2C = 1
VERSION_3 = 3
VERSION_NAMES = {VERSION_1: "1", VERSION_2C: "2c", VERSION_3: "3"}
PDU_TRAP_V1 = 0xA4
PDU_NAMES = {
    0xA0: "get",
    0xA1: "get-next",
    0xA3: "set",
    PDU_TRAP_V1: "trap",
    0xA5: "get-bulk",
    0xA6: "inform",
    0xA7: "trap",
    0xA8: "report",
}
"""Without the response, 0xA2, which no client begins with."""


@frozen(slots=True)
class Message:
    """
    A request, without what is secret in it.

    @ivar version: C{1}, C{2c} or C{3}.
    @ivar pdu: the operation; empty where it is encrypted.
    """

    version: str
    pdu: str


class _BrokenError(Exception):
    """The octets are not what BER or SNMP says they are."""


def parse_message(datagram: bytes) -> Message | None:
    """@return: C{None} where the datagram is not exactly one request."""
    if not datagram or datagram[0] != TAG_SEQUENCE:
        return None
    try:
        start, end = _enter(datagram, 0, len(datagram), TAG_SEQUENCE)
        if end != len(datagram):
            return None
        version, position = _integer(datagram, start, end)
        if version not in VERSION_NAMES:
            return None
        if version == VERSION_3:
            return Message(VERSION_NAMES[version], _read_version_3(datagram, position, end))
        _community, position = _enter(datagram, position, end, TAG_OCTETS)
        pdu = _read_pdu(datagram, position, end)
        return Message(VERSION_NAMES[version], pdu)
    except _BrokenError:
        return None


def _enter(octets: bytes, position: int, end: int, tag: int) -> tuple[int, int]:
    """
    Open the element with C{tag} at C{position}.

    @return: where its content begins and ends.
    """
    if position + 2 > end or octets[position] != tag:
        raise _BrokenError
    length = octets[position + 1]
    start = position + 2
    if length & LENGTH_LONG_FORM:
        count = length & ~LENGTH_LONG_FORM
        if not 0 < count <= LENGTH_LIMIT_OCTETS or start + count > end:
            raise _BrokenError
        length = int.from_bytes(octets[start : start + count], "big")
        start += count
    if start + length > end:
        raise _BrokenError
    return start, start + length


def _integer(octets: bytes, position: int, end: int) -> tuple[int, int]:
    start, stop = _enter(octets, position, end, TAG_INTEGER)
    if not 0 < stop - start <= INTEGER_LIMIT_OCTETS:
        raise _BrokenError
    return int.from_bytes(octets[start:stop], "big", signed=True), stop


def _read_pdu(octets: bytes, position: int, end: int) -> str:
    """The operation of the PDU at C{position}, which must fill the rest."""
    if position >= end or octets[position] not in PDU_NAMES:
        raise _BrokenError
    tag = octets[position]
    position, stop = _enter(octets, position, end, tag)
    if stop != end:
        raise _BrokenError
    if tag == PDU_TRAP_V1:
        for _ in range(TRAP_FIELDS):
            if position + 1 > stop:
                raise _BrokenError
            _start, position = _enter(octets, position, stop, octets[position])
    else:
        for _ in range(3):
            _value, position = _integer(octets, position, stop)
    _read_bindings(octets, position, stop)
    return PDU_NAMES[tag]


def _read_bindings(octets: bytes, position: int, end: int) -> None:
    position, stop = _enter(octets, position, end, TAG_SEQUENCE)
    if stop != end:
        raise _BrokenError
    while position < stop:
        start, position = _enter(octets, position, stop, TAG_SEQUENCE)
        _oid, value = _enter(octets, start, position, TAG_OID)
        if value + 1 > position or _enter(octets, value, position, octets[value])[1] != position:
            raise _BrokenError


def _read_version_3(octets: bytes, position: int, end: int) -> str:
    """@return: the operation, or nothing where it is encrypted. @see: RFC 3412 section 6"""
    header, position = _enter(octets, position, end, TAG_SEQUENCE)
    for tag in (TAG_INTEGER, TAG_INTEGER, TAG_OCTETS, TAG_INTEGER):
        start, header = _enter(octets, header, position, tag)
        if tag == TAG_OCTETS and header - start != 1:
            raise _BrokenError
    _parameters, after = _enter(octets, position, end, TAG_OCTETS)
    if header != position or after >= end:
        raise _BrokenError
    if octets[after] == TAG_OCTETS:
        if _enter(octets, after, end, TAG_OCTETS)[1] != end:
            raise _BrokenError
        return ""
    start, stop = _enter(octets, after, end, TAG_SEQUENCE)
    if stop != end:
        raise _BrokenError
    _engine, context = _enter(octets, start, stop, TAG_OCTETS)
    _name, pdu = _enter(octets, context, stop, TAG_OCTETS)
    return _read_pdu(octets, pdu, stop)
