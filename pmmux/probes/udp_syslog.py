"""
Syslog: C{syslog.format} (C{rfc5424}, C{rfc3164}, C{other}), C{syslog.priority}, C{syslog.facility},
C{syslog.severity}, and C{syslog.host} and C{syslog.app} where the message names them.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.syslog import parse_message


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram: a priority, and text after it."""
    found = parse_message(octets)
    if found is None:
        return NO_MATCH
    properties = {
        "syslog.format": found.form,
        "syslog.priority": str(found.priority),
        "syslog.facility": found.facility,
        "syslog.severity": found.severity,
    }
    if found.host:
        properties["syslog.host"] = found.host
    if found.app:
        properties["syslog.app"] = found.app
    return match(properties)


probe = Probe(name="syslog", transport="udp", provides=("syslog.",), inspect=inspect)
