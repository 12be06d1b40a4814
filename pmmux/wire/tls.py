"""
The TLS ClientHello: found in TLS records, or parsed by itself as QUIC and DTLS carry it.

Nothing is decrypted and nothing is trusted: every length is checked against what surrounds it.

@see: RFC 8446 sections 4.1.2, 4.2 and 5.1; RFC 5246 section 7.4.1.2; RFC 6066 section 3; RFC 7301
    section 3.1; RFC 8701; RFC 9147 section 5.3; RFC 9849
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, unpack_from

from attrs import define, frozen

RECORD_HANDSHAKE = 0x16
RECORD_HEADER_OCTETS = 5
RECORD_LIMIT_OCTETS = 2**14 + 256
HANDSHAKE_CLIENT_HELLO = 0x01
HANDSHAKE_HEADER_OCTETS = 4
#: The longest ClientHello body that is looked at; the largest seen in the wild is 11,418 octets.
HELLO_LIMIT_OCTETS = 2**16

EXTENSION_SERVER_NAME = 0x0000
EXTENSION_SIGNATURE_ALGORITHMS = 0x000D
EXTENSION_ALPN = 0x0010
EXTENSION_SUPPORTED_VERSIONS = 0x002B
EXTENSION_ENCRYPTED_CLIENT_HELLO = 0xFE0D

_VERSION_MAJOR = 0x03
_VERSION_MINOR_MAXIMUM = 0x04
_VERSION_END = 3
_RECORD_START = bytes((RECORD_HANDSHAKE, _VERSION_MAJOR))
_NAME_TYPE_HOST = 0
_NAME_LIMIT_OCTETS = 253
_SESSION_ID_LIMIT_OCTETS = 32
_VERSION_AND_RANDOM_OCTETS = 2 + 32
_CODEPOINT_OCTETS = 2
_LENGTH_OCTETS = 2
_HELLO_LENGTH_MASK = 0xFFFFFF
_EXTENSION_HEADER_OCTETS = 4
# The same clients and the same names come again and again: what an extension says is kept, where it is no
# longer than this.
_KEPT_OCTETS = 300
_KEPT_NAMES = 1024
_KEPT_LISTS = 128
_DTLS_MAJOR = 0xFE

# type, major, minor and length of the record; type and length of the handshake message in one.
_OPENING = Struct(">BBBHI")
_EXTENSION = Struct(">HH")
_TWO_OCTETS = Struct(">H")

_VERSION_NAMES = {
    0x0300: "ssl3",
    0x0301: "1.0",
    0x0302: "1.1",
    0x0303: "1.2",
    0x0304: "1.3",
    0xFEFF: "1.0",
    0xFEFD: "1.2",
    0xFEFC: "1.3",
}
#: The codepoints that RFC 8701 section 2 reserves, which mean nothing.
GREASE = frozenset(nibble << 12 | nibble << 4 | 0x0A0A for nibble in range(16))
_GREASE_NAMES = frozenset(_TWO_OCTETS.pack(codepoint) for codepoint in GREASE)


# Not frozen: made for each TLS connection, and that would cost three times as much.
@define(slots=True)
class ClientHello:
    """
    What a ClientHello offers.

    @ivar legacy_version: the version field of the message itself.
    @ivar versions: what C{supported_versions} lists, in its order and without GREASE; without that
        extension C{legacy_version} alone.
    @ivar server_name: lower case, without the trailing dot; C{None} where none was sent.
    @ivar alpn: the protocols offered, in order and without GREASE.
    @ivar extension_types: every extension's type, in order, GREASE included.
    @ivar cipher_suite_octets: the list as sent, two octets each.
    @ivar signature_algorithm_octets: the list as sent; empty where the extension is absent.
    """

    legacy_version: int
    versions: tuple[int, ...]
    server_name: str | None
    alpn: tuple[bytes, ...]
    extension_types: tuple[int, ...]
    cipher_suite_octets: bytes
    signature_algorithm_octets: bytes

    @property
    def has_ech(self) -> bool:
        """Whether C{encrypted_client_hello} is there, so that the server name is the outer one."""
        return EXTENSION_ENCRYPTED_CLIENT_HELLO in self.extension_types


@frozen(slots=True)
class Malformed:
    """Certainly TLS, and broken: C{reason} in words, without anything the client wrote."""

    reason: str


@frozen(slots=True)
class Incomplete:
    """
    The beginning of a ClientHello, or of what may become one.

    @ivar octets_needed: how many octets in all could be enough for a complete one.
    @ivar is_certain: whether the octets can be nothing but TLS.
    """

    octets_needed: int
    is_certain: bool


def read_client_hello(octets: bytes) -> ClientHello | Malformed | Incomplete | None:
    """
    Find the ClientHello at the beginning of a TLS stream, in however many records it comes.

    @param octets: all that has arrived so far, possibly none. What follows the ClientHello is not
        looked at.
    @return: C{None} where this is not TLS: also for the SSLv2-compatible hello, which RFC 8446
        appendix D.5 forbids, and for a stream that begins with another handshake message.
    """
    if len(octets) > RECORD_HEADER_OCTETS + HANDSHAKE_HEADER_OCTETS:
        kind, major, minor, record_octets, message = _OPENING.unpack_from(octets)
        hello_octets = message & _HELLO_LENGTH_MASK
        end = RECORD_HEADER_OCTETS + HANDSHAKE_HEADER_OCTETS + hello_octets
        if (
            kind == RECORD_HANDSHAKE
            and major == _VERSION_MAJOR
            and minor <= _VERSION_MINOR_MAXIMUM
            and message >> 24 == HANDSHAKE_CLIENT_HELLO
            and hello_octets + HANDSHAKE_HEADER_OCTETS <= record_octets <= RECORD_LIMIT_OCTETS
            and end <= len(octets)
        ):
            return parse_client_hello_body(octets, RECORD_HEADER_OCTETS + HANDSHAKE_HEADER_OCTETS, end)
    return _reassemble(octets)


def _reassemble(octets: bytes) -> ClientHello | Malformed | Incomplete | None:
    """Everything but the plain case of L{read_client_hello}: incomplete, in pieces, or wrong."""
    total = len(octets)
    if not _may_begin_record(octets[:RECORD_HEADER_OCTETS]):
        return None
    if total < RECORD_HEADER_OCTETS:
        return Incomplete(total + 1, False)
    # A length that is wrong is so whatever follows it.
    if _is_record_length(octets[3] << 8 | octets[4]):
        if total == RECORD_HEADER_OCTETS:
            return Incomplete(total + 1, False)
        if octets[RECORD_HEADER_OCTETS] != HANDSHAKE_CLIENT_HELLO:
            return None
    message = bytearray()
    wanted = HANDSHAKE_HEADER_OCTETS
    at = 0
    while True:
        header = octets[at : at + RECORD_HEADER_OCTETS]
        if not _may_begin_record(header):
            return Malformed("another record in the middle of the ClientHello")
        at += RECORD_HEADER_OCTETS
        if at > total:
            return Incomplete(at + wanted - len(message), True)
        record_octets = header[3] << 8 | header[4]
        if not _is_record_length(record_octets):
            return Malformed("a TLS record of impossible length")
        message += octets[at : at + record_octets]
        at += record_octets
        if wanted == HANDSHAKE_HEADER_OCTETS <= len(message):
            hello_octets = int.from_bytes(message[1:HANDSHAKE_HEADER_OCTETS], "big")
            if hello_octets > HELLO_LIMIT_OCTETS:
                return Malformed("a ClientHello longer than 65,536 octets")
            wanted += hello_octets
        missing = wanted - len(message)
        if missing <= 0:
            return parse_client_hello_body(bytes(message), HANDSHAKE_HEADER_OCTETS, wanted)
        if at > total:
            # Not one octet more than the record's end, where the next header might be wrong: with
            # records of one octet each that would mean reassembling all of them again at each.
            another = RECORD_HEADER_OCTETS if missing > at - total else 0
            return Incomplete(total + missing + another, True)


def _may_begin_record(header: bytes) -> bool:
    """Whether up to five octets can begin a handshake record of SSL 3.0 to TLS 1.3."""
    if len(header) < _VERSION_END:
        return _RECORD_START.startswith(header)
    return header.startswith(_RECORD_START) and header[_VERSION_END - 1] <= _VERSION_MINOR_MAXIMUM


def _is_record_length(record_octets: int) -> bool:
    """RFC 8446 section 5.1 forbids empty handshake records, RFC 5246 section 6.2.3 longer ones."""
    return 0 < record_octets <= RECORD_LIMIT_OCTETS


def parse_client_hello_body(
    octets: bytes, start: int = 0, end: int | None = None, has_cookie: bool = False
) -> ClientHello | Malformed:
    """
    Parse a complete ClientHello without its four-octet (in DTLS, twelve-octet) handshake header.

    @param octets: holds the body between C{start} and C{end}, which lies within C{octets}.
    @param has_cookie: whether the body has the C{cookie} field of DTLS (RFC 9147 section 5.3).
    """
    if end is None:
        end = len(octets)
    at = start + _VERSION_AND_RANDOM_OCTETS
    if at >= end:
        return Malformed("the ClientHello ends inside its version and random")
    session_id_octets = octets[at]
    if session_id_octets > _SESSION_ID_LIMIT_OCTETS:
        return Malformed("a session id longer than 32 octets")
    at += 1 + session_id_octets
    if has_cookie:
        if at >= end:
            return Malformed("the ClientHello ends before its cookie")
        at += 1 + octets[at]
    if at + _LENGTH_OCTETS > end:
        return Malformed("the ClientHello ends before its cipher suites")
    suites_octets = octets[at] << 8 | octets[at + 1]
    at += _LENGTH_OCTETS
    suites_end = at + suites_octets
    if not suites_octets or suites_octets % _CODEPOINT_OCTETS:
        return Malformed("a list of cipher suites of zero or odd length")
    if suites_end >= end:
        return Malformed("the cipher suites overrun the ClientHello")
    suites = octets[at:suites_end]
    compressions = octets[suites_end]
    if not compressions:
        return Malformed("an empty list of compression methods")
    at = suites_end + 1 + compressions
    if at > end:
        return Malformed("the compression methods overrun the ClientHello")
    version = octets[start] << 8 | octets[start + 1]
    # Before TLS 1.3 a ClientHello may end here (RFC 5246 section 7.4.1.2).
    if at == end:
        return ClientHello(version, (version,), None, (), (), suites, b"")
    if at + _LENGTH_OCTETS > end or octets[at] << 8 | octets[at + 1] != end - at - _LENGTH_OCTETS:
        return Malformed("the extensions' length does not agree with the ClientHello's")
    return _parse_extensions(octets, at + _LENGTH_OCTETS, end, version, suites)


def _parse_extensions(
    octets: bytes, at: int, end: int, version: int, suites: bytes
) -> ClientHello | Malformed:
    # Where each extension begins.
    found: dict[int, int] = {}
    count = 0
    last_header = end - _EXTENSION_HEADER_OCTETS
    read_header = _EXTENSION.unpack_from
    while at <= last_header:
        kind, length = read_header(octets, at)
        found[kind] = at
        at += length + _EXTENSION_HEADER_OCTETS
        count += 1
    if at != end:
        return Malformed("an extension overruns the ClientHello")
    if count != len(found):
        # RFC 8446 section 4.2; which of the two an upstream would believe cannot be known.
        return Malformed("an extension sent twice")
    server_name = None
    if EXTENSION_SERVER_NAME in found:
        content = _content(octets, found[EXTENSION_SERVER_NAME])
        read_name = _keep_name(content) if len(content) <= _KEPT_OCTETS else _read_server_name(content)
        if isinstance(read_name, Malformed):
            return read_name
        server_name = read_name
    alpn: tuple[bytes, ...] = ()
    if EXTENSION_ALPN in found:
        content = _content(octets, found[EXTENSION_ALPN])
        read_alpn = _keep_alpn(content) if len(content) <= _KEPT_OCTETS else _read_alpn(content)
        if isinstance(read_alpn, Malformed):
            return read_alpn
        alpn = read_alpn
    versions: tuple[int, ...] = (version,)
    if EXTENSION_SUPPORTED_VERSIONS in found:
        content = _content(octets, found[EXTENSION_SUPPORTED_VERSIONS])
        is_kept = len(content) <= _KEPT_OCTETS
        read_versions = _keep_versions(content, version) if is_kept else _read_versions(content, version)
        if isinstance(read_versions, Malformed):
            return read_versions
        versions = read_versions
    algorithms = b""
    if EXTENSION_SIGNATURE_ALGORITHMS in found:
        read_algorithms = _read_signature_algorithms(_content(octets, found[EXTENSION_SIGNATURE_ALGORITHMS]))
        if isinstance(read_algorithms, Malformed):
            return read_algorithms
        algorithms = read_algorithms
    return ClientHello(version, versions, server_name, alpn, tuple(found), suites, algorithms)


def _content(octets: bytes, at: int) -> bytes:
    start = at + _EXTENSION_HEADER_OCTETS
    return octets[start : start + (octets[at + 2] << 8 | octets[at + 3])]


def _read_server_name(content: bytes) -> str | Malformed | None:
    """RFC 6066 section 3; every name type begins with a two-octet length, known or not."""
    end = len(content)
    if end < _LENGTH_OCTETS or content[0] << 8 | content[1] != end - _LENGTH_OCTETS:
        return Malformed("the server name list's length does not agree with its extension's")
    at = _LENGTH_OCTETS
    if at == end:
        return Malformed("an empty server name list")
    name: bytes | None = None
    while at < end:
        start = at + 1 + _LENGTH_OCTETS
        if start > end:
            return Malformed("the server name list ends inside an entry")
        stop = start + (content[at + 1] << 8 | content[at + 2])
        if stop > end:
            return Malformed("a server name overruns its list")
        if content[at] == _NAME_TYPE_HOST:
            if name is not None:
                return Malformed("several server names")
            name = content[start:stop]
        at = stop
    return None if name is None else _normalise_name(name)


def _normalise_name(octets: bytes) -> str | Malformed:
    """
    Also takes what RFC 6066 forbids and clients send: address literals and the trailing dot.
    """
    if not octets.isascii():
        return Malformed("a server name with octets outside ASCII")
    name = str(octets, "ascii").lower()
    if not name.isprintable() or " " in name:
        return Malformed("a server name with control octets or spaces")
    name = name.removesuffix(".")
    if len(name) > _NAME_LIMIT_OCTETS:
        return Malformed("a server name longer than 253 octets")
    if not name:
        return Malformed("an empty server name")
    if ".." in name or name[0] == "." or name[-1] == ".":
        return Malformed("a server name with an empty label")
    return name


def _read_alpn(content: bytes) -> tuple[bytes, ...] | Malformed:
    """RFC 7301 section 3.1."""
    end = len(content)
    if end < _LENGTH_OCTETS or content[0] << 8 | content[1] != end - _LENGTH_OCTETS:
        return Malformed("the ALPN list's length does not agree with its extension's")
    at = _LENGTH_OCTETS
    if at == end:
        return Malformed("an empty ALPN list")
    names: list[bytes] = []
    while at < end:
        stop = at + 1 + content[at]
        if stop > end:
            return Malformed("an ALPN name overruns its list")
        name = content[at + 1 : stop]
        if not name:
            return Malformed("an empty ALPN name")
        if name not in _GREASE_NAMES:
            names.append(name)
        at = stop
    return tuple(names)


def _read_versions(content: bytes, legacy_version: int) -> tuple[int, ...] | Malformed:
    """RFC 8446 section 4.2.1."""
    length = len(content) - 1
    if length <= 0 or content[0] != length or length % _CODEPOINT_OCTETS:
        return Malformed("the list of supported versions is empty or of a wrong length")
    versions = unpack_from(f">{length // _CODEPOINT_OCTETS}H", content, 1)
    if not GREASE.isdisjoint(versions):
        versions = tuple(version for version in versions if version not in GREASE)
    return versions or (legacy_version,)


def _read_signature_algorithms(content: bytes) -> bytes | Malformed:
    """RFC 8446 section 4.2.3."""
    length = len(content) - _LENGTH_OCTETS
    if length <= 0 or content[0] << 8 | content[1] != length or length % _CODEPOINT_OCTETS:
        return Malformed("the list of signature algorithms is empty or of a wrong length")
    return content[_LENGTH_OCTETS:]


_keep_name = lru_cache(_KEPT_NAMES)(_read_server_name)
_keep_alpn = lru_cache(_KEPT_LISTS)(_read_alpn)
_keep_versions = lru_cache(_KEPT_LISTS)(_read_versions)


def version_name(version: int) -> str:
    """C{"1.3"} for 0x0304, and for the DTLS number alike; hexadecimal where it is not known."""
    return _VERSION_NAMES.get(version) or f"0x{version:04x}"


def highest_version(hello: ClientHello) -> int:
    """The newest version that C{hello} offers; of unknown ones only where it knows no other."""
    known = [version for version in hello.versions if version in _VERSION_NAMES] or hello.versions
    # DTLS counts downwards (RFC 9147 section 5.3).
    return min(known) if known[0] >> 8 == _DTLS_MAJOR else max(known)
