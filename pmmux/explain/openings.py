"""What a client might say first, made for C{pmmuxctl explain}: real where a real client can be had."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Sequence

DEFAULT_HTTP_HOST = "localhost"
DEFAULT_HTTP_METHOD = "GET"
_HTTP_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")


def client_hello(server_name: str | None, protocols: Sequence[str] = ()) -> bytes:
    """
    The ClientHello that OpenSSL sends, in its records.

    @param server_name: C{None} for none.
    @param protocols: the application protocols offered: C{h2}.
    @raises ValueError: the name or a protocol is none that OpenSSL sends.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        if protocols:
            context.set_alpn_protocols(protocols)
        connection = context.wrap_bio(incoming, outgoing, server_hostname=server_name or None)
    except (ssl.SSLError, UnicodeError, ValueError) as error:
        raise ValueError(f"no TLS client would send that: {error}") from None
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def http_request(line: str, host: str | None = None, headers: Sequence[str] = ()) -> bytes:
    """
    A request of HTTP/1.1 without a body.

    @param line: C{GET /x}, C{/x}, or a whole request line.
    @param headers: each C{Name: value}.
    @raises ValueError: something in it would end a line.
    """
    parts = line.split(" ")
    if len(parts) == 1:
        parts.insert(0, DEFAULT_HTTP_METHOD)
    if not _HTTP_VERSION.fullmatch(parts[-1]):
        parts.append("HTTP/1.1")
    lines = [" ".join(parts), f"Host: {DEFAULT_HTTP_HOST if host is None else host}", *headers]
    if any(character in text for text in lines for character in "\r\n"):
        raise ValueError("a line end within a line of the request")
    return "".join(f"{text}\r\n" for text in (*lines, "")).encode("latin-1", "replace")


def from_hexadecimal(text: str) -> bytes:
    """
    Octets from pairs of digits; white space, colons, and C{0x} in front are let pass.

    @raises ValueError: it is something else.
    """
    digits = re.sub(r"[\s:]", "", text.removeprefix("0x"))
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError("not pairs of hexadecimal digits") from None
