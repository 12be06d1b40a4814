"""TLS: a ClientHello in TLS records. Its properties are those of L{pmmux.probes.hello}."""

from __future__ import annotations

from types import MappingProxyType

from pmmux.model import Verdict, malformed, match, need
from pmmux.probes.hello import HELLO_PROPERTIES, HelloProperties
from pmmux.probes.probe import Probe
from pmmux.wire.tls import ClientHello, Incomplete, read_client_hello

#: The refusal, which is an answer to C{property[tls] = false}.
NOT_TLS = Verdict(False, 0, MappingProxyType({"tls": "false"}))

TRUNCATED = "truncated TLS ClientHello"


def inspect(octets: bytes) -> Verdict:
    """
    Undecided until the whole ClientHello is there, so that its properties never come piecemeal.

    What begins as TLS and cannot be parsed is a fault: it must not reach a rule that asks for less.
    """
    found = read_client_hello(octets)
    if isinstance(found, ClientHello):
        return match(HelloProperties(found))
    if found is None:
        return NOT_TLS
    if isinstance(found, Incomplete):
        return need(found.octets_needed, TRUNCATED if found.is_certain else None)
    return malformed(found.reason)


probe = Probe(name="tls", transport="tcp", provides=HELLO_PROPERTIES, inspect=inspect)
