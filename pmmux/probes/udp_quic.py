"""
QUIC: a client's Initial packets, opened for the ClientHello in them.

A ClientHello may take several datagrams, in any order: L{inspect_several} judges them together.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

from pmmux.model import NO_MATCH, Verdict, malformed, match
from pmmux.probes.hello import HELLO_PROPERTIES, HelloProperties
from pmmux.probes.probe import Probe
from pmmux.wire.ja4 import TRANSPORT_QUIC
from pmmux.wire.quic import (
    INITIAL_DATAGRAM_OCTETS,
    LONG_FORM,
    InitialReader,
    State,
    read_foreign_version,
    version_name,
)
from pmmux.wire.tls import Malformed, parse_client_hello_body

VERSION = "quic.version"


def inspect(octets: bytes) -> Verdict:
    """
    Judge one datagram.

    A match that asks for one octet more is certain of QUIC, and the ClientHello goes on in another
    datagram. Datagrams below 1200 octets do not match, as any server would discard them (RFC 9000
    section 14.1), and neither do short headers, which nothing tells from random octets.
    """
    if len(octets) < INITIAL_DATAGRAM_OCTETS or octets[0] < LONG_FORM:
        return NO_MATCH
    return inspect_several((octets,))


def inspect_several(datagrams: Sequence[bytes]) -> Verdict:
    """
    Judge all datagrams so far of one client, in the order they came.

    @return: as L{inspect} does; C{octets_needed} counts the octets of all of them.
    """
    if not datagrams:
        return NO_MATCH
    reader = InitialReader()
    for datagram in datagrams:
        if reader.feed(datagram) is not State.MORE:
            break
    if reader.state is State.MALFORMED:
        return malformed(reader.fault)
    if reader.state is State.NOT_QUIC:
        version = read_foreign_version(datagrams[0])
        return NO_MATCH if version is None else match({VERSION: version_name(version)})
    known = {VERSION: version_name(reader.version)}
    if reader.state is State.MORE:
        return match(known, sum(map(len, datagrams)) + 1)
    hello = parse_client_hello_body(reader.hello)
    if isinstance(hello, Malformed):
        return malformed(hello.reason)
    return match(layer(known, HelloProperties(hello, TRANSPORT_QUIC)))


def layer(known: Mapping[str, str], hello: HelloProperties) -> Mapping[str, str]:
    """Put C{known} over C{hello} without computing what nobody asks for."""
    return ChainMap(known, hello)  # type: ignore[arg-type]  # nobody writes to it


probe = Probe(
    name="quic",
    transport="udp",
    inspect=inspect,
    provides=(VERSION, *HELLO_PROPERTIES),
    inspect_several=inspect_several,
)
