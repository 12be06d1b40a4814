"""Listening sockets, opened before anything is started so that a taken port is found in time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from pmmux.errors import ListenError
from pmmux.model import Address, Client

ANY_IPV4 = "0.0.0.0"
ANY_IPV6 = "::"
FAST_OPEN_BACKLOG = 256
# IPv6 names have four.
_IPV4_NAME_PARTS = 2
_MAPPED_PREFIX = "::ffff:"


def address_of(name: object, family: int) -> Address:
    """
    A socket's name as an L{Address}; IPv4-mapped addresses as IPv4.

    @param name: from C{getsockname}, C{getpeername} or C{accept}.
    """
    if family == socket.AF_INET6:
        assert isinstance(name, tuple)
        host, port = name[0], name[1]
        if host.startswith(_MAPPED_PREFIX) and "." in host:
            return Address(host[len(_MAPPED_PREFIX) :], port)
        return Address(host.partition("%")[0], port, "ipv6")
    if family == socket.AF_INET:
        assert isinstance(name, tuple)
        return Address(name[0], name[1])
    path = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
    return Address(path, 0, "unix")


class InheritedSocket(socket.socket):
    """One that whoever started us keeps open too: its path, where it has one, is not ours to remove."""


class AcceptedClient(Client):
    """
    The client of an accepted socket; its addresses are made when they are asked for.
    """

    __slots__ = ("_local", "_peer", "_sock")

    def __init__(self, sock: Any, peer: object, local: Address | None) -> None:
        """
        @param peer: the peer's name, from C{accept}.
        @param local: the address it wrote to where that is known, else it is asked of C{sock}.
        """
        self._sock = sock
        self._peer = peer
        self._local = local

    transport = "tcp"

    @property
    def remote(self) -> Address:  # type: ignore[override]
        """The client's address."""
        peer = self._peer
        if not isinstance(peer, Address):
            peer = self._peer = address_of(peer, self._sock.family)
        return peer

    @property
    def remote_text(self) -> str:
        """C{str(self.remote)}, without making that where nobody else has asked for it."""
        peer: Any = self._peer
        if peer.__class__ is tuple and len(peer) == _IPV4_NAME_PARTS:
            return f"{peer[0]}:{peer[1]}"
        return str(self.remote)

    @property
    def local(self) -> Address:  # type: ignore[override]
        """The address the client wrote to."""
        if self._local is None:
            self._local = address_of(self._sock.getsockname(), self._sock.family)
        return self._local


def open_stream_sockets(
    listener: str,
    binds: Sequence[str],
    port: int | None,
    unix_path: str | None,
    backlog: int,
    pool: Any = None,
) -> list[socket.socket]:
    """
    Open the listening sockets of one listener: all of them, or none.

    @param binds: addresses; none means every address of both families, by one dual-stack socket
        where the system has IPv6.
    @param port: C{None} lets the system choose: one port for all addresses.
    @param pool: the L{pmmux.transport.handover.SocketPool} of what is open already, if any.
    @raises ListenError: one of them could not be opened; nothing stays open.
    """
    opened: list[socket.socket] = [] if pool is None else pool.take_named(listener, socket.SOCK_STREAM)
    for inherited in opened:
        _prepare(inherited, backlog)
    if opened:
        return opened
    try:
        if unix_path is not None:
            bound = None if pool is None else pool.take_path(unix_path)
            opened.append(bound or _open_unix(listener, unix_path, backlog))
            return opened
        for host in binds or (ANY_IPV6 if socket.has_dualstack_ipv6() else ANY_IPV4,):
            bound = None
            if pool is not None:
                bound = pool.take(listener, socket.SOCK_STREAM, host, port or 0, not binds)
            if bound is None:
                bound = _open_tcp(listener, host, port or 0, dual_stack=not binds, backlog=backlog)
            else:
                _prepare(bound, backlog)
            opened.append(bound)
            port = port or bound.getsockname()[1]
    except ListenError:
        close_sockets(opened)
        raise
    return opened


@frozen(slots=True)
class ListeningOptions:
    """
    What is set on listening TCP sockets, and inherited by what is accepted.

    @ivar congestion_control: an algorithm of the system; empty for its default.
    @ivar defer_accept_seconds: hold connections back until they have said something, for so long at
        most; 0 for not at all.
    @ivar fast_open: whether first octets may come with the first packet (RFC 7413).
    """

    congestion_control: str = ""
    defer_accept_seconds: int = 0
    fast_open: bool = False


def set_listening_options(listener: str, sockets: Sequence[socket.socket], options: ListeningOptions) -> None:
    """
    Set C{options} on those of C{sockets} that are TCP.

    @raises ListenError: the system does not have one of them.
    """
    wanted: list[tuple[str, str, int | bytes]] = []
    if options.congestion_control:
        algorithm = options.congestion_control.encode("ascii", "replace")
        wanted.append(("congestion-control", "TCP_CONGESTION", algorithm))
    if options.defer_accept_seconds:
        wanted.append(("defer-accept", "TCP_DEFER_ACCEPT", options.defer_accept_seconds))
    if options.fast_open:
        wanted.append(("tcp-fast-open", "TCP_FASTOPEN", FAST_OPEN_BACKLOG))
    for opened in sockets:
        if opened.family == socket.AF_UNIX:
            continue
        for name, constant, value in wanted:
            where = str(address_of(opened.getsockname(), opened.family))
            if not hasattr(socket, constant):
                raise ListenError(listener, where, f"{name}: the system does not have it")
            try:
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, constant), value)
            except OSError as error:
                unknown = constant == "TCP_CONGESTION" and error.errno == errno.ENOENT
                reason = "the system has no such algorithm" if unknown else error.strerror
                raise ListenError(listener, where, f"{name}: {reason}") from None


def _prepare(opened: socket.socket, backlog: int) -> None:
    """Let a socket that is open already be as one that we have opened."""
    opened.setblocking(False)
    if opened.family != socket.AF_UNIX:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.listen(backlog)


def close_sockets(sockets: Sequence[socket.socket], removes_paths: bool = True) -> None:
    """
    Close each, and remove the path of a unix socket.

    @param removes_paths: C{False} where another has taken over.
    """
    for opened in sockets:
        is_ours = opened.family == socket.AF_UNIX and not isinstance(opened, InheritedSocket)
        path = opened.getsockname() if is_ours and removes_paths else None
        opened.close()
        if path:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _open_tcp(listener: str, host: str, port: int, dual_stack: bool, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        where = socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0][4]
        opened = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(listener, _written(host, port), error.strerror or str(error)) from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        # What is accepted inherits these, where a system call for each would cost more.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setblocking(False)
        opened.bind(where)
        opened.listen(backlog)
    except OSError as error:
        opened.close()
        raise ListenError(listener, _written(host, port), _explain(error)) from None
    return opened


def _open_unix(listener: str, path: str, backlog: int) -> socket.socket:
    _remove_stale(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.bind(path)
        opened.listen(backlog)
    except OSError as error:
        opened.close()
        raise ListenError(listener, f"unix:{path}", error.strerror or str(error)) from None
    return opened


def _remove_stale(path: str) -> None:
    # A socket that nobody listens on any more is left by a process that was killed.
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
    except OSError:
        return


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{reason}: another program, or another listener, has it"
    if error.errno == errno.EACCES:
        return f"{reason}: ports below 1024 need CAP_NET_BIND_SERVICE or root"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{reason}: this machine does not have it"
    return reason
