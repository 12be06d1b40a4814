"""
Syslog over TCP: a message behind its length, or one that ends at the end of its line.

Certain after the priority, with C{syslog.priority}, C{syslog.facility} and C{syslog.severity};
C{syslog.host} and C{syslog.app} follow when the whole message has arrived.

@see: RFC 6587 section 3.4, RFC 5424 section 6, RFC 3164 section 4.1
"""

from __future__ import annotations

import re

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_host, read_text
from pmmux.wire.grammar import Found, Grammar, Group, Maybe, OneOf, Run
from pmmux.wire.syslog import FACILITY_NAMES, RFC3164, RFC5424, SEVERITIES, SEVERITY_NAMES

#: How much of a message is waited for.
LIMIT_OCTETS = 2048

_ABSENT = b"-"
_DIGIT = Run(b"0-9")
# 0 to 191, without leading zeros.
_PRIORITY = OneOf(
    Group(b"1", OneOf(Group(Run(b"0-8"), _DIGIT), Group(b"9", Run(b"01")))),
    Group(Run(b"1-9"), Run(b"0-9", 0, 1)),
    b"0",
    name="priority",
)
_BEGINNING = Grammar(
    Maybe(Group(Run(b"1-9"), Run(b"0-9", 0, 6), name="length"), b" "),
    Group(b"<", _PRIORITY, b">", name="head"),
    Run(rb" -~"),
)
_APP = re.compile(rb"([!-9;-Z\\^-~]{1,48})(?:\[[!-~]{0,32}\])?:")


def inspect(octets: bytes) -> Verdict:
    """Match a priority and the first octet of a text."""
    beginning = _BEGINNING.read(octets)
    if beginning is None:
        return NO_MATCH
    if not isinstance(beginning, Found):
        return need(beginning.octets_needed)
    fields = beginning.fields
    start = beginning.end - 1
    priority = int(fields["priority"])
    properties = {
        "syslog.priority": str(priority),
        "syslog.facility": FACILITY_NAMES[priority // SEVERITIES],
        "syslog.severity": SEVERITY_NAMES[priority % SEVERITIES],
    }
    limit = start + LIMIT_OCTETS
    if "length" in fields:
        end = start - len(fields["head"]) + int(fields["length"])
        if end <= start:
            return NO_MATCH
        limit = end = min(end, limit)
    else:
        end = octets.find(b"\n", start, limit)
        if end < 0:
            end = limit
    if len(octets) < end:
        return match(properties, limit if "length" in fields else len(octets) + 1)
    properties.update(_read_origin(octets[start:end]))
    return match(properties)


def _read_origin(message: bytes) -> dict[str, str]:
    """Host and application, as far as the message tells."""
    found = RFC5424.match(message)
    if found is not None:
        host, app = found[1], found[2]
    else:
        found = RFC3164.match(message)
        if found is None:
            return {}
        host = found[1] or _ABSENT
        tag = _APP.match(message, found.end())
        app = tag[1] if tag else _ABSENT
    origin = {} if host == _ABSENT else {"syslog.host": read_host(host)}
    if app != _ABSENT:
        origin["syslog.app"] = read_text(app)
    return origin


probe = Probe(name="syslog", transport="tcp", provides=("syslog.",), inspect=inspect)
