"""Queries to game servers of the Source engine's kind: C{source-query.kind}."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match
from pmmux.probes.probe import Probe
from pmmux.wire.sourcequery import parse_query


def inspect(octets: bytes) -> Verdict:
    """Judge one datagram."""
    found = parse_query(octets)
    if found is None:
        return NO_MATCH
    return match({"source-query.kind": found})


probe = Probe(name="source-query", transport="udp", provides=("source-query.",), inspect=inspect)
