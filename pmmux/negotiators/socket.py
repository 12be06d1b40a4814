"""Tells what the socket knows, as C{socket.*} properties."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import implementer

from pmmux.connection import Connection
from pmmux.interfaces import INegotiator

# The names that the configuration's regular expressions are written against.
_FAMILIES = {"ipv4": "internetwork", "ipv6": "internetworkv6", "unix": "unix"}


@implementer(INegotiator)
class SocketNegotiator:
    """
    Consumes nothing and rejects nobody.

    @cvar is_silent: neither waits nor does anything that the peer could see.
    """

    name = "socket"
    is_silent = True

    async def negotiate(
        self, connection: Connection, proceed: Callable[[Connection], Awaitable[Connection]]
    ) -> Connection:
        """Add the properties, and pass on."""
        client = connection.client
        remote, local = client.remote, client.local
        properties = connection.properties
        properties["socket.address-family"] = _FAMILIES[local.family]
        properties["socket.protocol-type"] = client.transport
        properties["socket.remote-ip"] = remote.host
        properties["socket.remote-port"] = str(remote.port)
        properties["socket.local-ip"] = local.host
        properties["socket.local-port"] = str(local.port)
        properties["socket.listener"] = connection.listener
        return await proceed(connection)


negotiator = SocketNegotiator()
