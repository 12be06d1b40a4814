"""
RDP: C{rdp.cookie} (mostly the user), C{rdp.routing-token}, and C{rdp.protocols}.

The latter is a list with commas, such as C{tls,hybrid}, or C{rdp} for the old security.
"""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.rdp import PROTOCOL_NAMES, STANDARD_SECURITY, read_connection_request
from pmmux.wire.reading import Incomplete


def inspect(octets: bytes) -> Verdict:
    """Match a whole connection request."""
    request = read_connection_request(octets)
    if request is None:
        return NO_MATCH
    if isinstance(request, Incomplete):
        return need(request.octets_needed)
    properties = {}
    if request.cookie is not None:
        properties["rdp.cookie"] = read_text(request.cookie)
    if request.routing_token is not None:
        properties["rdp.routing-token"] = read_text(request.routing_token)
    if request.protocols is not None:
        names = [name for bit, name in PROTOCOL_NAMES.items() if request.protocols & bit]
        properties["rdp.protocols"] = ",".join(names) or STANDARD_SECURITY
    return match(properties)


probe = Probe(name="rdp", transport="tcp", provides=("rdp.",), inspect=inspect)
