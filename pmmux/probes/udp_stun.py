"""STUN, and with it TURN and ICE: C{stun.method}, C{stun.class}, C{stun.username}."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.stun import TYPE_TOP_OCTET_BITS, parse_message


def inspect(octets: bytes) -> Verdict:
    """
    Judge one datagram.

    Messages of every class match: among peers, the first to arrive may be an answer.
    """
    if not octets or octets[0] & TYPE_TOP_OCTET_BITS:
        return NO_MATCH
    message = parse_message(octets)
    if message is None:
        return NO_MATCH
    properties = {"stun.method": message.method, "stun.class": message.kind}
    if message.username:
        properties["stun.username"] = message.username
    return match(properties)


probe = Probe(name="stun", transport="udp", provides=("stun.",), inspect=inspect)
