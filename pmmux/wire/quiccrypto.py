"""
The keys of QUIC's Initial packets, and how such a packet is opened.

@see: RFC 9001 sections 5.2 to 5.4, RFC 9369 section 3.3.
"""

from __future__ import annotations

import functools
import hmac
from typing import Any

from attrs import frozen

SALT_VERSION_1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
SALT_VERSION_2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
HASH = "sha256"
SECRET_OCTETS = 32
KEY_OCTETS = 16
NONCE_OCTETS = 12
SAMPLE_OCTETS = 16
TAG_OCTETS = 16
NUMBER_LIMIT_OCTETS = 4
LONG_HEADER_PROTECTED_BITS = 0x0F
NUMBER_LENGTH_BITS = 0x03


def _label(name: str, octets: int) -> bytes:
    """The HkdfLabel of TLS 1.3 with an empty context, RFC 8446 section 7.1, and HKDF's first counter."""
    text = b"tls13 " + name.encode("ascii")
    return octets.to_bytes(2, "big") + bytes((len(text),)) + text + b"\0" + b"\1"


CLIENT_LABEL = _label("client in", SECRET_OCTETS)
LABELS_VERSION_1 = (
    _label("quic key", KEY_OCTETS),
    _label("quic iv", NONCE_OCTETS),
    _label("quic hp", KEY_OCTETS),
)
LABELS_VERSION_2 = (
    _label("quicv2 key", KEY_OCTETS),
    _label("quicv2 iv", NONCE_OCTETS),
    _label("quicv2 hp", KEY_OCTETS),
)


@functools.cache
def _ciphers() -> tuple[Any, Any, Any, Any, Any]:
    """What C{cryptography} is needed for, loaded with the first packet that needs it."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    return Cipher, AES, ECB, AESGCM, InvalidTag


@frozen(slots=True)
class InitialKeys:
    """
    What protects a client's Initial packets.

    @ivar key: for AEAD_AES_128_GCM.
    @ivar nonce: the IV that the packet number is mixed into.
    @ivar header_key: for header protection.
    """

    key: bytes
    nonce: bytes
    header_key: bytes

    def open(self, packet: bytes, number_start: int, largest_number: int) -> tuple[int, bytes] | None:
        """
        Remove header protection and decrypt.

        @param packet: from its first octet to its last, nothing of what it is coalesced with.
        @param number_start: where the packet number begins.
        @param largest_number: the largest packet number opened so far; -1 for none.
        @return: packet number and payload; C{None} where the packet does not authenticate.
        @see: RFC 9001 sections 5.3 and 5.4
        """
        sample_start = number_start + NUMBER_LIMIT_OCTETS
        sample = packet[sample_start : sample_start + SAMPLE_OCTETS]
        if len(sample) < SAMPLE_OCTETS:
            return None
        cipher, aes, ecb, aes_gcm, invalid_tag = _ciphers()
        mask = cipher(aes(self.header_key), ecb()).encryptor().update(sample)
        first = packet[0] ^ (mask[0] & LONG_HEADER_PROTECTED_BITS)
        number_octets = (first & NUMBER_LENGTH_BITS) + 1
        payload_start = number_start + number_octets
        protected = packet[number_start:payload_start]
        truncated = bytes(octet ^ pad for octet, pad in zip(protected, mask[1:], strict=False))
        number = expand_number(int.from_bytes(truncated, "big"), number_octets, largest_number)
        mixed = int.from_bytes(self.nonce, "big") ^ number
        header = bytes((first,)) + packet[1:number_start] + truncated
        try:
            payload: bytes = aes_gcm(self.key).decrypt(
                mixed.to_bytes(NONCE_OCTETS, "big"), packet[payload_start:], header
            )
        except invalid_tag:
            return None
        return number, payload


def client_initial_keys(destination: bytes, is_version_2: bool) -> InitialKeys:
    """
    Derive the keys from the destination connection ID of the client's first packet.

    @see: RFC 9001 section 5.2
    """
    salt, labels = (SALT_VERSION_2, LABELS_VERSION_2) if is_version_2 else (SALT_VERSION_1, LABELS_VERSION_1)
    # Each output is shorter than a hash, so HKDF-Expand is one HMAC, RFC 5869 section 2.3.
    secret = hmac.digest(hmac.digest(salt, destination, HASH), CLIENT_LABEL, HASH)
    key, nonce, header_key = (hmac.digest(secret, label, HASH) for label in labels)
    return InitialKeys(key[:KEY_OCTETS], nonce[:NONCE_OCTETS], header_key[:KEY_OCTETS])


def expand_number(truncated: int, octets: int, largest: int) -> int:
    """
    Recover a packet number from its last octets.

    @see: RFC 9000 appendix A.3
    """
    expected = largest + 1
    window = 1 << (8 * octets)
    candidate = expected & ~(window - 1) | truncated
    if candidate <= expected - window // 2:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate
