"""
HTTP/1.x: a request line, and when it has arrived the header section after it.

C{http.method}, C{http.version}, C{http.path} and C{http.query} come with the request line;
C{http.host} and C{http.header.NAME} (repeated ones joined by a comma and a space) with the end of
the header section. Where a header line is broken, neither of the latter is there; where two C{Host}
fields differ, C{http.host} is not: no rule that asks for a host takes such a request.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.wire.http1 import (
    HeaderSection,
    Incomplete,
    RequestLine,
    read_header_section,
    read_host,
    read_request_line,
)


def inspect(octets: bytes) -> Verdict:
    """Match at the end of the request line; the rest of the head only tells more."""
    line = read_request_line(octets)
    if line is None:
        return NO_MATCH
    if isinstance(line, Incomplete):
        return need(line.octets_needed)
    properties = {"http.method": line.method, "http.version": line.version}
    if line.path is not None:
        properties["http.path"] = line.path
    if line.query is not None:
        properties["http.query"] = line.query
    section = read_header_section(octets, line.end)
    if section is None:
        return match(properties, len(octets) + 1)
    _add_header(properties, line, section)
    return match(properties)


def _add_header(properties: dict[str, str], line: RequestLine, section: HeaderSection) -> None:
    host = read_host(line, section)
    if host is not None:
        properties["http.host"] = host
    values: dict[str, list[str]] = {}
    for name, value in section.fields:
        values.setdefault(name, []).append(value)
    for name, several in values.items():
        properties[f"http.header.{name}"] = ", ".join(several)


probe = Probe(name="http", transport="tcp", provides=("http.",), inspect=inspect)
