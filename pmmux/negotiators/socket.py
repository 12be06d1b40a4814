"""Tells what the socket knows, as C{socket.*} properties."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping

from zope.interface import implementer

from pmmux.connection import Connection
from pmmux.interfaces import INegotiator

# The names of the families that the reference's configurations are written against.
_FAMILIES = {"ipv4": "internetwork", "ipv6": "internetworkv6", "unix": "unix"}

_READERS: Mapping[str, Callable[[Connection], str]] = {
    "socket.address-family": lambda connection: _FAMILIES[connection.client.local.family],
    "socket.protocol-type": lambda connection: connection.client.transport,
    "socket.remote-ip": lambda connection: connection.client.remote.host,
    "socket.remote-port": lambda connection: str(connection.client.remote.port),
    "socket.local-ip": lambda connection: connection.client.local.host,
    "socket.local-port": lambda connection: str(connection.client.local.port),
    "socket.listener": lambda connection: connection.listener,
}


class SocketProperties(Mapping[str, str]):
    """The properties of one connection's socket, each computed when it is asked for."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: str) -> str:
        return _READERS[name](self._connection)

    def __iter__(self) -> Iterator[str]:
        return iter(_READERS)

    def __len__(self) -> int:
        return len(_READERS)


@implementer(INegotiator)
class SocketNegotiator:
    """
    Consumes nothing, waits for nothing and rejects nobody.
    """

    name = "socket"

    def annotate(self, connection: Connection) -> None:
        """Add the properties; all there is to do."""
        connection.properties.join(SocketProperties(connection))

    async def negotiate(
        self, connection: Connection, proceed: Callable[[Connection], Awaitable[Connection]]
    ) -> Connection:
        """Add the properties, and pass on."""
        self.annotate(connection)
        return await proceed(connection)


negotiator = SocketNegotiator()
