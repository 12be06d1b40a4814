"""
Datagram sockets: listening on addresses, and knowing to which of its addresses a client wrote.

A socket on a wildcard address learns that from the packet information of each datagram, which costs
0.4 us to receive and as much to send (measured against 1 us for the datagram). So it only finds the
addresses in use: each is then given a socket of its own, which the system prefers.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from pmmux.errors import ListenError
from pmmux.transport.sockets import ANY_IPV4, ANY_IPV6, close_sockets

# The largest payload is 65,507 octets over IPv4 and 65,527 over IPv6.
DATAGRAM_LIMIT_OCTETS = 65536
LISTENING_BUFFER_OCTETS = 4 << 20
UPSTREAM_BUFFER_OCTETS = 1 << 20
ANCILLARY_OCTETS = 64
PORT_TRIES = 16

# Not in Python 3.11's socket module; the values are Linux's.
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
# Not everywhere can a socket be made so.
_NONBLOCK: int = getattr(socket, "SOCK_NONBLOCK", 0)
_SO_RCVBUFFORCE = 33
_INFO_V4 = struct.Struct("=I4s4s")
_INFO_V6 = struct.Struct("=16sI")

_EXPLANATIONS = {
    errno.EADDRINUSE: ": another program, or another listener, has it",
    errno.EACCES: ": ports below 1024 need CAP_NET_BIND_SERVICE or root",
    errno.EADDRNOTAVAIL: ": this machine does not have it",
}

Ancillary = Iterable[tuple[int, int, bytes]]


def open_datagram_sockets(
    listener: str, binds: Sequence[str], port: int | None, pool: Any = None
) -> list[socket.socket]:
    """
    Open the sockets of one datagram listener: all of them, or none.

    @param binds: addresses; none means every address of both families, by one socket for each: that
        spares IPv4 the mapped addresses.
    @param port: C{None} lets the system choose: one port for all addresses.
    @param pool: the L{pmmux.transport.handover.SocketPool} of what is open already, if any.
    @raises ListenError: one of them could not be opened; nothing stays open.
    """
    inherited: list[socket.socket] = [] if pool is None else pool.take_named(listener, socket.SOCK_DGRAM)
    for each in inherited:
        _prepare(each)
    if inherited:
        return inherited
    hosts = tuple(binds) or ((ANY_IPV4, ANY_IPV6) if socket.has_dualstack_ipv6() else (ANY_IPV4,))
    for tries_left in range(0 if port else PORT_TRIES, -1, -1):
        opened: list[socket.socket] = []
        try:
            chosen = port or 0
            for host in hosts:
                taken = None if pool is None else pool.take(listener, socket.SOCK_DGRAM, host, chosen)
                bound = _open(listener, host, chosen) if taken is None else _prepare(taken)
                opened.append(bound)
                chosen = bound.getsockname()[1]
        except ListenError:
            close_sockets(opened)
            # What the system chose for the first address may be taken on the next.
            if opened and tries_left:
                continue
            raise
        return opened
    raise AssertionError("unreachable")


def _prepare(opened: socket.socket) -> socket.socket:
    """Let a socket that is bound already be as one that we have opened."""
    opened.setblocking(False)
    if is_wildcard(opened.getsockname()[0]):
        ask_for_destinations(opened)
    enlarge(opened, LISTENING_BUFFER_OCTETS)
    return opened


def _open(listener: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
        where = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, flags)[0][4]
        opened = _make_socket(family)
    except OSError as error:
        raise _refuse(listener, host, port, error) from None
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_wildcard(where[0]):
            ask_for_destinations(opened)
        enlarge(opened, LISTENING_BUFFER_OCTETS)
        opened.bind(where)
    except OSError as error:
        opened.close()
        raise _refuse(listener, host, port, error) from None
    return opened


def _refuse(listener: str, host: str, port: int, error: OSError) -> ListenError:
    reason = error.strerror or str(error)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ListenError(listener, address, reason + _EXPLANATIONS.get(error.errno or 0, ""))


def is_wildcard(host: object) -> bool:
    """Whether C{host} stands for every address of its family."""
    return host in (ANY_IPV4, ANY_IPV6)


def enlarge(sock: socket.socket, octets: int) -> None:
    """Let C{sock} hold more that arrives: as much as asked for, or as the system lets us."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)
        # With CAP_NET_ADMIN also beyond net.core.rmem_max.
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, octets)


def ask_for_destinations(sock: socket.socket) -> None:
    """Let each datagram say where it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def read_destination(ancillary: Ancillary) -> tuple[str, int] | None:
    """
    Where a datagram was sent to.

    @return: our address and, where it is link-local, its interface, else 0; C{None} where it was
        sent to many, by broadcast or multicast, or where that is not known.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, ours, destination = _INFO_V4.unpack(data)
            # The two differ where the destination is no single host's (ip(7)).
            return (socket.inet_ntoa(ours), 0) if ours == destination else None
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            destination, interface = _INFO_V6.unpack(data)
            host = ipaddress.IPv6Address(destination)
            if host.is_multicast:
                return None
            return socket.inet_ntop(socket.AF_INET6, destination), interface if host.is_link_local else 0
    return None


def write_source(host: str, interface: int) -> list[tuple[int, int, bytes]]:
    """The ancillary data that lets a datagram leave from C{host}; the reverse of L{read_destination}."""
    if ":" in host:
        packed = _INFO_V6.pack(socket.inet_pton(socket.AF_INET6, host), interface)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    return [(socket.IPPROTO_IP, IP_PKTINFO, _INFO_V4.pack(0, socket.inet_aton(host), bytes(4)))]


def open_beside(wildcard: socket.socket, host: str) -> socket.socket | None:
    """
    A socket on the one address C{host}, with the port of C{wildcard}, which then gets nothing for it.

    Both may share the port only while this runs: other programs must go on finding it taken.

    @return: C{None} where that cannot be, such as for ports below 1024 without privileges.
    """
    opened = _make_socket(wildcard.family)
    sharing: tuple[socket.socket, ...] = (wildcard, opened)
    try:
        if wildcard.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        enlarge(opened, LISTENING_BUFFER_OCTETS)
        for sock in sharing:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((host, wildcard.getsockname()[1]))
    except OSError:
        opened.close()
        sharing = (wildcard,)
        return None
    finally:
        for sock in sharing:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return opened


def connect_datagrams(family: int, host: str, port: int) -> socket.socket:
    """
    A socket that exchanges datagrams with one address only.

    @param host: an address, with its zone where it is link-local.
    @raises OSError: there is no way to it, or no descriptor.
    """
    sock = _make_socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UPSTREAM_BUFFER_OCTETS)
        where: Any = (host, port)
        if "%" in host:
            where = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4]
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _make_socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM | _NONBLOCK)
    if not _NONBLOCK:
        made.setblocking(False)
    return made
