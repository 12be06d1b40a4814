"""
DNS over TCP: a query, notification or update behind two octets of length.

The properties are those of UDP: C{dns.name}, C{dns.type}, C{dns.edns} and C{dns.opcode}.

@see: RFC 7766 section 8, RFC 1035 section 4.2.2
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.wire.dns import OPCODE_NAMES, OPCODE_QUERY, parse_message

_LENGTH_OCTETS = 2
_HEADER_OCTETS = 12
# A header, the root's name, a type and a class.
_SMALLEST_OCTETS = _HEADER_OCTETS + 5
# Above any query, padded or signed. Most of what is no DNS is refused at its first octet so, and a
# greeting of SOCKS is: it ends too early for anything else to tell, and would wait for the time-out.
_LARGEST_OCTETS = 0x03FF

# Response, authoritative, truncated: not in a query; a notification is authoritative.
_FLAGS_AT = 4
_FORBIDDEN_HIGH_FLAGS = 0x82
_FORBIDDEN_LOW_FLAGS = 0x4F | 0x80
_OPCODE_SHIFT = 3
_OPCODE_MASK = 0x0F
_QUESTIONS = slice(6, 8)
_ONE_QUESTION = b"\x00\x01"
_FIRST_LABEL_AT = _LENGTH_OCTETS + _HEADER_OCTETS
_LONGEST_LABEL_OCTETS = 63


def inspect(octets: bytes) -> Verdict:
    """Match a whole message."""
    if len(octets) < _LENGTH_OCTETS:
        return need(len(octets) + 1) if not octets or octets[0] <= _LARGEST_OCTETS >> 8 else NO_MATCH
    length = int.from_bytes(octets[:_LENGTH_OCTETS], "big")
    if not _SMALLEST_OCTETS <= length <= _LARGEST_OCTETS or not _may_be_header(octets):
        return NO_MATCH
    if len(octets) <= _FIRST_LABEL_AT:
        return need(max(len(octets), _FLAGS_AT) + 1)
    end = _LENGTH_OCTETS + length
    if len(octets) < end:
        return need(end)
    message = parse_message(octets[_LENGTH_OCTETS:end])
    if message is None or message.is_response or len(message.questions) != 1:
        return NO_MATCH
    question = message.questions[0]
    properties = {"dns.name": question.name, "dns.type": question.type_name}
    if message.has_edns:
        properties["dns.edns"] = "true"
    if message.opcode != OPCODE_QUERY:
        properties["dns.opcode"] = OPCODE_NAMES[message.opcode]
    return match(properties)


def _may_be_header(octets: bytes) -> bool:
    """Whether what there is of the header and of the first label is a query's."""
    if len(octets) > _FLAGS_AT:
        high = octets[_FLAGS_AT]
        if high & _FORBIDDEN_HIGH_FLAGS or high >> _OPCODE_SHIFT & _OPCODE_MASK not in OPCODE_NAMES:
            return False
    if len(octets) > _FLAGS_AT + 1 and octets[_FLAGS_AT + 1] & _FORBIDDEN_LOW_FLAGS:
        return False
    if not _ONE_QUESTION.startswith(octets[_QUESTIONS]):
        return False
    return len(octets) <= _FIRST_LABEL_AT or octets[_FIRST_LABEL_AT] <= _LONGEST_LABEL_OCTETS


probe = Probe(name="dns", transport="tcp", provides=("dns.",), inspect=inspect)
