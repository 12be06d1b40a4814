"""
Minecraft (Java edition): C{minecraft.server-address}, C{minecraft.next-state}, C{minecraft.protocol}.

The next state is C{status} (a server list's ping), C{login} or C{transfer}. Pings of clients up to
1.5 tell nothing more than that they are pings.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_host
from pmmux.wire.minecraft import read_handshake
from pmmux.wire.reading import Incomplete


def inspect(octets: bytes) -> Verdict:
    """Match a whole handshake, or the two octets of an old ping."""
    handshake = read_handshake(octets)
    if handshake is None:
        return NO_MATCH
    if isinstance(handshake, Incomplete):
        return need(handshake.octets_needed)
    properties = {}
    if handshake.address is not None:
        properties["minecraft.server-address"] = read_host(handshake.address)
    if handshake.next_state is not None:
        properties["minecraft.next-state"] = handshake.next_state
    if handshake.protocol is not None:
        properties["minecraft.protocol"] = str(handshake.protocol)
    return match(properties, handshake.octets_needed)


probe = Probe(name="minecraft", transport="tcp", provides=("minecraft.",), inspect=inspect)
