"""
The NAT service: keeps the wanted ports mapped on whatever gateway there is.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from pmmux.nat.describe import describe_gateway, describe_port
from pmmux.nat.interfaces import INATDriver
from pmmux.nat.natpmp import NATPMPDriver
from pmmux.nat.pcp import PCPDriver
from pmmux.nat.report import NATReport, add_ipv6_advice
from pmmux.nat.routes import LinkChoice, RouteTable, RouteWatcher
from pmmux.nat.settings import IPV4, IPV6, NATSettings, Reporter, WantedMapping
from pmmux.nat.state import Journal
from pmmux.nat.uplink import Uplink, UplinkServices
from pmmux.nat.upnp import UPnPDriver

DELETION_SECONDS = 2.5
STOP_SECONDS = 3.0


def make_drivers() -> tuple[INATDriver, ...]:
    """The built-in drivers."""
    return (PCPDriver(), NATPMPDriver(), UPnPDriver())


class NATService:
    """
    Asks for mappings, renews them, and says how each stands. It never waits and never fails: without a
    gateway it goes on looking for one.

    @ivar settings: those in force.
    @ivar changed: callables without arguments, called after a report has changed; several changes at
        once are told once.

    @param wanted: the ports wanted at first.
    @param drivers: the L{INATDriver}s there are.
    @param table: where the routes come from; by default the system's, as configured.
    @param now: seconds since 1970.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: NATSettings,
        wanted: Iterable[WantedMapping],
        reporter: Reporter,
        *,
        drivers: Sequence[INATDriver] | None = None,
        table: RouteTable | None = None,
        now: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self.changed: list[Callable[[], None]] = []
        self._reactor = reactor
        self.settings = settings
        self._reporter = reporter
        self._wanted: dict[tuple[str, str, int], WantedMapping] = {one.key: one for one in wanted}
        self._drivers = make_drivers() if drivers is None else drivers
        self._now = now
        self._chance = chance or random.Random()
        self._uplinks: dict[int, Uplink] = {}
        self._services: UplinkServices | None = None
        self._table = table or RouteTable(settings.gateway, settings.interface)
        self._watcher = RouteWatcher(reactor, self._table, self._route)
        self._telling: Any = None
        self._logged: dict[Hashable, str] = {}

    def start(self) -> None:
        """Begin. Returns at once; what comes of it is in L{report}."""
        journal = Journal(self.settings.state_path, self._now)
        self._services = UplinkServices(
            self._reactor,
            self.settings,
            self._drivers,
            journal,
            self._reporter,
            self._chance,
            self._note_change,
        )
        families = {wanted.family for wanted in self._wanted.values()}
        # Also without a wanted port: an earlier process may have left something behind.
        families |= {IPV6 if ":" in record.gateway else IPV4 for record in journal.records()}
        for family in sorted(families):
            self._open_uplink(family)

    def stop(self) -> Deferred[None]:
        """
        Delete the mappings and end. What cannot be deleted is in the state file for the next start.

        @return: fires when no socket and no timer is left, after L{STOP_SECONDS} at most.
        """
        self._watcher.stop()
        uplinks, self._uplinks = tuple(self._uplinks.values()), {}
        services, self._services = self._services, None
        ended = DeferredList([uplink.stop(DELETION_SECONDS) for uplink in uplinks], consumeErrors=True)
        stopped: Deferred[None] = Deferred()
        expiry = self._reactor.callLater(STOP_SECONDS, stopped.callback, None)

        def finish(_: Any) -> None:
            if expiry.active():
                expiry.cancel()
                stopped.callback(None)

        ended.addBoth(finish)
        if services is not None:
            stopped.addCallback(lambda _: services.journal.close())
        return stopped.addCallback(self._stop_telling)

    def add(self, wanted: WantedMapping) -> None:
        """
        Want one more port.

        @raises ValueError: one of that name, transport and family is wanted already.
        """
        if wanted.key in self._wanted:
            raise ValueError(f"{wanted.name} is mapped already")
        self._wanted[wanted.key] = wanted
        if self._services is not None:
            if wanted.family in self._uplinks:
                self._uplinks[wanted.family].add(wanted)
            else:
                self._open_uplink(wanted.family)
            self._note_change()

    def remove(self, name: str) -> Deferred[None]:
        """
        Want all ports of C{name} no longer.

        @return: fires when their mappings are deleted, or that was tried in vain.
        """
        keys = [key for key in self._wanted if key[0] == name]
        for key in keys:
            del self._wanted[key]
        removed: Deferred[Any] = DeferredList(list(map(self._let_go, keys)), consumeErrors=True)
        self._note_change()
        return removed.addCallback(lambda _: None)

    def use(self, settings: NATSettings, wanted: Iterable[WantedMapping]) -> None:
        """
        Go on by other settings, and want these ports and no others. A port that is wanted as before stays
        mapped, unless the gateway is to be asked in another way.

        @param settings: all but C{state_path}, which stays as it is.
        """
        before = self.settings
        self.settings = settings = evolve(settings, state_path=before.state_path)
        if self._services is not None:
            self._services = evolve(self._services, settings=settings)
        for uplink in self._uplinks.values():
            uplink.use(settings)
        if (settings.gateway, settings.interface) != (before.gateway, before.interface):
            self._table = evolve(self._table, gateway=settings.gateway, interface=settings.interface)
            self._watcher.use(self._table)
        now, then = {one.key: one for one in wanted}, self._wanted
        self._wanted = dict(now)
        for key in then.keys() - now.keys():
            self._let_go(key)
        if self._services is None:
            return
        opened = {one.family for one in now.values()} - self._uplinks.keys()
        for family in sorted(opened):
            self._open_uplink(family)
        for key, one in now.items():
            if one.family in opened:
                continue
            if key not in then:
                self._uplinks[one.family].add(one)
            elif then[key] != one:
                self._uplinks[one.family].replace(one)
        self._note_change()

    def report(self) -> NATReport:
        """@return: how everything stands at this moment."""
        uplinks = [uplink for _, uplink in sorted(self._uplinks.items())]
        ports = [describe_port(uplink, lease) for uplink in uplinks for lease in uplink.leases.values()]
        order = {key: place for place, key in enumerate(self._wanted)}
        ports.sort(key=lambda port: order.get(port.key, len(order)))
        ipv6_address = ""
        if any(port.family == IPV4 and port.reachable is False for port in ports):
            ipv6_address = self._find_ipv6_address()
        return NATReport(
            tuple(describe_gateway(uplink) for uplink in uplinks), add_ipv6_advice(ports, ipv6_address)
        )

    def _find_ipv6_address(self) -> str:
        """Ours, if it is one that the Internet reaches; else empty."""
        address = self._table.find_address(IPV6, "")
        return address if address and ipaddress.ip_address(address).is_global else ""

    def _let_go(self, key: tuple[str, str, int]) -> Deferred[None]:
        """Delete the mapping of a port that is not wanted any more."""
        name, transport, family = key
        self._logged.pop(key, None)
        uplink = self._uplinks.get(family)
        if uplink is None:
            return succeed(None)
        self.log.info(
            "NAT: {name} ({transport}, IPv{family}): its public port is not wanted any more",
            name=name,
            transport=transport,
            family=family,
        )
        return uplink.remove(key)

    def _open_uplink(self, family: int) -> None:
        assert self._services is not None
        uplink = self._uplinks[family] = Uplink(family, self._services)
        for wanted in self._wanted.values():
            if wanted.family == family:
                uplink.add(wanted)
        self._watcher.watch(family)

    def _route(self, family: int, choice: LinkChoice) -> None:
        uplink = self._uplinks.get(family)
        if uplink is not None:
            uplink.choose_link(choice)

    def _note_change(self) -> None:
        if self._services is not None and (self._telling is None or not self._telling.active()):
            self._telling = self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        lines = self.report().list_lines()
        for subject, line in lines.items():
            if self._logged.get(subject) != line:
                self.log.info("NAT: {report}", report=line)
        self._logged.update(lines)
        for listener in tuple(self.changed):
            listener()

    def _stop_telling(self, _: object) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
