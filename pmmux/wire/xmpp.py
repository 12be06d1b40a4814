"""
XMPP: the header of the stream that a client or a server opens.

@see: RFC 6120, section 4.7 and section 11.5
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pmmux.wire.grammar import Found, Grammar, Maybe, Run
from pmmux.wire.reading import Incomplete

STREAM_NAMESPACE = b"http://etherx.jabber.org/streams"
#: The longest header that is waited for.
LIMIT_OCTETS = 4096

_SPACE = rb" \t\r\n"
_OPENING = Grammar(
    # Anything but the marks that begin and end a tag.
    Maybe(b"<?xml", Run(_SPACE), Run(rb" -;=@-~\t\r\n", 0, 200), b"?>", Run(_SPACE, 0, 16)),
    b"<stream:stream",
)
_ATTRIBUTE = re.compile(
    rb"""[ \t\r\n]+([A-Za-z_][\w:.-]*)[ \t\r\n]*=[ \t\r\n]*(?:'([^'<]*)'|"([^"<]*)")""", re.ASCII
)
_ATTRIBUTE_BEGINNING = re.compile(
    rb"""(?:[ \t\r\n]+(?:[A-Za-z_][\w:.-]*[ \t\r\n]*(?:=[ \t\r\n]*(?:'[^'<]*|"[^"<]*)?)?)?)?""", re.ASCII
)
_END = re.compile(rb"[ \t\r\n]*>")


@frozen(slots=True)
class StreamHeader:
    """
    The attributes of a stream.

    @ivar attributes: by their names as written: C{to}, C{xmlns}, C{version}.
    """

    attributes: Mapping[bytes, bytes]


def read_stream_header(octets: bytes) -> StreamHeader | Incomplete | None:
    """Read the header, which has to be there whole."""
    opening = _OPENING.read(octets)
    if not isinstance(opening, Found):
        return opening
    attributes = {}
    at = opening.end
    while (found := _ATTRIBUTE.match(octets, at, LIMIT_OCTETS)) is not None:
        name, single, double = found.groups()
        attributes[name] = double if single is None else single
        at = found.end()
    if _END.match(octets, at, LIMIT_OCTETS):
        return StreamHeader(attributes)
    if len(octets) < LIMIT_OCTETS and _ATTRIBUTE_BEGINNING.fullmatch(octets, at):
        return Incomplete(len(octets) + 1)
    return None
