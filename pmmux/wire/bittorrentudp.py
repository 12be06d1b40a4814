"""
BitTorrent's three languages over UDP: uTP, the DHT, and UDP trackers.

@see: BEP 29 (uTP), BEP 5 (DHT), BEP 15 (trackers)
"""

from __future__ import annotations

import struct

from attrs import frozen

TRACKER_CONNECT = struct.Struct("!QLL")
TRACKER_MAGIC = 0x41727101980
TRACKER_ACTION_CONNECT = 0

UTP_HEADER = struct.Struct("!BBHLLLHH")
"""Type and version, extension, connection, time, time difference, window, sequence, acknowledgement."""
UTP_SYN = 0x41
UTP_EXTENSIONS = {1, 2, 3}
"""Selective acknowledgement, extension bits, close reason."""
EXTENSION_HEADER_OCTETS = 2
EXTENSION_LIMIT_OCTETS = 64
UTP_WINDOW_MAXIMUM = 1 << 30

DEPTH_LIMIT = 8
NODE_ID_OCTETS = 20
INTEGER_LIMIT_CHARACTERS = 20
LENGTH_LIMIT_CHARACTERS = 5
METHOD_LIMIT_OCTETS = 64
TRANSACTION_LIMIT_OCTETS = 32

Value = int | bytes | list["Value"] | dict[bytes, "Value"]


@frozen(slots=True)
class Datagram:
    """
    What a peer or client begins with.

    @ivar kind: C{utp}, C{dht} or C{tracker}.
    @ivar method: C{syn}; C{connect}; the name of a DHT query, or C{response} or C{error}.
    """

    kind: str
    method: str


UTP = Datagram("utp", "syn")
TRACKER = Datagram("tracker", "connect")


def parse_datagram(datagram: bytes) -> Datagram | None:
    """@return: C{None} where the datagram is none of the three."""
    if not datagram:
        return None
    first = datagram[0]
    if first == UTP_SYN:
        return UTP if is_utp_syn(datagram) else None
    if first == ord("d"):
        return _parse_dht(datagram)
    if first == 0 and len(datagram) == TRACKER_CONNECT.size:
        magic, action, _transaction = TRACKER_CONNECT.unpack(datagram)
        if magic == TRACKER_MAGIC and action == TRACKER_ACTION_CONNECT:
            return TRACKER
    return None


def is_utp_syn(datagram: bytes) -> bool:
    """
    Whether a datagram opens a uTP connection.

    Nothing was received yet, so that time difference and acknowledgement must still be 0.
    """
    if len(datagram) < UTP_HEADER.size:
        return False
    first, extension, _connection, _time, difference, window, sequence, acknowledged = UTP_HEADER.unpack_from(
        datagram
    )
    if first != UTP_SYN or difference or acknowledged or not sequence or window > UTP_WINDOW_MAXIMUM:
        return False
    position = UTP_HEADER.size
    while extension:
        if extension not in UTP_EXTENSIONS or position + EXTENSION_HEADER_OCTETS > len(datagram):
            return False
        extension, octets = datagram[position], datagram[position + 1]
        if not 0 < octets <= EXTENSION_LIMIT_OCTETS:
            return False
        position += EXTENSION_HEADER_OCTETS + octets
    return position == len(datagram)


def _parse_dht(datagram: bytes) -> Datagram | None:
    """A KRPC message, BEP 5. Its keys come in order, and there is nothing after it."""
    try:
        message, end = _decode(datagram, 0, 0)
    except (ValueError, IndexError):
        return None
    if end != len(datagram) or not isinstance(message, dict):
        return None
    transaction = message.get(b"t")
    if not isinstance(transaction, bytes) or not 0 < len(transaction) <= TRANSACTION_LIMIT_OCTETS:
        return None
    match message.get(b"y"), message:
        case b"q", {b"q": bytes(method), b"a": {b"id": bytes(node)}} if len(node) == NODE_ID_OCTETS:
            text = method.decode("ascii", "replace")
            if 0 < len(method) <= METHOD_LIMIT_OCTETS and text.isascii() and text.isprintable():
                return Datagram("dht", text)
        case b"r", {b"r": {b"id": bytes(node)}} if len(node) == NODE_ID_OCTETS:
            return Datagram("dht", "response")
        case b"e", {b"e": [int(), bytes()]}:
            return Datagram("dht", "error")
    return None


def _decode(octets: bytes, position: int, depth: int) -> tuple[Value, int]:
    """
    Decode one bencoded value, BEP 3.

    @raises ValueError: it is broken. @raises IndexError: it is cut off.
    """
    if depth > DEPTH_LIMIT:
        raise ValueError
    kind = octets[position : position + 1]
    if kind == b"i":
        end = octets.index(b"e", position, position + INTEGER_LIMIT_CHARACTERS + 2)
        return int(_check_digits(octets[position + 1 : end], b"-")), end + 1
    if kind == b"l":
        values: list[Value] = []
        position += 1
        while octets[position] != ord("e"):
            value, position = _decode(octets, position, depth + 1)
            values.append(value)
        return values, position + 1
    if kind == b"d":
        return _decode_dictionary(octets, position + 1, depth)
    colon = octets.index(b":", position, position + LENGTH_LIMIT_CHARACTERS + 1)
    start = colon + 1
    end = start + int(_check_digits(octets[position:colon], b""))
    if end > len(octets):
        raise IndexError
    return octets[start:end], end


def _decode_dictionary(octets: bytes, position: int, depth: int) -> tuple[Value, int]:
    values: dict[bytes, Value] = {}
    last_key = b""
    while octets[position] != ord("e"):
        key, position = _decode(octets, position, depth + 1)
        if not isinstance(key, bytes) or (values and key <= last_key):
            raise ValueError
        values[key], position = _decode(octets, position, depth + 1)
        last_key = key
    return values, position + 1


def _check_digits(text: bytes, sign: bytes) -> bytes:
    """@return: C{text}. @raises ValueError: C{int} would take it, bencoding does not."""
    digits = text.removeprefix(sign) if sign else text
    if not digits.isdigit() or (digits[0] == ord("0") and text != b"0"):
        raise ValueError
    return text
