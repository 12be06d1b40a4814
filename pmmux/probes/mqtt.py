"""
MQTT: certain from the flags of the CONNECT packet on, with C{mqtt.version} (C{3.1}, C{3.1.1}, C{5}).

C{mqtt.client-id} (may be empty) and C{mqtt.username} follow when they have arrived.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.mqtt import read_connect
from pmmux.wire.reading import Incomplete


def inspect(octets: bytes) -> Verdict:
    """Match the fixed part of a CONNECT packet."""
    connect = read_connect(octets)
    if connect is None:
        return NO_MATCH
    if isinstance(connect, Incomplete):
        return need(connect.octets_needed)
    properties = {"mqtt.version": connect.version}
    if connect.client_id is not None:
        properties["mqtt.client-id"] = read_text(connect.client_id)
    if connect.username is not None:
        properties["mqtt.username"] = read_text(connect.username)
    return match(properties, connect.octets_needed)


probe = Probe(name="mqtt", transport="tcp", provides=("mqtt.",), inspect=inspect)
