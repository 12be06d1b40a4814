"""
Clients that a proxy speaks for: who they are stands in PROXY headers, at the beginning of datagrams.

A proxy may have one socket for many clients, and then each datagram has a header; or one socket for
each client, and then it may be the first datagram only. So a datagram without a header belongs to the
client that was announced last from the same address and port.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from pmmux.model import Address, Client
from pmmux.negotiators.proxy_protocol import (
    REQUIRE,
    USE,
    ProxyProtocolPolicy,
    announced_by_datagram,
)
from pmmux.transport.datagram_ports import DatagramPort, Name
from pmmux.wire.proxyheader import is_proxy_header

Key = tuple[DatagramPort, Name, Client]


@frozen(slots=True)
class Arrival:
    """
    A datagram without its header.

    @ivar client: whose it is.
    @ivar properties: what the header tells.
    """

    client: Client
    properties: Mapping[str, str]
    octets: bytes


class AnnouncedSessions:
    """The sessions of one listener's trusted peers, which ports do not know."""

    def __init__(self, policy: ProxyProtocolPolicy) -> None:
        self._policy = policy
        self._sessions: dict[Key, Any] = {}
        self._last: dict[tuple[DatagramPort, Name], Any] = {}

    def are_for(self, host: str) -> bool:
        """Whether C{host} is a peer whose headers count, so that its sessions are kept here."""
        return self._policy.mode in (USE, REQUIRE) and self._policy.trusts(Address(host, 0))

    def read(self, port: DatagramPort, name: Name, client: Client, octets: bytes) -> tuple[Any, Arrival]:
        """
        Take the header off, if there is one.

        @param client: the peer.
        @return: the session it belongs to, or C{None}, and the datagram.
        @raises RouteError: it is to be dropped.
        """
        if not is_proxy_header(octets):
            session = self._last.get((port, name))
            if session is not None:
                return session, Arrival(session.client, session.announced, octets)
        announced, properties, rest = announced_by_datagram(self._policy, octets, client)
        session = self._sessions.get((port, name, announced))
        if session is not None:
            self._last[port, name] = session
        return session, Arrival(announced, properties, rest)

    def add(self, session: Any) -> None:
        """C{session} has begun."""
        self._sessions[session.port, session.name, session.client] = session
        self._last[session.port, session.name] = session

    def discard(self, session: Any) -> None:
        """C{session} has ended; harmless where it was not here."""
        key = (session.port, session.name, session.client)
        if self._sessions.get(key) is session:
            del self._sessions[key]
        if self._last.get(key[:2]) is session:
            del self._last[key[:2]]
