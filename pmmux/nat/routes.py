"""
The way to the gateway: the default route, our own address on it, and word of any change.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pmmux.nat.mapping import Finding, Link, Reason
from pmmux.nat.settings import IPV4, IPV6

IPV4_ROUTES_PATH = Path("/proc/net/route")
IPV6_ROUTES_PATH = Path("/proc/net/ipv6_route")
WATCH_SECONDS = 2.0

_ROUTE_UP = 0x1
_ROUTE_GATEWAY = 0x2
_ROUTE_REJECT = 0x200
_IPV4_COLUMNS = 8
_IPV6_COLUMNS = 10
# Any global address will do: connecting a UDP socket sends nothing.
_SOMEWHERE_IPV6 = "2001:4860::1"
_DISCARD_PORT = 9
_IPV6_ADDR_PREFERENCES = 72
_IPV6_PREFER_SRC_PUBLIC = 2


@frozen(slots=True)
class DefaultRoute:
    """
    A default route.

    @ivar gateway: empty where the route leads straight into an interface, as a tunnel's does.
    @ivar metric: the lowest is preferred.
    """

    interface: str
    gateway: str
    metric: int


@frozen(slots=True)
class LinkChoice:
    """
    What the watcher makes of the routes.

    @ivar link: C{None} where there is no gateway to ask.
    @ivar findings: why there is none, or what is odd.
    """

    link: Link | None
    findings: tuple[Finding, ...] = ()


def parse_ipv4_routes(text: str) -> list[DefaultRoute]:
    """Default routes of C{/proc/net/route}, the preferred one first; other lines are passed over."""
    routes = []
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) < _IPV4_COLUMNS or columns[1].strip("0") or columns[7].strip("0"):
            continue
        try:
            flags, metric = int(columns[3], 16), int(columns[6])
            # In the machine's own byte order, unlike anything else about addresses.
            gateway = str(ipaddress.IPv4Address(struct.pack("=I", int(columns[2], 16))))
        except (ValueError, struct.error):
            continue
        if flags & _ROUTE_UP and not flags & _ROUTE_REJECT:
            routes.append(DefaultRoute(columns[0], gateway if flags & _ROUTE_GATEWAY else "", metric))
    return sorted(routes, key=lambda route: route.metric)


def parse_ipv6_routes(text: str) -> list[DefaultRoute]:
    """Default routes of C{/proc/net/ipv6_route}, the preferred one first."""
    routes = []
    for line in text.splitlines():
        columns = line.split()
        if len(columns) < _IPV6_COLUMNS or columns[0].strip("0") or columns[1] != "00":
            continue
        try:
            address = ipaddress.IPv6Address(bytes.fromhex(columns[4]))
            metric, flags = int(columns[5], 16), int(columns[8], 16)
        except ValueError:
            continue
        if not flags & _ROUTE_UP or flags & _ROUTE_REJECT or columns[9] == "lo":
            continue
        scope = f"%{columns[9]}" if address.is_link_local else ""
        gateway = f"{address}{scope}" if flags & _ROUTE_GATEWAY else ""
        routes.append(DefaultRoute(columns[9], gateway, metric))
    return sorted(routes, key=lambda route: route.metric)


def find_own_address(family: int, gateway: str) -> str:
    """
    Our address as the gateway sees it.

    @return: empty where there is no way there.
    """
    if family == IPV4:
        target = (gateway, _DISCARD_PORT)
    else:
        # A pinhole is for an address that can be reached, which the link-local one towards a
        # link-local gateway cannot; and for one that stays, which a temporary one does not.
        target = (_SOMEWHERE_IPV6, _DISCARD_PORT)
    try:
        with socket.socket(socket.AF_INET if family == IPV4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            if family == IPV6:
                probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC)
            probe.connect(target)
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return ""


@frozen
class RouteTable:
    """
    Reads the system's routes, and chooses the way to the gateway.

    @ivar gateway: the configured one; empty for the default route's.
    @ivar interface: the configured one; empty for the default route's.
    @ivar find_address: from family and gateway to our own address.
    """

    gateway: str = ""
    interface: str = ""
    paths: dict[int, Path] = field(factory=lambda: {IPV4: IPV4_ROUTES_PATH, IPV6: IPV6_ROUTES_PATH})
    find_address: Callable[[int, str], str] = find_own_address

    def choose(self, family: int) -> LinkChoice:
        """Find the way to the gateway of C{family} as it is now."""
        routes = self._read(family)
        wanted = [route for route in routes if not self.interface or route.interface == self.interface]
        findings = []
        if self.interface and routes and (not wanted or wanted[0] != routes[0]):
            findings.append(_describe_other_interface(self.interface, routes[0]))
        gateway = self.gateway if (":" in self.gateway) == (family == IPV6) else ""
        if not gateway:
            gateway = next((route.gateway for route in wanted if route.gateway), "")
        if not gateway:
            findings.insert(0, _describe_no_gateway(family, wanted))
            return LinkChoice(None, tuple(findings))
        address = self.find_address(family, gateway)
        if not address:
            text = f"this machine has no address that reaches the gateway {gateway}"
            return LinkChoice(None, (Finding(Reason.NO_GATEWAY, text), *findings))
        interface = next((route.interface for route in wanted if route.gateway == gateway), self.interface)
        return LinkChoice(Link(gateway, address, interface), tuple(findings))

    def _read(self, family: int) -> list[DefaultRoute]:
        try:
            text = self.paths[family].read_text(encoding="ascii", errors="replace")
        except OSError:
            return []
        return parse_ipv4_routes(text) if family == IPV4 else parse_ipv6_routes(text)


class RouteWatcher:
    """
    Looks at the routes again and again, and tells of any change.

    @param changed: called with the family and the L{LinkChoice}, at first and after each change.
    """

    def __init__(self, reactor: Any, table: RouteTable, changed: Callable[[int, LinkChoice], None]) -> None:
        self._reactor = reactor
        self._table = table
        self._changed = changed
        self._seen: dict[int, LinkChoice] = {}
        self._families: set[int] = set()
        self._timer: Any = None

    def watch(self, family: int) -> None:
        """Watch the routes of one more family from now on."""
        self._families.add(family)
        if self._timer is None:
            self._look()
        else:
            self._look_at(family)

    def use(self, table: RouteTable) -> None:
        """Read C{table} from now on, at once where routes are watched."""
        self._table = table
        if self._timer is not None:
            for family in sorted(self._families):
                self._look_at(family)

    def stop(self) -> None:
        """Watch no more; no timer is left."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        self._timer = self._reactor.callLater(WATCH_SECONDS, self._look)
        for family in sorted(self._families):
            self._look_at(family)

    def _look_at(self, family: int) -> None:
        choice = self._table.choose(family)
        if choice != self._seen.get(family):
            self._seen[family] = choice
            self._changed(family, choice)


def _describe_other_interface(interface: str, preferred: DefaultRoute) -> Finding:
    way = f" to {preferred.gateway}" if preferred.gateway else ""
    text = f"[nat] names {interface}, but the default route goes through {preferred.interface}{way}"
    return Finding(Reason.WRONG_INTERFACE, text)


def _describe_no_gateway(family: int, routes: list[DefaultRoute]) -> Finding:
    if routes:
        text = (
            f"the default route goes through {routes[0].interface}, which has no gateway to ask (a tunnel?); "
            "set gateway in [nat]"
        )
    else:
        text = f"this machine has no default route on IPv{family}, so no gateway to ask"
    return Finding(Reason.NO_GATEWAY, text)
