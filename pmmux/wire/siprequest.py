"""
SIP requests.

@see: RFC 3261 sections 7 and 25.1
"""

from __future__ import annotations

import re

from attrs import frozen

HEAD_LIMIT_OCTETS = 65536
REQUEST_LINE = re.compile(
    rb"([A-Z][A-Za-z0-9.!%*_+`'~-]{1,31}) ((?:sips?|tel|urn|im|pres):[!-~]{1,1024}) SIP/2\.0\r?\n"
)
HEADER_LINE = re.compile(rb"[!-9;-~]{1,64}[ \t]*:")
VIA_LINE = re.compile(rb"^(?:via|v)[ \t]*:[ \t]*SIP[ \t]*/[ \t]*2\.0[ \t]*/", re.IGNORECASE | re.MULTILINE)
URI_HOST = re.compile(
    r"sips?:(?:[^@]*@)?(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?(?:[;?].*)?", re.IGNORECASE
)


@frozen(slots=True)
class Request:
    """
    A request, as far as its first line tells.

    @ivar host: of the request's URI, in lower case; empty where there is none (C{tel:}).
    """

    method: str
    host: str


def parse_request(datagram: bytes) -> Request | None:
    """
    Read the request line; a header must follow it, and one of the headers must be Via.

    @return: C{None} where it is anything else, a response too.
    """
    found = REQUEST_LINE.match(datagram)
    if found is None:
        return None
    head_end = datagram.find(b"\r\n\r\n", found.end(), HEAD_LIMIT_OCTETS)
    head = datagram[found.end() : head_end if head_end >= 0 else HEAD_LIMIT_OCTETS]
    if not HEADER_LINE.match(head) or not VIA_LINE.search(head):
        return None
    host = URI_HOST.fullmatch(found[2].decode("ascii"))
    return Request(found[1].decode("ascii"), host[1].lower().removesuffix(".") if host else "")
