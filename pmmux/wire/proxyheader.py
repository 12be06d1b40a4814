"""
The PROXY protocol, versions 1 and 2: who the client is, told by a proxy before the first octets.

@see: U{https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt}
"""

from __future__ import annotations

import ipaddress
import socket

from attrs import frozen

from pmmux.wire.proxytlv import (
    CRC32C_OCTETS,
    NO_FACTS,
    TYPE_CRC32C,
    Facts,
    crc32c,
    read_facts,
    write_facts,
    write_tlv,
)
from pmmux.wire.reading import Incomplete

V1_START = b"PROXY "
V2_START = b"\r\n\r\n\0\r\nQUIT\n"
#: Section 2.1: the longest version 1 header, with its end.
V1_LIMIT_OCTETS = 107
V2_FIXED_OCTETS = 16
V2_LIMIT_OCTETS = V2_FIXED_OCTETS + 0xFFFF

IPV4, IPV6, UNIX, UNSPECIFIED = "ipv4", "ipv6", "unix", ""
STREAM, DATAGRAM = "tcp", "udp"

_V1_END = b"\r\n"
_V1_UNKNOWN = "UNKNOWN"
_V1_FAMILIES = {"TCP4": IPV4, "TCP6": IPV6}
_V1_FIELDS = 6
_SPACE, _DELETE = 0x20, 0x7F
_HIGHEST_PORT = 65535
_PORT_DIGITS = 5

_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_HIGH, _LOW = 0xF0, 0x0F
_VERSION_AT, _FAMILY_AT, _LENGTH_AT = 12, 13, 14
_PORT_OCTETS = 2
_UNIX_PATH_OCTETS = 108
_FAMILIES = {0x00: UNSPECIFIED, 0x10: IPV4, 0x20: IPV6, 0x30: UNIX}
_TRANSPORTS = {1: STREAM, 2: DATAGRAM}
_FAMILY_BITS = {family: bits for bits, family in _FAMILIES.items()}
_TRANSPORT_BITS = {transport: bits for bits, transport in _TRANSPORTS.items()}
_BLOCK_OCTETS = {UNSPECIFIED: 0, IPV4: 12, IPV6: 36, UNIX: 2 * _UNIX_PATH_OCTETS}
_HOST_OCTETS = {IPV4: 4, IPV6: 16}


@frozen(slots=True)
class Endpoint:
    """
    One end of the connection that is told of.

    @ivar host: an IP address, or the path of a unix socket, an abstract one with C{@} in front.
    @ivar port: 0 for a unix socket.
    """

    host: str
    port: int = 0


@frozen(slots=True)
class ProxyHeader:
    """
    What a header says.

    @ivar version: 1 or 2.
    @ivar is_local: whether the sender speaks for itself, so that its own addresses count.
    @ivar family: C{"ipv4"}, C{"ipv6"}, C{"unix"}; empty where no addresses are told.
    @ivar transport: C{"tcp"}, C{"udp"}; empty where no addresses are told.
    @ivar source: the client; C{None} where no addresses are told.
    @ivar destination: where the client has connected to.
    @ivar octets: how long the header is; what follows is the client's.
    """

    version: int
    is_local: bool = False
    family: str = UNSPECIFIED
    transport: str = ""
    source: Endpoint | None = None
    destination: Endpoint | None = None
    facts: Facts = NO_FACTS
    octets: int = 0


@frozen(slots=True)
class Malformed:
    """Certainly a PROXY header, and broken: C{reason} in words, without anything that was sent."""

    reason: str


def is_proxy_header(octets: bytes) -> bool:
    """Whether C{octets} can be nothing but the beginning of a header."""
    return octets.startswith((V1_START, V2_START))


def read_proxy_header(octets: bytes) -> ProxyHeader | Malformed | Incomplete | None:
    """
    Read the header at the beginning of a stream, or of a datagram.

    @param octets: all that has arrived so far, possibly none.
    @return: C{None} where there is no header.
    """
    if octets.startswith(V2_START):
        return _read_v2(octets)
    if octets.startswith(V1_START):
        return _read_v1(octets)
    if V2_START.startswith(octets) or V1_START.startswith(octets):
        return Incomplete(len(octets) + 1)
    return None


def _read_v1(octets: bytes) -> ProxyHeader | Malformed | Incomplete:
    end = octets.find(_V1_END, 0, V1_LIMIT_OCTETS)
    line = octets[: V1_LIMIT_OCTETS if end < 0 else end]
    if end < 0:
        # It may be that only the end's first octet has come.
        line = line.removesuffix(_V1_END[:1])
    if any(octet < _SPACE or octet >= _DELETE for octet in line):
        return Malformed("a version 1 header with an octet that is no text")
    if end < 0:
        if len(octets) >= V1_LIMIT_OCTETS:
            return Malformed("a version 1 header without an end")
        return Incomplete(len(octets) + 1)
    fields = line.decode("ascii").split(" ")
    length = end + len(_V1_END)
    if fields[1] == _V1_UNKNOWN:
        # Section 2.1: what else the line says must be ignored.
        return ProxyHeader(1, octets=length)
    family = _V1_FAMILIES.get(fields[1])
    if family is None or len(fields) != _V1_FIELDS:
        return Malformed("a version 1 header of another form")
    hosts = [_read_host(text, family) for text in fields[2:4]]
    ports = [_read_port(text) for text in fields[4:]]
    if None in hosts or None in ports:
        return Malformed("a version 1 header with a bad address or port")
    source, destination = (Endpoint(host or "", port or 0) for host, port in zip(hosts, ports, strict=True))
    return ProxyHeader(1, False, family, STREAM, source, destination, octets=length)


