"""
Listening sockets that are open already: those of a listener that another takes the place of, and those
that the process was started with. Whoever fits takes a duplicate, so that nothing is ever closed between.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from attrs import frozen

from pmmux.transport.sockets import ANY_IPV4, ANY_IPV6, InheritedSocket


@frozen(eq=False)
class _Open:
    name: str
    opened: socket.socket


class SocketPool:
    """Sockets that may be taken over."""

    def __init__(self) -> None:
        self._taken: set[socket.socket] = set()
        self._named: list[_Open] = []
        self._open: list[_Open] = []

    def add(self, name: str, opened: socket.socket) -> None:
        """
        Offer C{opened} to listeners that want its address.

        @param name: of the listener that has it now: for one of that name any port fits, where the
            system is to choose.
        """
        self._open.append(_Open(name, opened))

    def add_inherited(self, name: str, opened: InheritedSocket) -> None:
        """
        Offer C{opened} to the listener of that name, whatever address it is configured for, and to
        others that want its address.
        """
        self._named.append(_Open(name, opened))
        self._open.append(_Open("", opened))

    def take_named(self, listener: str, kind: int) -> list[socket.socket]:
        """All that were given to C{listener} by name."""
        return [
            self._take(each) for each in self._named if each.name == listener and each.opened.type == kind
        ]

    def take(
        self, listener: str, kind: int, host: str, port: int, dual_stack: bool = False
    ) -> socket.socket | None:
        """
        @param kind: C{SOCK_STREAM} or C{SOCK_DGRAM}.
        @param port: 0 where the system is to choose.
        @param dual_stack: whether C{::} is to be there for IPv4 too.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for each in self._open:
            opened = each.opened
            if opened.family != family or opened.type != kind:
                continue
            name = opened.getsockname()
            if name[0] != host or name[1] != (port or (name[1] if each.name == listener else -1)):
                continue
            if host == ANY_IPV6 and _is_dual_stack(opened) is not dual_stack:
                continue
            return self._take(each)
        return None

    def take_path(self, path: str) -> socket.socket | None:
        """The unix socket at C{path}."""
        for each in self._open:
            if each.opened.family == socket.AF_UNIX and each.opened.getsockname() == path:
                return self._take(each)
        return None

    def _take(self, each: _Open) -> socket.socket:
        self._taken.add(each.opened)
        return each.opened.dup()

    def left(self) -> tuple[str, ...]:
        """What nobody took, in text, for the log."""
        return tuple(_written(each.opened) for each in self._open if each.opened not in self._taken)

    def close(self) -> None:
        """Close what was offered; what was taken stays open."""
        for each in self._open:
            each.opened.close()
        self._open.clear()
        self._named.clear()


def pool_of(named: Iterable[tuple[str, Iterable[socket.socket]]]) -> SocketPool:
    """
    @param named: listeners' names and their sockets.
    """
    pool = SocketPool()
    for name, sockets in named:
        for opened in sockets:
            pool.add(name, opened)
    return pool


def _is_dual_stack(opened: socket.socket) -> bool:
    return not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _written(opened: socket.socket) -> str:
    name = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"{name[0] if name[0] != ANY_IPV4 else '*'}:{name[1]}"
