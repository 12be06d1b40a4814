"""One datagram listener: from bound sockets to sessions."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from pmmux.datagrams.options import SessionLimits
from pmmux.datagrams.services import DatagramServices
from pmmux.datagrams.table import SessionTable
from pmmux.interfaces import IListener
from pmmux.model import Address
from pmmux.negotiators.proxy_protocol import policy_of
from pmmux.transport.datagram import WildcardPort
from pmmux.transport.datagram_ports import DatagramPort
from pmmux.transport.sockets import address_of, close_sockets


@implementer(IListener)
class DatagramListener:
    """
    Its sockets are open from the beginning; it receives between L{start} and L{stop}.

    @ivar sockets: those it listens on.
    @ivar table: its sessions. They end with it: replies leave by its sockets.
    """

    log = Logger()

    def __init__(self, spec: Any, sockets: Sequence[socket.socket], services: DatagramServices) -> None:
        """@param spec: L{pmmux.config.settings.ListenerSpec}"""
        settings = services.settings
        self.spec = spec
        limits = SessionLimits.of(spec.options, settings.most, settings.preview_octets)
        self.table = SessionTable(services, spec.name, limits, policy_of(spec))
        self._services = services
        self.sockets = sockets
        self._ports: list[DatagramPort | WildcardPort] = []

    def addresses(self) -> tuple[Address, ...]:
        """What it listens on."""
        return tuple(address_of(opened.getsockname(), opened.family) for opened in self.sockets)

    def start(self) -> None:
        """Receive from now on."""
        path = self._services.path
        self._ports = [path.listen(opened, self.table.counts, self.table.arrived) for opened in self.sockets]

    def drain(self, emptied: Callable[[], None]) -> None:
        """Begin no more sessions; C{emptied} is called when those that are open have fallen silent."""
        self.table.drain(emptied)

    def stop(self, removes_paths: bool = True) -> None:
        """End its sessions and close the sockets."""
        self.table.close()
        for port in self._ports:
            self._services.path.close(port)
        self._ports.clear()
        close_sockets(self.sockets)
