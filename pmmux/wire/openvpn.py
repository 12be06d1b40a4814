"""
OpenVPN: the hard reset that a client begins with, in each of its wrappings.

A TCP stream puts two octets of length before each packet; a UDP datagram is the packet itself.

@see: U{https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html}
"""

from __future__ import annotations

from attrs import frozen

from pmmux.wire.reading import Incomplete

PLAIN = "plain"
TLS_AUTH = "tls-auth"
TLS_CRYPT = "tls-crypt"
TLS_CRYPT_V2 = "tls-crypt-v2"

# The operation in the high five bits, key 0 in the low three.
_RESET_CLIENT_V1 = 1 << 3
_RESET_CLIENT_V2 = 7 << 3
_RESET_CLIENT_V3 = 10 << 3
_VERSIONS = {_RESET_CLIENT_V1: 1, _RESET_CLIENT_V2: 2, _RESET_CLIENT_V3: 3}

_LENGTH_OCTETS = 2
_SESSION = slice(1, 9)
_WRAP_AT = 9
# No acknowledgements, and the number of the first packet.
_FIRST_OF_ALL = b"\x00" + bytes(4)
_PLAIN_OCTETS = _WRAP_AT + len(_FIRST_OF_ALL)
# A packet number and a time, against replays.
_REPLAY_OCTETS = 8
_HMAC_OCTETS = (16, 20, 28, 32, 48, 64)
_TLS_AUTH_OCTETS = {_PLAIN_OCTETS + _REPLAY_OCTETS + size: size for size in _HMAC_OCTETS}
_TAG_OCTETS = 32
# The same length as tls-auth with SHA-256: where the packet number stands tells them apart.
_TLS_CRYPT_OCTETS = _PLAIN_OCTETS + _REPLAY_OCTETS + _TAG_OCTETS
_SHORT_OCTETS = frozenset({_PLAIN_OCTETS, _TLS_CRYPT_OCTETS, *_TLS_AUTH_OCTETS})
# A wrapped key: a tag, 256 octets of keys, metadata, and its own length in two octets.
_SMALLEST_KEY_OCTETS = _TAG_OCTETS + 256 + 2
_LARGEST_KEY_OCTETS = 1024
_LONG_OCTETS = range(_TLS_CRYPT_OCTETS + _SMALLEST_KEY_OCTETS, _TLS_CRYPT_OCTETS + _LARGEST_KEY_OCTETS + 1)
# The number of a client's first packet is small; 0x0f above it says that it can resend its key.
_NUMBER_BEGINNINGS = (b"\x00\x00", b"\x0f\x00")
# What a DNS query has in the middle of these random octets: one question, no answers.
_DNS_COUNTS = b"\x00\x01\x00\x00\x00"
_DNS_COUNTS_AT = slice(4, 9)


@frozen(slots=True)
class Reset:
    """
    A client's first packet.

    @ivar mode: how it is wrapped: one of the names above.
    @ivar version: of the reset: 1, 2 or 3.
    """

    mode: str
    version: int


def read_stream_reset(octets: bytes) -> Reset | Incomplete | None:
    """Read the reset at the beginning of a TCP stream, which has to be there whole."""
    if len(octets) < _LENGTH_OCTETS:
        # A reset is short: the high octet alone tells much.
        return Incomplete(len(octets) + 1) if not octets or octets[0] <= _LONG_OCTETS[-1] >> 8 else None
    length = int.from_bytes(octets[:_LENGTH_OCTETS], "big")
    packet = octets[_LENGTH_OCTETS : _LENGTH_OCTETS + length]
    if not _may_be(packet, length):
        return None
    # What lies between these places is random.
    for telling in (1, _WRAP_AT, length):
        if len(packet) < telling:
            return Incomplete(_LENGTH_OCTETS + telling)
    return read_reset(packet)


def read_reset(packet: bytes) -> Reset | None:
    """Read one whole packet: a datagram, or what a length announced."""
    if not packet or not _may_be(packet, len(packet)):
        return None
    mode = _tell_mode(packet)
    return None if mode is None else Reset(mode, _VERSIONS[packet[0]])


def _may_be(packet: bytes, length: int) -> bool:
    """Whether a packet of C{length} octets that begins so may be a reset."""
    if not packet:
        return length in _SHORT_OCTETS or length in _LONG_OCTETS
    if packet[0] not in _VERSIONS:
        return False
    if length not in (_LONG_OCTETS if packet[0] == _RESET_CLIENT_V3 else _SHORT_OCTETS):
        return False
    if len(packet) < _WRAP_AT:
        return True
    return any(packet[_SESSION]) and packet[_DNS_COUNTS_AT] != _DNS_COUNTS


def _tell_mode(packet: bytes) -> str | None:
    """The wrapping of a whole packet of a possible length."""
    length = len(packet)
    if packet[0] == _RESET_CLIENT_V3:
        key_octets = int.from_bytes(packet[-2:], "big")
        fits = key_octets == length - _TLS_CRYPT_OCTETS and _is_replay_guard(packet, _WRAP_AT)
        return TLS_CRYPT_V2 if fits else None
    if length == _TLS_CRYPT_OCTETS and _is_replay_guard(packet, _WRAP_AT):
        return TLS_CRYPT
    if not packet.endswith(_FIRST_OF_ALL):
        return None
    if length == _PLAIN_OCTETS:
        return PLAIN
    hmac_octets = _TLS_AUTH_OCTETS.get(length)
    if hmac_octets is None or not _is_replay_guard(packet, _WRAP_AT + hmac_octets):
        return None
    return TLS_AUTH


def _is_replay_guard(packet: bytes, at: int) -> bool:
    """Whether a small packet number and a time stand at C{at}."""
    guard = packet[at : at + _REPLAY_OCTETS]
    return guard[:2] in _NUMBER_BEGINNINGS and any(guard[2:4]) and any(guard[4:])
