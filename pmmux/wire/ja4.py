"""
JA4: the published fingerprint of a TLS client, from what its ClientHello offers.

@see: U{https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md}
"""

from __future__ import annotations

from hashlib import sha256
from struct import pack

from pmmux.wire.tls import EXTENSION_ALPN, EXTENSION_SERVER_NAME, GREASE, ClientHello

TRANSPORT_TCP = "t"
TRANSPORT_QUIC = "q"
TRANSPORT_DTLS = "d"

_COUNT_MAXIMUM = 99
_DIGEST_CHARACTERS = 12
_NOTHING = "0" * _DIGEST_CHARACTERS
_NO_ALPN = "00"
_UNKNOWN_VERSION = "00"
_DTLS_MAJOR = 0xFE
_GREASE = frozenset(f"{codepoint:04x}" for codepoint in GREASE)
_NOT_HASHED = frozenset(f"{kind:04x}" for kind in (EXTENSION_SERVER_NAME, EXTENSION_ALPN))
_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}


def compute_ja4(hello: ClientHello, transport: str = TRANSPORT_TCP) -> str:
    """
    Fingerprint C{hello}.

    @param transport: one of the C{TRANSPORT_*} letters above.
    """
    suites = _write(hello.cipher_suite_octets)
    types = hello.extension_types
    extensions = _write(pack(f">{len(types)}H", *types))
    version = _VERSIONS.get(_version(hello), _UNKNOWN_VERSION)
    destination = "d" if EXTENSION_SERVER_NAME in types else "i"
    counts = f"{min(len(suites), _COUNT_MAXIMUM):02}{min(len(extensions), _COUNT_MAXIMUM):02}"
    hashed = ",".join(sorted([kind for kind in extensions if kind not in _NOT_HASHED]))
    algorithms = ",".join(_write(hello.signature_algorithm_octets))
    listed = f"{hashed}_{algorithms}" if hashed and algorithms else hashed
    return (
        f"{transport}{version}{destination}{counts}{_alpn(hello)}"
        f"_{_digest(','.join(sorted(suites)))}_{_digest(listed)}"
    )


def _version(hello: ClientHello) -> int:
    """The highest offered, known or not; DTLS counts downwards."""
    versions = hello.versions
    return min(versions) if versions[0] >> 8 == _DTLS_MAJOR else max(versions)


def _alpn(hello: ClientHello) -> str:
    """First and last character of the first protocol offered, or of its hexadecimal form."""
    if not hello.alpn:
        return _NO_ALPN
    name = hello.alpn[0]
    if (name[:1] + name[-1:]).isalnum():
        return f"{name[0]:c}{name[-1]:c}"
    return f"{name.hex()[0]}{name.hex()[-1]}"


def _write(octets: bytes) -> list[str]:
    """The two-octet numbers in C{octets} as four digits each, without those of GREASE."""
    return [digits for digits in octets.hex(",", 2).split(",") if digits and digits not in _GREASE]


def _digest(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()[:_DIGEST_CHARACTERS] if text else _NOTHING
