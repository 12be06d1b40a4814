"""One TCP or unix-socket listener: from accepted sockets to courses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from pmmux.connection import Connection
from pmmux.interfaces import IListener
from pmmux.model import Address, Client
from pmmux.preview import PreviewTransport
from pmmux.transport.accepting import Acceptor, ConnectionLimit
from pmmux.transport.sockets import address_of, close_sockets


@implementer(IListener)
class StreamListener:
    """Its sockets are open from the beginning; it accepts between L{start} and L{stop}."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        spec: Any,
        sockets: Sequence[socket.socket],
        data_path: Any,
        limit: ConnectionLimit,
        preview_limit_octets: int,
        identifiers: Iterator[int],
        accepted: Callable[[Connection], None],
    ) -> None:
        """
        @param spec: L{pmmux.config.settings.ListenerSpec}
        @param accepted: called with each new connection.
        """
        self.spec = spec
        self._reactor = reactor
        self._sockets = sockets
        self._data_path = data_path
        self._limit = limit
        self._preview_limit_octets = preview_limit_octets
        self._identifiers = identifiers
        self._take = accepted
        self._acceptors = [Acceptor(reactor, opened, limit, self._accepted) for opened in sockets]

    def addresses(self) -> tuple[Address, ...]:
        """What it listens on."""
        return tuple(address_of(opened.getsockname(), opened.family) for opened in self._sockets)

    def start(self) -> None:
        """Accept from now on."""
        for acceptor in self._acceptors:
            acceptor.start()

    def stop(self) -> None:
        """Accept no more, and close the sockets."""
        for acceptor in self._acceptors:
            acceptor.stop()
        close_sockets(self._sockets)

    def _accepted(self, accepted: socket.socket, peer: Any) -> None:
        family = accepted.family
        self._limit.take()
        try:
            client = Client("tcp", address_of(peer, family), address_of(accepted.getsockname(), family))

            def opened(stream: PreviewTransport) -> None:
                self._take(
                    Connection(
                        next(self._identifiers), self.spec.name, client, stream, self._reactor.seconds()
                    )
                )

            stream = PreviewTransport(self._preview_limit_octets, opened)
            self._data_path.accept(accepted, lambda: stream)
        except OSError as error:
            # It has gone already, or there was no descriptor for it.
            accepted.close()
            self._limit.give_back()
            self.log.info("a connection was lost while it was accepted: {error}", error=str(error))
