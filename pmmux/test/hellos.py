"""
ClientHellos for tests: built from one default per field, and as real clients sent them.

A hello is put together from the inside out: L{extension} values go into a L{body}, that into a
L{handshake} message, that into L{records}. L{client_hello} does all of it.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Sequence
from struct import pack

LEGACY_VERSION = 0x0303
CIPHER_SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F)
SIGNATURE_ALGORITHMS = (0x0403, 0x0804, 0x0401)
VERSIONS = (0x0304, 0x0303)
GREASE = 0x3A3A
SERVER_NAME = "shop.example.org"
RECORD_LIMIT_OCTETS = 2**14


def sized(octets: bytes, length_octets: int = 2) -> bytes:
    """C{octets} after their own length."""
    return len(octets).to_bytes(length_octets, "big") + octets


def numbers(codepoints: Iterable[int]) -> bytes:
    return b"".join([pack(">H", codepoint) for codepoint in codepoints])


def extension(kind: int, content: bytes = b"") -> bytes:
    return pack(">H", kind) + sized(content)


def server_name(*names: bytes | str, name_type: int = 0) -> bytes:
    """The C{server_name} extension with C{names}; one in real life."""
    encoded = [name.encode() if isinstance(name, str) else name for name in names]
    return extension(0x0000, sized(b"".join([bytes((name_type,)) + sized(name) for name in encoded])))


def alpn(*names: bytes) -> bytes:
    return extension(0x0010, sized(b"".join([sized(name, 1) for name in names])))


def supported_versions(*versions: int) -> bytes:
    return extension(0x002B, sized(numbers(versions), 1))


def signature_algorithms(*algorithms: int) -> bytes:
    return extension(0x000D, sized(numbers(algorithms)))


def encrypted_client_hello() -> bytes:
    """An outer C{encrypted_client_hello}, its payload meaningless."""
    return extension(0xFE0D, bytes(1 + 4 + 1) + sized(bytes(32)) + sized(bytes(144)))


def padding(octets: int) -> bytes:
    return extension(0x0015, bytes(octets))


def default_extensions(name: bytes | str | None = SERVER_NAME) -> list[bytes]:
    """Four extensions that a TLS 1.3 client sends, without the first where C{name} is C{None}."""
    named = [] if name is None else [server_name(name)]
    return [
        *named,
        alpn(b"h2", b"http/1.1"),
        signature_algorithms(*SIGNATURE_ALGORITHMS),
        supported_versions(*VERSIONS),
    ]


def body(
    extensions: Sequence[bytes] | None = None,
    version: int = LEGACY_VERSION,
    random: bytes = bytes(range(32)),
    session_id: bytes = bytes(32),
    cookie: bytes | None = None,
    cipher_suites: bytes = numbers(CIPHER_SUITES),
    compressions: bytes = b"\x00",
    extensions_octets: bytes | None = None,
) -> bytes:
    """
    A ClientHello without its handshake header.

    @param cookie: given for DTLS, which has this field.
    @param extensions_octets: the extensions with their length, where C{extensions} cannot say it.
    """
    if extensions_octets is None:
        extensions_octets = sized(b"".join(default_extensions() if extensions is None else extensions))
    return (
        pack(">H", version)
        + random
        + sized(session_id, 1)
        + (b"" if cookie is None else sized(cookie, 1))
        + sized(cipher_suites)
        + sized(compressions, 1)
        + extensions_octets
    )


def handshake(content: bytes, kind: int = 1) -> bytes:
    """A handshake message: C{content} after its four-octet header."""
    return bytes((kind,)) + sized(content, 3)


def record(fragment: bytes, kind: int = 0x16, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + pack(">H", version) + sized(fragment)


def records(message: bytes, fragment_octets: int = RECORD_LIMIT_OCTETS) -> bytes:
    """C{message} in as many records of up to C{fragment_octets} as it takes."""
    return b"".join(
        [record(message[at : at + fragment_octets]) for at in range(0, len(message), fragment_octets)]
    )


def client_hello(
    name: bytes | str | None = SERVER_NAME,
    extra: Sequence[bytes] = (),
    fragment_octets: int = RECORD_LIMIT_OCTETS,
) -> bytes:
    """
    A whole ClientHello in records.

    @param name: its server name; C{None} for none.
    @param extra: extensions besides the default ones.
    """
    return records(handshake(body([*default_extensions(name), *extra])), fragment_octets)


def client_hello_of(octets: int) -> bytes:
    """A ClientHello of C{octets} without its record headers, padded, with the server name last."""
    name = server_name(SERVER_NAME)
    filled = octets - len(handshake(body([padding(0), name])))
    return records(handshake(body([padding(filled), name])))


#: The fields of the example in JA4's own description, which says what its fingerprint is.
JA4_EXAMPLE_BODY = body(
    cipher_suites=numbers(
        (
            GREASE,
            0x1301,
            0x1302,
            0x1303,
            0xC02B,
            0xC02F,
            0xC02C,
            0xC030,
            0xCCA9,
            0xCCA8,
            0xC013,
            0xC014,
            0x009C,
            0x009D,
            0x002F,
            0x0035,
        )
    ),
    extensions=[
        extension(GREASE),
        extension(0x001B),
        server_name(SERVER_NAME),
        extension(0x0033),
        alpn(b"h2", b"http/1.1"),
        extension(0x4469),
        extension(0x0017),
        extension(0x002D),
        signature_algorithms(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
        extension(0x0005),
        extension(0x0023),
        extension(0x0012),
        supported_versions(GREASE, 0x0304, 0x0303),
        extension(0xFF01),
        extension(0x000B),
        extension(0x000A),
        extension(0x0015),
        extension(0xCACA, b"\x00"),
    ],
)
JA4_EXAMPLE = "t13d1516h2_8daaf6152771_e5627efa2ab1"

#: openssl s_client 3.0 for shop.example.org with ALPN h2 and http/1.1.
OPENSSL_TLS13 = b64decode(
    "FgMBAU8BAAFLAwPKtAj3lrIj6niUiZ9lUHoGg1ncACa3xeFM/9pwQx8q5SACpWxMItFA1ZNN9/2Y8oOHqSdU5++SQlw0maba"
    "UWbAngA+EwITAxMBwCzAMACfzKnMqMyqwCvALwCewCTAKABrwCPAJwBnwArAFAA5wAnAEwAzAJ0AnAA9ADwANQAvAP8BAADE"
    "AAAAFQATAAAQc2hvcC5leGFtcGxlLm9yZwALAAQDAAECAAoAFgAUAB0AFwAeABkAGAEAAQEBAgEDAQQAIwAAABAADgAMAmgy"
    "CGh0dHAvMS4xABYAAAAXAAAADQAqACgEAwUDBgMIBwgICAkICggLCAQIBQgGBAEFAQYBAwMDAQMCBAIFAgYCACsACQgDBAMD"
    "AwIDAQAtAAIBAQAzACYAJAAdACCZXo4pELtqGm+a1NJmYfY1TIbiNS1HRofNMuam+eWAEg=="
)
#: The same, kept to TLS 1.2 and without ALPN.
OPENSSL_TLS12 = b64decode(
    "FgMBANABAADMAwPrjW3UAUp0xxruPRoZbPrcGYCBb6Wi75ICTvC5hdia+wAAOMAswDAAn8ypzKjMqsArwC8AnsAkwCgAa8Aj"
    "wCcAZ8AKwBQAOcAJwBMAMwCdAJwAPQA8ADUALwD/AQAAawAAABUAEwAAEHNob3AuZXhhbXBsZS5vcmcACwAEAwABAgAKAAwA"
    "CgAdABcAHgAZABgAIwAAABYAAAAXAAAADQAqACgEAwUDBgMIBwgICAkICggLCAQIBQgGBAEFAQYBAwMDAQMCBAIFAgYC"
)
#: openssl s_client 3.0 without a server name.
OPENSSL_UNNAMED = b64decode(
    "FgMBASQBAAEgAwPo4zYc4iRT8bnihC5MyFPuBMTlCUtJQ1H6xBmogCiSgSA6DOIREmhNQ/oUDnT7yXSbMRe/GfRGIWuiqqGH"
    "8fLQ2gA+EwITAxMBwCzAMACfzKnMqMyqwCvALwCewCTAKABrwCPAJwBnwArAFAA5wAnAEwAzAJ0AnAA9ADwANQAvAP8BAACZ"
    "AAsABAMAAQIACgAWABQAHQAXAB4AGQAYAQABAQECAQMBBAAjAAAAFgAAABcAAAANACoAKAQDBQMGAwgHCAgICQgKCAsIBAgF"
    "CAYEAQUBBgEDAwMBAwIEAgUCBgIAKwAJCAMEAwMDAgMBAC0AAgEBADMAJgAkAB0AIOZ6X+yYBKdWmmcv/5J15Vbg6Tmj2azp"
    "XWRVlD/Gy482"
)
#: curl 7.88 (OpenSSL 3.0) for https://shop.example.org/, padded to 517 octets.
CURL = b64decode(
    "FgMBAgABAAH8AwNgOCNMkkGNf+JMIjYhTsg0dhGqPn4f+9gsvTDwtOI/HiA4JXFcZ0iQ/SKNkjMgyNR64kiv02UE16TydcWD"
    "kGnwpAA+EwITAxMBwCzAMACfzKnMqMyqwCvALwCewCTAKABrwCPAJwBnwArAFAA5wAnAEwAzAJ0AnAA9ADwANQAvAP8BAAF1"
    "AAAAFQATAAAQc2hvcC5leGFtcGxlLm9yZwALAAQDAAECAAoAFgAUAB0AFwAeABkAGAEAAQEBAgEDAQQAEAAOAAwCaDIIaHR0"
    "cC8xLjEAFgAAABcAAAAxAAAADQAqACgEAwUDBgMIBwgICAkICggLCAQIBQgGBAEFAQYBAwMDAQMCBAIFAgYCACsACQgDBAMD"
    "AwIDAQAtAAIBAQAzACYAJAAdACCSNSRFw/OvDf2FQ2qsR12Be291ivifMVw7FtDTdVanbgAVAK0AAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAA=="
)
