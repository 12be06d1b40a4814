"""
PostgreSQL: C{postgresql.request} is C{startup}, C{ssl}, C{gss} or C{cancel}.

A startup tells C{postgresql.user}, C{postgresql.database} (the user where it is absent, as the
server takes it) and C{postgresql.version}, such as C{3.0}.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.postgresql import STARTUP, read_request
from pmmux.wire.reading import Incomplete


def inspect(octets: bytes) -> Verdict:
    """Match a whole first packet."""
    request = read_request(octets)
    if request is None:
        return NO_MATCH
    if isinstance(request, Incomplete):
        return need(request.octets_needed)
    properties = {"postgresql.request": request.kind}
    if request.kind == STARTUP:
        user = request.parameters[b"user"]
        properties["postgresql.version"] = request.version
        properties["postgresql.user"] = read_text(user)
        properties["postgresql.database"] = read_text(request.parameters.get(b"database") or user)
    return match(properties)


probe = Probe(name="postgresql", transport="tcp", provides=("postgresql.",), inspect=inspect)
