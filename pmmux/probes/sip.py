"""
SIP: the first line of a request, with C{sip.method} and C{sip.uri-host}.

@see: RFC 3261 section 7.1
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.grammar import Found, Grammar, Group, OneOf, Run
from pmmux.wire.siprequest import URI_HOST

#: The longest URI.
URI_LIMIT_OCTETS = 1024

_METHODS = (
    *(b"INVITE", b"ACK", b"OPTIONS", b"BYE", b"CANCEL", b"REGISTER", b"PRACK", b"UPDATE", b"INFO"),
    *(b"SUBSCRIBE", b"NOTIFY", b"REFER", b"MESSAGE", b"PUBLISH"),
)
_SCHEMES = (b"sip:", b"sips:", b"SIP:", b"SIPS:", b"tel:", b"urn:", b"im:", b"pres:")
_REQUEST_LINE = Grammar(
    OneOf(*_METHODS, name="method"),
    b" ",
    Group(OneOf(*_SCHEMES), Run(rb"!-~", 1, URI_LIMIT_OCTETS), name="uri"),
    b" SIP/2.0",
    OneOf(b"\r\n", b"\n"),
)


def inspect(octets: bytes) -> Verdict:
    """Match a whole request line."""
    line = _REQUEST_LINE.read(octets)
    if line is None:
        return NO_MATCH
    if not isinstance(line, Found):
        return need(line.octets_needed)
    properties = {"sip.method": line.fields["method"].decode("ascii")}
    host = URI_HOST.fullmatch(line.fields["uri"].decode("ascii"))
    if host is not None:
        properties["sip.uri-host"] = read_text(host[1].encode("ascii")).lower().removesuffix(".")
    return match(properties)


probe = Probe(name="sip", transport="tcp", provides=("sip.",), inspect=inspect)
