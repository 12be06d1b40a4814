"""
The head of an HTTP/1.x request: request line and header section.

The request line decides whether this is HTTP at all and is read strictly: single spaces, CRLF, no
empty line before it. The lenience that RFC 9112 sections 2.2 and 3 permit is for requests that
follow others on a connection, and would let two readers see two different requests.

@see: RFC 9112 sections 2 to 5; RFC 9110 sections 5.1, 5.5 and 7.2
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

from attrs import frozen

METHOD_LIMIT_OCTETS = 32

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_METHOD_OCTETS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Whatever is neither a control nor a space: many clients send octets outside ASCII as they are.
_TARGET_OCTETS = bytes(octet for octet in range(256) if octet > 0x20 and octet != 0x7F)  # noqa: PLR2004
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_VERSION_START = b"HTTP/1."
_DIGITS = b"0123456789"
_LINE_END = b"\r\n"
_SECTION_END = b"\r\n\r\n"

# No space before the colon, no folded line, no control but the tab (RFC 9112 sections 5.1, 5.2).
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)
_PORT_MAXIMUM = 65_535
_HOST = "host"
_CONNECT = "CONNECT"


@frozen(slots=True)
class Incomplete:
    """A beginning that may still become a request line."""

    octets_needed: int


@frozen(slots=True)
class RequestLine:
    """
    A complete request line.

    Octets outside ASCII in the target are written percent-encoded; nothing is decoded.

    @ivar version: C{"1.1"}.
    @ivar path: without the query, of the absolute form too; C{None} for C{CONNECT}.
    @ivar query: without its question mark; C{None} where there is none.
    @ivar authority: of the absolute form, and of C{CONNECT}; C{None} for the other forms.
    @ivar end: how many octets the line takes with its CRLF.
    """

    method: str
    version: str
    path: str | None
    query: str | None
    authority: str | None
    end: int


@frozen(slots=True)
class HeaderSection:
    """
    A complete header section.

    @ivar fields: name in lower case and value without the spaces around it, in order.
    @ivar is_wellformed: C{False} where any line is not a field; C{fields} is empty then.
    """

    fields: tuple[tuple[str, str], ...]
    is_wellformed: bool = True


def read_request_line(octets: bytes) -> RequestLine | Incomplete | None:
    """
    Read the request line at the beginning of C{octets}.

    @return: C{None} from the first octet on that cannot be one of HTTP/1.x.
    """
    total = len(octets)
    method_end = octets.find(b" ", 0, METHOD_LIMIT_OCTETS + 1)
    method = octets[:METHOD_LIMIT_OCTETS] if method_end < 0 else octets[:method_end]
    if method_end == 0 or method.translate(None, _METHOD_OCTETS):
        return None
    if method_end < 0:
        return None if total > METHOD_LIMIT_OCTETS else Incomplete(total + 1)
    target_start = method_end + 1
    target_end = octets.find(b" ", target_start)
    target = octets[target_start:] if target_end < 0 else octets[target_start:target_end]
    if target_end == target_start or target.translate(None, _TARGET_OCTETS):
        return None
    if target_end < 0:
        return Incomplete(total + 1)
    digit_at = target_end + 1 + len(_VERSION_START)
    ending = octets[target_end + 1 : digit_at + 1 + len(_LINE_END)]
    if not (ending.startswith(_VERSION_START) or _VERSION_START.startswith(ending)):
        return None
    digit = octets[digit_at : digit_at + 1]
    if digit.translate(None, _DIGITS) or not _LINE_END.startswith(octets[digit_at + 1 : digit_at + 3]):
        return None
    end = digit_at + 1 + len(_LINE_END)
    if total < end:
        return Incomplete(total + 1)
    return _make_request_line(method.decode("ascii"), target, f"1.{digit.decode('ascii')}", end)


def _make_request_line(method: str, target: bytes, version: str, end: int) -> RequestLine:
    """Tell the four forms of target apart (RFC 9112 section 3.2)."""
    text = target.decode("ascii") if target.isascii() else quote_from_bytes(target, _VISIBLE)
    if method == _CONNECT:
        return RequestLine(method, version, None, None, text, end)
    authority = None
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute is not None:
        authority, text = absolute.groups()
    path, mark, query = text.partition("?")
    return RequestLine(method, version, path or "/", query if mark else None, authority, end)


def read_header_section(octets: bytes, start: int) -> HeaderSection | None:
    """
    Read the header section that begins at C{start}, right after the request line's CRLF.

    @return: C{None} while its end has not arrived. Nothing can be said before: a second C{Host}
        may follow.
    """
    # From the CRLF of the request line on, so that an empty section is found too.
    first = start - len(_LINE_END)
    end = octets.find(_SECTION_END, first)
    if end < 0:
        return None
    fields = []
    for line in octets[start:end].split(_LINE_END) if end > first else ():
        found = _FIELD.fullmatch(line)
        if found is None:
            return HeaderSection((), False)
        name, value = found.groups()
        fields.append((name.decode("ascii").lower(), value.decode("latin-1").rstrip(" \t")))
    return HeaderSection(tuple(fields))


def read_host(line: RequestLine, section: HeaderSection) -> str | None:
    """
    The host that the request is for: lower case, without port and trailing dot.

    The target's authority, where it has one, goes before C{Host} (RFC 9112 section 3.2.2).

    @return: C{None} where it cannot be told: none was sent, it is not a host, the header section
        is broken, or two C{Host} fields differ (which RFC 9112 section 3.2 makes a bad request).
    """
    hosts = {normalise_host(value) for name, value in section.fields if name == _HOST}
    if not section.is_wellformed or len(hosts) > 1:
        return None
    if line.authority is not None:
        return normalise_host(line.authority)
    return hosts.pop() if hosts else None


def normalise_host(authority: str) -> str | None:
    """
    Take the host out of C{host[:port]}; an IPv6 address keeps its brackets.

    @return: C{None} where C{authority} is not that (RFC 3986 section 3.2), or has user information,
        which RFC 9110 section 4.2.4 tells readers to take for an error.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found[2] or 0) > _PORT_MAXIMUM:
        return None
    return found[1].lower().removesuffix(".") or None
