"""
CoAP requests.

@see: RFC 7252 section 3, RFC 8132, RFC 7959 section 2.1
"""

from __future__ import annotations

from attrs import frozen

HEADER_OCTETS = 4
VERSION_AND_TYPE_SHIFT = 4
CONFIRMABLE = 0b0100
NON_CONFIRMABLE = 0b0101
"""Version 1 above the message type."""
TOKEN_LENGTH_MASK = 0x0F
TOKEN_LIMIT_OCTETS = 8
METHODS = {1: "GET", 2: "POST", 3: "PUT", 4: "DELETE", 5: "FETCH", 6: "PATCH", 7: "iPATCH"}

PAYLOAD_MARKER = 0xFF
EXTENDED_ONE = 13
EXTENDED_RESERVED = 15
EXTENDED_TWO_BASE = 269
OPTION_URI_HOST = 3
OPTION_URI_PATH = 11
TEXT_OPTIONS = frozenset({OPTION_URI_HOST, 8, OPTION_URI_PATH, 15, 20, 35, 39})
REPEATABLE_OPTIONS = frozenset({1, 4, 8, OPTION_URI_PATH, 15, 20, 258, 292, 2049, 65000})
CRITICAL_BIT = 1
OPTION_LENGTHS = {
    1: range(9),  # If-Match
    3: range(1, 256),  # Uri-Host
    4: range(1, 9),  # ETag
    5: range(1),  # If-None-Match
    6: range(4),  # Observe
    7: range(3),  # Uri-Port
    8: range(256),  # Location-Path
    9: range(256),  # OSCORE
    11: range(256),  # Uri-Path
    12: range(3),  # Content-Format
    14: range(5),  # Max-Age
    15: range(256),  # Uri-Query
    16: range(2),  # Hop-Limit
    17: range(3),  # Accept
    19: range(4),  # Q-Block1
    20: range(256),  # Location-Query
    21: range(1),  # EDHOC
    23: range(4),  # Block2
    27: range(4),  # Block1
    28: range(5),  # Size2
    31: range(4),  # Q-Block2
    35: range(1, 1035),  # Proxy-Uri
    39: range(1, 256),  # Proxy-Scheme
    60: range(5),  # Size1
    252: range(1, 41),  # Echo
    258: range(2),  # No-Response
    292: range(9),  # Request-Tag
}
"""What each registered option may be long, in octets; a critical one that is not here is not CoAP to us."""
UNKNOWN_OPTION_LENGTHS = range(1035)


@frozen(slots=True)
class Request:
    """
    A request.

    @ivar host: Uri-Host in lower case; empty where it was not sent.
    @ivar path: with a leading slash, as decoded text.
    """

    method: str
    host: str
    path: str


def parse_request(datagram: bytes) -> Request | None:
    """
    Read a confirmable or non-confirmable request to its end.

    @return: C{None} where the datagram is anything else; an acknowledgement, a response or a ping too.
    """
    if len(datagram) < HEADER_OCTETS:
        return None
    first = datagram[0]
    if first >> VERSION_AND_TYPE_SHIFT not in (CONFIRMABLE, NON_CONFIRMABLE):
        return None
    method = METHODS.get(datagram[1])
    token_octets = first & TOKEN_LENGTH_MASK
    position = HEADER_OCTETS + token_octets
    if method is None or token_octets > TOKEN_LIMIT_OCTETS or position > len(datagram):
        return None
    host = ""
    segments: list[str] = []
    number = 0
    while position < len(datagram):
        if datagram[position] == PAYLOAD_MARKER:
            if position + 1 == len(datagram):
                return None
            break
        option = _read_option(datagram, position, number)
        if option is None:
            return None
        number, value, position = option
        if number in TEXT_OPTIONS:
            text = _decode(value)
            if text is None:
                return None
            if number == OPTION_URI_HOST:
                host = text.lower().removesuffix(".")
            elif number == OPTION_URI_PATH:
                segments.append(text)
    return Request(method, host, "/" + "/".join(segments))


def _read_option(octets: bytes, position: int, last: int) -> tuple[int, bytes, int] | None:
    """@return: number, value, and the position after it. @see: RFC 7252 section 3.1"""
    nibbles = octets[position]
    delta = _extend(octets, position + 1, nibbles >> 4)
    length = None if delta is None else _extend(octets, delta[1], nibbles & 0xF)
    if delta is None or length is None:
        return None
    number = last + delta[0]
    start = length[1]
    end = start + length[0]
    allowed = OPTION_LENGTHS.get(number)
    if allowed is None:
        if number & CRITICAL_BIT:
            return None
        allowed = UNKNOWN_OPTION_LENGTHS
    if end > len(octets) or length[0] not in allowed:
        return None
    if not delta[0] and number not in REPEATABLE_OPTIONS:
        return None
    return number, octets[start:end], end


def _extend(octets: bytes, position: int, nibble: int) -> tuple[int, int] | None:
    """Read the rest of a nibble that says that one or two octets continue it."""
    if nibble < EXTENDED_ONE:
        return nibble, position
    end = position + (1 if nibble == EXTENDED_ONE else 2)
    if nibble == EXTENDED_RESERVED or end > len(octets):
        return None
    base = EXTENDED_ONE if nibble == EXTENDED_ONE else EXTENDED_TWO_BASE
    return base + int.from_bytes(octets[position:end], "big"), end


def _decode(value: bytes) -> str | None:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
