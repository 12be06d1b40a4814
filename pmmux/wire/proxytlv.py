"""
What a PROXY protocol version 2 header tells besides addresses: type, length, value.

@see: U{https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt}, section 2.2; RFC 3309 (CRC32c)
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from attrs import frozen

TYPE_ALPN = 0x01
TYPE_AUTHORITY = 0x02
TYPE_CRC32C = 0x03
TYPE_NOOP = 0x04
TYPE_UNIQUE_ID = 0x05
TYPE_SSL = 0x20
TYPE_NETNS = 0x30
SSL_TYPE_VERSION = 0x21
SSL_TYPE_COMMON_NAME = 0x22
SSL_TYPE_CIPHER = 0x23
SSL_TYPE_SIGNATURE_ALGORITHM = 0x24
SSL_TYPE_KEY_ALGORITHM = 0x25

CLIENT_SSL = 0x01
CLIENT_CERTIFICATE_ON_CONNECTION = 0x02
CLIENT_CERTIFICATE_IN_SESSION = 0x04

UNIQUE_ID_LIMIT_OCTETS = 128
CRC32C_OCTETS = 4

TLV_HEADER = Struct(">BH")
_SSL_HEADER = Struct(">BI")
_OCTET = 0xFF
_OCTET_BITS = 8
_CASTAGNOLI = 0x82F63B78
_ALL_ONES = 0xFFFFFFFF


@frozen(slots=True)
class SSLFacts:
    """
    How the client is secured towards the sender.

    @ivar flags: of C{CLIENT_*}.
    @ivar verify: 0 where the client presented a certificate and it was verified.
    @ivar version: such as C{"TLSv1.3"}; this and the following are empty where they are not told.
    @ivar common_name: of the client's certificate.
    @ivar signature_algorithm: of the sender's certificate: C{"SHA256"}.
    @ivar key_algorithm: of the sender's certificate: C{"RSA2048"}.
    """

    flags: int = CLIENT_SSL
    verify: int = 1
    version: str = ""
    common_name: str = ""
    cipher: str = ""
    signature_algorithm: str = ""
    key_algorithm: str = ""


@frozen(slots=True)
class Facts:
    """
    What the sender tells besides addresses; C{None} where it does not.

    @ivar alpn: the application protocol, as negotiated.
    @ivar authority: the host name that the client asked for: the TLS server name.
    @ivar unique_id: opaque, of at most 128 octets.
    @ivar netns: the name of the network namespace.
    @ivar others: types and values that are not known here, in order.
    """

    alpn: bytes | None = None
    authority: str | None = None
    unique_id: bytes | None = None
    ssl: SSLFacts | None = None
    netns: str | None = None
    others: tuple[tuple[int, bytes], ...] = ()


NO_FACTS = Facts()


def _make_table() -> tuple[int, ...]:
    table = []
    for octet in range(_OCTET + 1):
        value = octet
        for _ in range(_OCTET_BITS):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _make_table()


def crc32c(*parts: bytes) -> int:
    """The CRC32c of C{parts}, one after the other."""
    table = _TABLE
    value = _ALL_ONES
    for part in parts:
        for octet in part:
            value = table[(value ^ octet) & _OCTET] ^ value >> _OCTET_BITS
    return value ^ _ALL_ONES


def read_facts(header: bytes, start: int) -> Facts | str:
    """
    Read the TLVs of C{header}.

    @param header: the whole header, which a checksum covers.
    @param start: where the TLVs begin; they go on to the end.
    @return: in words what is wrong where something is.
    """
    found: dict[int, bytes] = {}
    others: list[tuple[int, bytes]] = []
    at = start
    for kind, value in _split(header, start):
        at += TLV_HEADER.size + len(value)
        if kind == TYPE_NOOP:
            continue
        if kind not in _KNOWN:
            others.append((kind, value))
        elif kind in found:
            return f"TLV 0x{kind:02x} is there twice"
        elif kind == TYPE_CRC32C and (fault := _check(header, at, value)):
            return fault
        found[kind] = value
    if at != len(header):
        return "a TLV ends past the header"
    unique_id = found.get(TYPE_UNIQUE_ID)
    if unique_id is not None and len(unique_id) > UNIQUE_ID_LIMIT_OCTETS:
        return "a unique id longer than 128 octets"
    ssl = found.get(TYPE_SSL)
    try:
        return Facts(
            found.get(TYPE_ALPN),
            _text(found.get(TYPE_AUTHORITY)),
            unique_id,
            None if ssl is None else _read_ssl(ssl),
            _text(found.get(TYPE_NETNS)),
            tuple(others),
        )
    except ValueError as error:
        return str(error)


_KNOWN = frozenset({TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_UNIQUE_ID, TYPE_SSL, TYPE_NETNS})


def _split(octets: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Types and values, as far as they are whole."""
    end = len(octets)
    while at + TLV_HEADER.size <= end:
        kind, length = TLV_HEADER.unpack_from(octets, at)
        at += TLV_HEADER.size + length
        if at > end:
            return
        yield kind, octets[at - length : at]


