"""XMPP: the header of a stream; C{xmpp.to} is the domain, C{xmpp.namespace} C{client} or C{server}."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_host
from pmmux.wire.reading import Incomplete
from pmmux.wire.xmpp import STREAM_NAMESPACE, read_stream_header

_NAMESPACES = {b"jabber:client": "client", b"jabber:server": "server"}


def inspect(octets: bytes) -> Verdict:
    """Match a whole header that declares one of XMPP's namespaces."""
    header = read_stream_header(octets)
    if header is None:
        return NO_MATCH
    if isinstance(header, Incomplete):
        return need(header.octets_needed)
    attributes = header.attributes
    namespace = _NAMESPACES.get(attributes.get(b"xmlns", b""))
    if namespace is None and attributes.get(b"xmlns:stream") != STREAM_NAMESPACE:
        return NO_MATCH
    properties = {} if namespace is None else {"xmpp.namespace": namespace}
    if b"to" in attributes:
        properties["xmpp.to"] = read_host(attributes[b"to"])
    return match(properties)


probe = Probe(name="xmpp", transport="tcp", provides=("xmpp.",), inspect=inspect)
