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
            self._listen_on_ipv6()
            return
        self._listen(pcp.ANNOUNCEMENT_GROUP, pcp.ANNOUNCEMENT_PORT, self._hear_mapping_server)
        self._listen(ssdp.GROUP, ssdp.PORT, self._hear_device)

    def stop(self) -> Deferred[Any]:
        """Close the sockets. @return: fires when they are."""
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    def _listen(self, group: str, port: int, hear: Callable[[bytes], None]) -> None:
        # Bound to the group's address, so that what is sent to us alone goes to who else has this port.
        listener = _GroupListener(self._link, group, hear)
        try:
            listening = self._reactor.listenMulticast(
                port, listener, interface=group, maxPacketSize=_LARGEST_OCTETS, listenMultiple=True
            )
        except (CannotListenError, OSError) as error:
            self._note_deafness(group, error)
        else:
            self._ports.append(listening)

    def _listen_on_ipv6(self) -> None:
        group = pcp.ANNOUNCEMENT_GROUP_IPV6
        listener = _GroupListener(self._link, group, self._hear_mapping_server)
        try:
            with _open_group_socket(group, pcp.ANNOUNCEMENT_PORT, self._link.interface) as opened:
                listening = self._reactor.adoptDatagramPort(
                    opened.fileno(), socket.AF_INET6, listener, _LARGEST_OCTETS
                )
        except OSError as error:
            self._note_deafness(group, error)
        else:
            self._ports.append(listening)

    def _note_deafness(self, group: str, error: Exception) -> None:
        self.log.debug("NAT: no announcements from {group}: {error}", group=group, error=str(error))

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
        if ":" in self._group:
            return
        transport: Any = self.transport
        with contextlib.suppress(OSError):
            membership = socket.inet_aton(self._group) + socket.inet_aton(self._link.address)
            transport.getHandle().setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        sender, gateway = addr[0].partition("%")[0], self._link.gateway.partition("%")[0]
        # On IPv6 a router speaks to all from its link-local address, whichever we know it by.
        if sender == gateway or (":" in gateway and sender.startswith("fe80:")):
            self._hear(datagram)


def _open_group_socket(group: str, port: int, interface: str) -> socket.socket:
    """A socket that hears one IPv6 group on one interface; Twisted's own cannot be given the interface."""
    index = socket.if_nametoindex(interface)
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        membership = socket.inet_pton(socket.AF_INET6, group) + index.to_bytes(4, sys.byteorder)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        opened.bind((group, port, 0, index))
    except OSError:
        opened.close()
        raise
    return opened