def _check(header: bytes, end: int, value: bytes) -> str:
    """Section 2.2.3: computed with the checksum's own octets as zero."""
    if len(value) != CRC32C_OCTETS:
        return "a CRC32c of another length than 4 octets"
    computed = crc32c(header[: end - CRC32C_OCTETS], bytes(CRC32C_OCTETS), header[end:])
    return "" if computed == int.from_bytes(value, "big") else "the CRC32c is wrong"


def _read_ssl(value: bytes) -> SSLFacts:
    if len(value) < _SSL_HEADER.size:
        raise ValueError("an SSL TLV that ends inside its flags")
    flags, verify = _SSL_HEADER.unpack_from(value)
    found: dict[int, str] = {}
    at = _SSL_HEADER.size
    for kind, octets in _split(value, at):
        at += TLV_HEADER.size + len(octets)
        if kind in _SSL_TEXTS:
            found[kind] = _text(octets) or ""
    if at != len(value):
        raise ValueError("an SSL TLV whose own TLVs overrun it")
    return SSLFacts(flags, verify, *(found.get(kind, "") for kind in _SSL_TEXTS))


# In the order of the fields of SSLFacts.
_SSL_TEXTS = (
    SSL_TYPE_VERSION,
    SSL_TYPE_COMMON_NAME,
    SSL_TYPE_CIPHER,
    SSL_TYPE_SIGNATURE_ALGORITHM,
    SSL_TYPE_KEY_ALGORITHM,
)


def _text(octets: bytes | None) -> str | None:
    if octets is None:
        return None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("text in a TLV that is not UTF-8") from None
    if not text.isprintable():
        raise ValueError("text in a TLV with control characters")
    return text


def write_facts(facts: Facts) -> bytes:
    """The TLVs that tell C{facts}."""
    parts = []
    if facts.alpn is not None:
        parts.append(write_tlv(TYPE_ALPN, facts.alpn))
    if facts.authority is not None:
        parts.append(write_tlv(TYPE_AUTHORITY, facts.authority.encode("utf-8")))
    if facts.unique_id is not None:
        parts.append(write_tlv(TYPE_UNIQUE_ID, facts.unique_id[:UNIQUE_ID_LIMIT_OCTETS]))
    if facts.ssl is not None:
        parts.append(write_tlv(TYPE_SSL, _write_ssl(facts.ssl)))
    if facts.netns is not None:
        parts.append(write_tlv(TYPE_NETNS, facts.netns.encode("utf-8")))
    parts.extend(write_tlv(kind, value) for kind, value in facts.others)
    return b"".join(parts)


def _write_ssl(ssl: SSLFacts) -> bytes:
    texts = (ssl.version, ssl.common_name, ssl.cipher, ssl.signature_algorithm, ssl.key_algorithm)
    return _SSL_HEADER.pack(ssl.flags, ssl.verify) + b"".join(
        write_tlv(kind, text.encode("utf-8")) for kind, text in zip(_SSL_TEXTS, texts, strict=True) if text
    )


def write_tlv(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return TLV_HEADER.pack(kind, len(value)) + value
