"""One TCP or unix-socket listener: from accepted sockets to courses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from pmmux.clients import ClientLimits
from pmmux.express import Arrival, ExpressLane
from pmmux.interfaces import IListener
from pmmux.model import Address
from pmmux.preview import Preview
from pmmux.transport.accepting import Acceptor, ConnectionLimit, connections_for, raise_descriptor_limit
from pmmux.transport.sockets import ANY_IPV4, ANY_IPV6, AcceptedClient, address_of, close_sockets


def most_connections(wanted: int | None) -> int:
    """
    How many connections there may be: no more than the limit of open files, which is raised, has room for.

    @param wanted: C{None} for as many as that.
    """
    descriptors = raise_descriptor_limit()
    room = connections_for(descriptors)
    if wanted is None or wanted <= room:
        return wanted or room
    StreamListener.log.warn(
        "max-connections is {wanted}, and a limit of {descriptors} open files has room for {room}: "
        "there may be {room} connections",
        wanted=wanted,
        descriptors=descriptors,
        room=room,
    )
    return room


@implementer(IListener)
class StreamListener:
    """
    Its sockets are open from the beginning; it accepts between L{start} and L{stop}.

    @ivar sockets: those it listens on.
    @ivar clients: who may connect; C{None} for anybody.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        spec: Any,
        sockets: Sequence[socket.socket],
        limit: ConnectionLimit,
        preview_limit_octets: int,
        identifiers: Iterator[int],
        begin: Callable[[Arrival, Preview], None],
        lane: ExpressLane | None,
    ) -> None:
        """
        @param spec: L{pmmux.config.settings.ListenerSpec}
        @param begin: called with each new connection that the lane does not take.
        @param lane: C{None} where there is none.
        """
        self.spec = spec
        self._seconds = reactor.seconds
        self.sockets = sockets
        self._limit = limit
        self._preview_limit_octets = preview_limit_octets
        self._identifiers = identifiers
        self._begin = begin
        self.lane = lane
        self.clients: ClientLimits | None = None
        self._fixed_address = _fixed_address(sockets)
        self._acceptors = [
            Acceptor(reactor, opened, limit, self._accepted, None if lane is None else lane.poller)
            for opened in sockets
        ]

    def addresses(self) -> tuple[Address, ...]:
        """What it listens on."""
        return tuple(address_of(opened.getsockname(), opened.family) for opened in self.sockets)

    def start(self) -> None:
        """Accept from now on."""
        for acceptor in self._acceptors:
            acceptor.start()

    def stop(self, removes_paths: bool = True) -> None:
        """
        Accept no more, and close the sockets.

        @param removes_paths: C{False} where another listener has taken over a unix socket.
        """
        for acceptor in self._acceptors:
            acceptor.stop()
        close_sockets(self.sockets, removes_paths)

    def route_by(self, begin: Callable[[Arrival, Preview], None], lane: ExpressLane | None) -> None:
        """Let what is accepted from now on take another way; see L{__init__}."""
        self._begin = begin
        self.lane = lane

    def _accepted(self, accepted: Any, peer: Any) -> None:
        client = AcceptedClient(accepted, peer, self._fixed_address)
        identifier = next(self._identifiers)
        if self.clients is not None and not self.clients.admit(identifier, self.spec.name, client):
            accepted.close()
            return
        self._limit.take()
        arrival = Arrival(accepted, client, self.spec.name, identifier, self._seconds())
        if self.lane is not None:
            self.lane.take(arrival)
        else:
            self._begin(arrival, Preview(self._preview_limit_octets))


def _fixed_address(sockets: Sequence[socket.socket]) -> Address | None:
    """The address that every client has written to; C{None} where it has to be asked of each socket."""
    if len(sockets) != 1:
        return None
    address = address_of(sockets[0].getsockname(), sockets[0].family)
    return None if address.host in (ANY_IPV4, ANY_IPV6) else address
