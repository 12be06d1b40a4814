"""
What a UPnP device may send us at all: bounds on its documents, and on the addresses it names.

The reading itself is done elsewhere; these judge before it.

@see: UPnP Device Architecture 2.0, sections 2 and 3
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit, urlunsplit
from xml.parsers import expat

LARGEST_DOCUMENT_OCTETS = 256 * 1024
DEEPEST_ELEMENT = 64
MOST_ELEMENTS = 20_000
LONGEST_URL = 1024
HTTP_PORT = 80


class _Refused(Exception):
    """Raised through expat to stop it."""


def find_document_fault(octets: bytes) -> str:
    """
    Say why an XML document is not to be read; the reader itself would follow it anywhere.

    @return: empty where it is well-formed, without a DTD, and within the bounds.
    """
    if len(octets) > LARGEST_DOCUMENT_OCTETS:
        return f"larger than {LARGEST_DOCUMENT_OCTETS} octets"
    parser = expat.ParserCreate()
    depth = count = 0

    def refuse(*_: object) -> None:
        raise _Refused("has a DTD")

    def open_element(*_: object) -> None:
        nonlocal depth, count
        depth += 1
        count += 1
        if depth > DEEPEST_ELEMENT:
            raise _Refused(f"nested deeper than {DEEPEST_ELEMENT}")
        if count > MOST_ELEMENTS:
            raise _Refused(f"more than {MOST_ELEMENTS} elements")

    def close_element(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = open_element
    parser.EndElementHandler = close_element
    try:
        parser.Parse(octets, True)
    except _Refused as refusal:
        return str(refusal)
    except (expat.ExpatError, ValueError, LookupError):
        # Without expat's words: they repeat what the device wrote.
        return "not well-formed XML"
    return ""


def pin_url(url: str, host: str, base: str = "") -> str:
    """
    Accept a URL only where it leads to one host, written as that very IPv4 address.

    @param url: as the device wrote it; may be relative to C{base}.
    @param host: the address of the device that answered.
    @return: the absolute URL, always with its port; empty where it is refused.
    """
    if not url or len(url) > LONGEST_URL or not (url.isascii() and url.isprintable()) or " " in url:
        return ""
    try:
        absolute = urljoin(base, url) if base else url
        parts = urlsplit(absolute)
        port = HTTP_PORT if parts.port is None else parts.port
        named = ipaddress.IPv4Address(parts.netloc.partition(":")[0])
        pinned = named == ipaddress.IPv4Address(host)
    except ValueError:
        return ""
    if not pinned or parts.scheme != "http" or not port or parts.netloc not in (host, f"{host}:{port}"):
        return ""
    if not parts.path.startswith("/") or parts.fragment:
        return ""
    return urlunsplit(parts._replace(netloc=f"{host}:{port}"))
