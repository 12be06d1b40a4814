"""
What gateways say to all: that they have started again, or have a new address.

Only the gateway's own word counts, and it does no more than have its mappings asked for again.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from pmmux.nat.mapping import Link
from pmmux.wire import natpmp, pcp, ssdp

_LARGEST_OCTETS = 4096


class AnnouncementListener:
    """
    Listens for the announcements of one gateway.

    @param restarted: called when it says that it started again or has another address.
    @param hinted: called when it says something that may mean so.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, link: Link, restarted: Callable[[], None], hinted: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._link = link
        self._restarted = restarted
        self._hinted = hinted
        self._ports: list[Any] = []
        self._boot: int | None = None

    def start(self) -> None:
        """Open the sockets; one that cannot be opened is done without."""
        if ":" in self._link.gateway:
            self._listen(pcp.ANNOUNCEMENT_GROUP_IPV6, pcp.ANNOUNCEMENT_PORT, self._hear_mapping_server)
            return
        self._listen(pcp.ANNOUNCEMENT_GROUP, pcp.ANNOUNCEMENT_PORT, self._hear_mapping_server)
        self._listen(ssdp.GROUP, ssdp.PORT, self._hear_device)

    def stop(self) -> Deferred[Any]:
        """Close the sockets. @return: fires when they are."""
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    def _listen(self, group: str, port: int, hear: Callable[[bytes], None]) -> None:
        # Bound to the group's address, so that what is sent to us alone goes to who else has this port.
        bind_address = f"{group}%{self._link.interface}" if ":" in group else group
        listener = _GroupListener(self._link, group, hear)
        try:
            listening = self._reactor.listenMulticast(
                port, listener, interface=bind_address, maxPacketSize=_LARGEST_OCTETS, listenMultiple=True
            )
        except (CannotListenError, OSError) as error:
            self.log.debug("NAT: no announcements from {group}: {error}", group=group, error=str(error))
        else:
            self._ports.append(listening)

    def _hear_mapping_server(self, datagram: bytes) -> None:
        announced = pcp.decode(datagram)
        if isinstance(announced, pcp.AnnounceAnswer) or isinstance(
            natpmp.decode(datagram), natpmp.AddressAnswer
        ):
            self._restarted()

    def _hear_device(self, datagram: bytes) -> None:
        notification = ssdp.decode(datagram)
        if not isinstance(notification, ssdp.Notification) or not notification.alive:
            return
        before, self._boot = self._boot, notification.boot
        if notification.boot is None or before is None:
            # Said every now and then by a device that goes on as before, too.
            self._hinted()
        elif notification.boot != before:
            self._restarted()


class _GroupListener(DatagramProtocol):
    """One multicast group on one port."""

    noisy = False

    def __init__(self, link: Link, group: str, hear: Callable[[bytes], None]) -> None:
        self._link = link
        self._group = group
        self._hear = hear

    def startProtocol(self) -> None:
        transport: Any = self.transport
        with contextlib.suppress(OSError):
            if ":" in self._group:
                index = socket.if_nametoindex(self._link.interface)
                membership = socket.inet_pton(socket.AF_INET6, self._group) + index.to_bytes(4, sys.byteorder)
                transport.getHandle().setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            else:
                membership = socket.inet_aton(self._group) + socket.inet_aton(self._link.address)
                transport.getHandle().setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        sender, gateway = addr[0].partition("%")[0], self._link.gateway.partition("%")[0]
        # On IPv6 a router speaks to all from its link-local address, whichever we know it by.
        if sender == gateway or (":" in gateway and sender.startswith("fe80:")):
            self._hear(datagram)
