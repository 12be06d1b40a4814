"""Tells what the socket knows, as C{socket.*} properties."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from zope.interface import implementer

from pmmux.connection import Connection
from pmmux.interfaces import INegotiator
from pmmux.model import Client, Properties

# The names of the families that the reference's configurations are written against.
_FAMILIES = {"ipv4": "internetwork", "ipv6": "internetworkv6", "unix": "unix"}

_READERS: Mapping[str, Callable[[Client], str]] = {
    "socket.address-family": lambda client: _FAMILIES[client.local.family],
    "socket.protocol-type": lambda client: client.transport,
    "socket.remote-ip": lambda client: client.remote.host,
    "socket.remote-port": lambda client: str(client.remote.port),
    "socket.local-ip": lambda client: client.local.host,
    "socket.local-port": lambda client: str(client.local.port),
}
_LISTENER = "socket.listener"


class SocketProperties(Mapping[str, str]):
    """The properties of one connection's socket, each computed when it is asked for."""

    __slots__ = ("_client", "_listener")

    def __init__(self, client: Client, listener: str) -> None:
        self._client = client
        self._listener = listener

    def get(self, name: str, default: Any = None) -> Any:
        """The property C{name}, or C{default}."""
        read = _READERS.get(name)
        if read is None:
            return self._listener if name == _LISTENER else default
        return read(self._client)

    def __getitem__(self, name: str) -> str:
        return self._listener if name == _LISTENER else _READERS[name](self._client)

    def __iter__(self) -> Iterator[str]:
        return iter((*_READERS, _LISTENER))

    def __len__(self) -> int:
        return len(_READERS) + 1


@implementer(INegotiator)
class SocketNegotiator:
    """
    Consumes nothing, waits for nothing and rejects nobody.
    """

    name = "socket"

    def annotate(self, properties: Properties, client: Client, listener: str) -> None:
        """Add the properties; all there is to do."""
        properties.join(SocketProperties(client, listener))

    async def negotiate(
        self, connection: Connection, proceed: Callable[[Connection], Awaitable[Connection]]
    ) -> Connection:
        """Add the properties, and pass on."""
        self.annotate(connection.properties, connection.client, connection.listener)
        return await proceed(connection)


negotiator = SocketNegotiator()