def _read_host(text: str, family: str) -> str | None:
    kind = ipaddress.IPv4Address if family == IPV4 else ipaddress.IPv6Address
    try:
        # A zone has no meaning here.
        return None if "%" in text else str(kind(text))
    except ValueError:
        return None


def _read_port(text: str) -> int | None:
    if not text.isdecimal() or len(text) > _PORT_DIGITS or (text[0] == "0" and text != "0"):
        return None
    port = int(text)
    return port if port <= _HIGHEST_PORT else None


def _read_v2(octets: bytes) -> ProxyHeader | Malformed | Incomplete:
    if len(octets) > _VERSION_AT:
        version = octets[_VERSION_AT]
        if version & _HIGH != _VERSION_2 or version & _LOW not in (_LOCAL, _PROXY):
            return Malformed("a version or command that is not known")
    if len(octets) > _FAMILY_AT and octets[_VERSION_AT] & _LOW == _PROXY:
        bits = octets[_FAMILY_AT]
        if bits & _HIGH not in _FAMILIES or (bits & _HIGH and bits & _LOW not in _TRANSPORTS):
            return Malformed("an address family or transport that is not known")
    if len(octets) < V2_FIXED_OCTETS:
        return Incomplete(len(octets) + 1)
    length = V2_FIXED_OCTETS + (octets[_LENGTH_AT] << 8 | octets[_LENGTH_AT + 1])
    is_local = octets[_VERSION_AT] & _LOW == _LOCAL
    family = UNSPECIFIED if is_local else _FAMILIES[octets[_FAMILY_AT] & _HIGH]
    if V2_FIXED_OCTETS + _BLOCK_OCTETS[family] > length:
        return Malformed("a length that has no room for the addresses")
    if len(octets) < length:
        return Incomplete(length)
    if is_local:
        # Section 2.2: the family means nothing then, so where TLVs begin is not known.
        return ProxyHeader(2, True, octets=length)
    return _read_v2_block(octets[:length], family, _TRANSPORTS.get(octets[_FAMILY_AT] & _LOW, ""))


def _read_v2_block(header: bytes, family: str, transport: str) -> ProxyHeader | Malformed:
    at = V2_FIXED_OCTETS + _BLOCK_OCTETS[family]
    facts = read_facts(header, at)
    if isinstance(facts, str):
        return Malformed(facts)
    if family == UNSPECIFIED:
        return ProxyHeader(2, facts=facts, octets=len(header))
    block = header[V2_FIXED_OCTETS:at]
    if family == UNIX:
        source = Endpoint(_read_path(block[:_UNIX_PATH_OCTETS]))
        destination = Endpoint(_read_path(block[_UNIX_PATH_OCTETS:]))
    else:
        size = _HOST_OCTETS[family]
        code = socket.AF_INET if family == IPV4 else socket.AF_INET6
        ports = block[2 * size :]
        source = Endpoint(socket.inet_ntop(code, block[:size]), int.from_bytes(ports[:_PORT_OCTETS], "big"))
        destination = Endpoint(
            socket.inet_ntop(code, block[size : 2 * size]), int.from_bytes(ports[_PORT_OCTETS:], "big")
        )
    return ProxyHeader(2, False, family, transport, source, destination, facts, len(header))


def _read_path(octets: bytes) -> str:
    """Filled up with NUL; an abstract one begins with it too."""
    prefix = "@" if octets[0] == 0 and any(octets) else ""
    path = octets[len(prefix) :].partition(b"\0")[0]
    return prefix + path.decode("utf-8", "replace")


def write_v1(header: ProxyHeader) -> bytes:
    """C{header} in version 1, which tells TCP addresses and nothing else."""
    names = {family: name for name, family in _V1_FAMILIES.items()}
    name = names.get(header.family)
    if name is None or header.source is None or header.destination is None or header.transport != STREAM:
        return V1_START + _V1_UNKNOWN.encode("ascii") + _V1_END
    source, destination = header.source, header.destination
    line = f"{name} {source.host} {destination.host} {source.port} {destination.port}"
    return V1_START + line.encode("ascii") + _V1_END


def write_v2(header: ProxyHeader, has_checksum: bool = False) -> bytes:
    """
    C{header} in version 2.

    @param has_checksum: whether a CRC32c is added.
    """
    family = header.family
    if header.is_local or header.source is None or header.destination is None:
        family = UNSPECIFIED
    block = b""
    if family == UNIX and header.source is not None and header.destination is not None:
        block = _write_path(header.source.host) + _write_path(header.destination.host)
    elif family and header.source is not None and header.destination is not None:
        code = socket.AF_INET if family == IPV4 else socket.AF_INET6
        ends = (header.source, header.destination)
        block = b"".join([socket.inet_pton(code, end.host) for end in ends])
        block += b"".join([end.port.to_bytes(_PORT_OCTETS, "big") for end in ends])
    block += write_facts(header.facts)
    if has_checksum:
        block += write_tlv(TYPE_CRC32C, bytes(CRC32C_OCTETS))
    command = _LOCAL if header.is_local else _PROXY
    bits = _FAMILY_BITS[family] | _TRANSPORT_BITS.get(header.transport, 0) if family else 0
    whole = V2_START + bytes((_VERSION_2 | command, bits)) + len(block).to_bytes(_PORT_OCTETS, "big") + block
    if has_checksum:
        # It is the last, and was computed with its own octets as zero.
        whole = whole[:-CRC32C_OCTETS] + crc32c(whole).to_bytes(CRC32C_OCTETS, "big")
    return whole


def _write_path(path: str) -> bytes:
    octets = path.encode("utf-8", "replace")
    if octets.startswith(b"@"):
        octets = b"\0" + octets[1:]
    return octets[:_UNIX_PATH_OCTETS].ljust(_UNIX_PATH_OCTETS, b"\0")
