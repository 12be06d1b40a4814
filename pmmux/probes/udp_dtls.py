"""
DTLS: the records that carry a ClientHello.

A ClientHello may take several datagrams, in any order: L{inspect_several} judges them together.
"""

from __future__ import annotations

from collections.abc import Sequence

from pmmux.model import NO_MATCH, Verdict, malformed, match
from pmmux.probes.hello import HELLO_PROPERTIES, HelloProperties
from pmmux.probes.probe import Probe
from pmmux.probes.udp_quic import layer
from pmmux.wire.dtls import HANDSHAKE, join_fragments, read_fragments
from pmmux.wire.ja4 import TRANSPORT_DTLS
from pmmux.wire.tls import Malformed, highest_version, parse_client_hello_body, version_name

VERSION = "dtls.version"
DATAGRAM_LIMIT = 16


def inspect(octets: bytes) -> Verdict:
    """
    Judge one datagram.

    A match that asks for one octet more is certain of DTLS, and the ClientHello goes on in another
    datagram. Only what opens a handshake matches.
    """
    if not octets or octets[0] != HANDSHAKE:
        return NO_MATCH
    return inspect_several((octets,))


def inspect_several(datagrams: Sequence[bytes]) -> Verdict:
    """
    Judge all datagrams so far of one client, in the order they came.

    The first must open a handshake; later ones that do not add to it are passed over.

    @return: as L{inspect} does; C{octets_needed} counts the octets of all of them.
    """
    fragments = read_fragments(datagrams[0]) if datagrams else ()
    if not fragments:
        return NO_MATCH
    for datagram in datagrams[1:DATAGRAM_LIMIT]:
        fragments += read_fragments(datagram)
    body = join_fragments(fragments)
    if body is None:
        if len(datagrams) >= DATAGRAM_LIMIT:
            return malformed("the ClientHello takes too many datagrams")
        # The version is not known before the extensions are: the record's is there for old servers.
        return match({}, sum(map(len, datagrams)) + 1)
    hello = parse_client_hello_body(body, has_cookie=True)
    if isinstance(hello, Malformed):
        return malformed(hello.reason)
    known = {VERSION: version_name(highest_version(hello))}
    return match(layer(known, HelloProperties(hello, TRANSPORT_DTLS)))


probe = Probe(
    name="dtls",
    transport="udp",
    inspect=inspect,
    provides=(VERSION, *HELLO_PROPERTIES),
    inspect_several=inspect_several,
)
