"""
Multicast DNS: ID 0, recursion not desired, and link-local names only (RFC 6762).

A query gives C{mdns.name} and C{mdns.type} of its first question; an announcement C{mdns.name} of its
first record.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.dns import parse_message

IDENTIFIER = b"\0\0"


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, which must be a message to its last octet."""
    if not octets.startswith(IDENTIFIER):
        return NO_MATCH
    message = parse_message(octets)
    if message is None or not message.is_multicast:
        return NO_MATCH
    kind = "announcement" if message.is_response else "query"
    if not message.questions:
        return match({"mdns.kind": kind, "mdns.name": message.names[0]})
    question = message.questions[0]
    return match({"mdns.kind": kind, "mdns.name": question.name, "mdns.type": question.type_name})


probe = Probe(name="mdns", transport="udp", provides=("mdns.",), inspect=inspect)
