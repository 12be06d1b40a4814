"""
DNS: queries, notifications and updates; what is multicast DNS matches C{mdns} instead.

C{dns.name} is in lower case, without the trailing dot, and empty for the root; C{dns.opcode} is there
where it is not a query.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.dns import OPCODE_NAMES, OPCODE_QUERY, parse_message


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram, which must be a message to its last octet."""
    message = parse_message(octets)
    if message is None or message.is_multicast:
        return NO_MATCH
    question = message.questions[0]
    properties = {"dns.name": question.name, "dns.type": question.type_name}
    if message.has_edns:
        properties["dns.edns"] = "true"
    if message.opcode != OPCODE_QUERY:
        properties["dns.opcode"] = OPCODE_NAMES[message.opcode]
    return match(properties)


probe = Probe(name="dns", transport="udp", provides=("dns.",), inspect=inspect)
