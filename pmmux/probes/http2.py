"""HTTP/2 in clear text, with prior knowledge: the connection preface."""

from __future__ import annotations

from pmmux.model import MATCH, NO_MATCH, Verdict, need
from pmmux.probes.probe import Probe
from pmmux.wire.http2 import PREFACE


def inspect(octets: bytes) -> Verdict:
    """Match at the preface's last octet; the SETTINGS frame after it need not have come."""
    if octets.startswith(PREFACE):
        return MATCH
    if PREFACE.startswith(octets):
        # Any next octet may refuse: waiting for all 24 would hold up a shorter HTTP/1.0 request.
        return need(len(octets) + 1)
    return NO_MATCH


probe = Probe(name="http2", transport="tcp", provides=("http2.",), inspect=inspect)
