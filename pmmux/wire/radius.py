"""
RADIUS requests.

@see: RFC 2865 sections 3 to 5, RFC 5997, RFC 5176
"""

from __future__ import annotations

from attrs import frozen

HEADER_OCTETS = 20
PACKET_LIMIT_OCTETS = 4096
ATTRIBUTE_MINIMUM_OCTETS = 3
CODES = {
    1: "access-request",
    4: "accounting-request",
    12: "status-server",
    40: "disconnect-request",
    43: "coa-request",
}
ATTRIBUTE_USER_NAME = 1
ATTRIBUTE_MESSAGE_AUTHENTICATOR = 80
MESSAGE_AUTHENTICATOR_OCTETS = 18


@frozen(slots=True)
class Request:
    """
    A request.

    @ivar code: the packet type's name.
    @ivar realm: what follows the last C{@} of the user's name, in lower case; may be empty.
    """

    code: str
    realm: str


def parse_request(datagram: bytes) -> Request | None:
    """@return: C{None} where the datagram is not exactly one request with at least one attribute."""
    octets = len(datagram)
    if not HEADER_OCTETS < octets <= PACKET_LIMIT_OCTETS:
        return None
    code = CODES.get(datagram[0])
    if code is None or int.from_bytes(datagram[2:4], "big") != octets:
        return None
    realm = ""
    position = HEADER_OCTETS
    while position < octets:
        if position + ATTRIBUTE_MINIMUM_OCTETS > octets:
            return None
        attribute, size = datagram[position], datagram[position + 1]
        end = position + size
        if not attribute or size < ATTRIBUTE_MINIMUM_OCTETS or end > octets:
            return None
        if attribute == ATTRIBUTE_MESSAGE_AUTHENTICATOR and size != MESSAGE_AUTHENTICATOR_OCTETS:
            return None
        if attribute == ATTRIBUTE_USER_NAME:
            realm = _realm(datagram[position + 2 : end])
        position = end
    return Request(code, realm)


def _realm(name: bytes) -> str:
    _user, mark, realm = name.rpartition(b"@")
    if not mark or not realm.isascii():
        return ""
    text = realm.decode("ascii").lower()
    return text if text.isprintable() else ""
