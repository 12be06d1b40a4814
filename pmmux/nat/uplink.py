"""
One way to the outside: the gateway, the drivers it answers, and the leases kept on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from pmmux.nat.alarm import Alarm
from pmmux.nat.announcements import AnnouncementListener
from pmmux.nat.discovery import Discovery
from pmmux.nat.grants import choose_clients_to_poll, list_grants
from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.lease import RETRY_SECONDS, Lease
from pmmux.nat.leftovers import delete_all, delete_leftovers, wait_for_all
from pmmux.nat.local_ports import find_free_port
from pmmux.nat.mapping import (
    DriverContext,
    Finding,
    GatewayFacts,
    Link,
    NATRefused,
    NATUnreachable,
)
from pmmux.nat.opening import open_clients
from pmmux.nat.report import ProtocolReport
from pmmux.nat.routes import LinkChoice
from pmmux.nat.settings import NATSettings, Reporter, WantedMapping
from pmmux.nat.state import Journal, MappingRecord

DEBOUNCE_SECONDS = 0.2
LEAST_REMAP_SECONDS = 1.0
MOST_SILENCES = 3
PARTING_SECONDS = 1.0
_SILENT_POLL_SECONDS = 2.0
_LEAST_POLL_SHARE = 0.75


@frozen
class UplinkServices:
    """
    What uplinks share.

    @ivar changed: called when a report has changed.
    """

    reactor: Any
    settings: NATSettings
    drivers: Sequence[INATDriver]
    journal: Journal
    reporter: Reporter
    chance: random.Random
    changed: Callable[[], None]


class Uplink:
    """
    The L{pmmux.nat.lease.Dealings} with the gateway of one address family.

    @ivar link: the way to the gateway; C{None} while there is none.
    @ivar findings: why there is none, or what is odd about it.
    @ivar leases: the wanted ports.
    @ivar discovery: the dealings with the gateway; C{None} where there are none.
    @ivar is_ready: whether the gateway has answered.
    @ivar external_address: the gateway's, as told without a mapping; empty where it is not known.
    @ivar unavailable: drivers that cannot be used, and why.
    """

    log = Logger()

    def __init__(self, family: int, services: UplinkServices) -> None:
        self.family = family
        self.link: Link | None = None
        self.reactor = services.reactor
        self.settings = services.settings
        self.journal = services.journal
        self.reporter = services.reporter
        self.chance = services.chance
        self.leases: dict[tuple[str, str, int], Lease] = {}
        self._services = services
        self._alarm = Alarm(services.reactor)
        self.external_address = ""
        self.findings: tuple[Finding, ...] = ()
        self.unavailable: list[ProtocolReport] = []
        self.discovery: Discovery | None = None
        self.is_ready = False
        self._complained_of: set[str] = set()
        self._waiters: list[Deferred[None]] = []
        self._dealing: Deferred[None] | None = None
        self._partings: set[Deferred[Any]] = set()
        self._remap_timer: Any = None
        self._poll_timer: Any = None
        self._remapped_at = float("-inf")

    def choose_link(self, choice: LinkChoice) -> None:
        """The routes are such from now on; called by the watcher."""
        self.findings = choice.findings
        if choice.link != self.link:
            self._part()
            self._approach(choice.link)
        self.note_change()

    def use(self, settings: NATSettings) -> None:
        """
        Go on by other settings. Where they are about how a gateway is asked, its mappings are deleted and
        made anew; where they are about the mappings, those are renewed.
        """
        before, self.settings = self.settings, settings
        link = self.link
        if link is None or settings == before:
            return
        if (settings.protocols, settings.timeout_seconds) != (before.protocols, before.timeout_seconds):
            parting = self._part()
            self._approach(link, after=parting)
            self.note_change()
        elif settings.terms != before.terms:
            self._remap()
        else:
            self._alarm.ring()

    def add(self, wanted: WantedMapping) -> None:
        """Map one more port."""
        lease = self.leases[wanted.key] = Lease(wanted, self)
        lease.start()

    def remove(self, key: tuple[str, str, int]) -> Deferred[None]:
        """Delete a mapping. @return: fires when that is done, or was tried in vain."""
        return Deferred.fromCoroutine(self.leases.pop(key).release())

    def replace(self, wanted: WantedMapping) -> None:
        """Map what C{wanted} is now; a mapping of other ports that has its key is deleted first."""
        before = self.leases[wanted.key]
        if before.wanted.ports == wanted.ports:
            before.wanted = wanted
            before.wake()
            return
        removed = self.remove(wanted.key)
        lease = self.leases[wanted.key] = Lease(wanted, self)
        # Not before: by some protocols a local port is all that a deletion names.
        removed.addBoth(lambda _: lease.start())

    def stop(self, timeout_seconds: float) -> Deferred[Any]:
        """
        Delete all mappings, within C{timeout_seconds}, and end all dealings.

        @return: fires when no socket and no timer is left.
        """
        leases, self.leases = tuple(self.leases.values()), {}
        releases = [Deferred.fromCoroutine(lease.release()) for lease in leases]
        deleted = wait_for_all(self.reactor, releases, timeout_seconds)

        def end(_: Any) -> Deferred[Any]:
            self._part(delete=False)
            return DeferredList(list(self._partings), consumeErrors=True)

        return deleted.addBoth(end)

    def ready(self) -> Deferred[None]:
        """@see: L{pmmux.nat.lease.Dealings.ready}"""
        waiter: Deferred[None] = Deferred(self._forget_waiter)
        if self.is_ready:
            waiter.callback(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def answered(self) -> list[INATClient]:
        """@see: L{pmmux.nat.lease.Dealings.answered}"""
        return self.discovery.answered() if self.discovery is not None else []

    def choose_local_port(self, transport: str, preferred: int) -> int:
        """@see: L{pmmux.nat.lease.Dealings.choose_local_port}"""
        return find_free_port(transport, self.family, preferred)

    def is_local_port_mapped(self, lease: Lease, driver: str) -> bool:
        """@see: L{pmmux.nat.lease.Dealings.is_local_port_mapped}"""
        others = (other for other in self.leases.values() if other is not lease)
        wanted = (lease.wanted.transport, lease.internal_port)
        return wanted in [(each.transport, each.internal_port) for each in list_grants(others, driver)]

    async def find_holder(self, transport: str, external_port: int) -> str:
        """@see: L{pmmux.nat.lease.Dealings.find_holder}"""
        for client in self.answered():
            try:
                holder = await client.find_holder(transport, external_port)
            except (NATRefused, NATUnreachable):
                continue
            if holder:
                return holder
        link = self.link
        former = "" if link is None else self.journal.find_former_address(link, transport, external_port)
        return f"this machine's former address {former}, until that mapping ends" if former else ""

    def note_silence(self) -> None:
        """@see: L{pmmux.nat.lease.Dealings.note_silence}"""
        self._alarm.ring()

    def note_change(self) -> None:
        """@see: L{pmmux.nat.lease.Dealings.note_change}"""
        self._services.changed()

    def _approach(self, link: Link | None, after: Deferred[None] | None = None) -> None:
        """Begin dealings over C{link}, at once or when C{after} has fired."""
        self.link = link
        if link is not None:
            self._dealing = Deferred.fromCoroutine(self._deal(link, after))
            self._dealing.addErrback(self._log_end)

    async def _deal(self, link: Link, after: Deferred[None] | None) -> None:
        """Find out what the gateway speaks, again whenever it has fallen silent."""
        if after is not None:
            await after
        listener = AnnouncementListener(self.reactor, link, self._hear_restart, self._hear_hint)
        listener.start()
        failures = 0
        discovery = None
        try:
            while self.discovery is discovery:
                discovery = Discovery(
                    self.reactor, self._open_clients(link), self._hear_late_answer, self.note_change
                )
                self.discovery = discovery
                if await discovery.run():
                    failures = 0
                    await self._clean(link, discovery.answered())
                    self._become_ready(discovery)
                    await self._poll(discovery)
                    self._become_unready(discovery)
                    await discovery.close()
                else:
                    await discovery.close()
                    self.note_change()
                    await self._alarm.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1
        finally:
            self._become_unready(discovery)
            if discovery is not None:
                await discovery.close()
            await listener.stop()

    def _open_clients(self, link: Link) -> list[INATClient]:
        context = DriverContext(
            self.reactor,
            link,
            self.settings.timeout_seconds,
            self.journal.nonce,
            self._hear_restart,
            self.chance,
        )
        names = self.settings.protocols
        clients, self.unavailable = open_clients(names, self._services.drivers, self.family, context)
        for report in self.unavailable:
            if report.name not in self._complained_of:
                self._complained_of.add(report.name)
                self.log.warn("NAT: {text}", text=report.text)
        return clients

    def _become_ready(self, discovery: Discovery) -> None:
        self.external_address = ""
        self._take_new_facts(discovery)
        self.is_ready = True
        # Those that sleep until a renewal first; those that wait for us would hear it as a second call.
        for lease in self.leases.values():
            lease.wake()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self.note_change()

    def _become_unready(self, discovery: Discovery | None) -> None:
        # While one gateway is being left, another may have answered.
        if self.discovery is discovery:
            self.is_ready = False

    def _hear_late_answer(self) -> None:
        """One more driver to clean up with, and to try for the ports that the others refused."""
        link, discovery = self.link, self.discovery
        if link is None or discovery is None:
            return
        self._take_new_facts(discovery)
        cleaned = Deferred.fromCoroutine(self._clean(link, discovery.answered()))
        cleaned.addCallback(lambda _: self._wake_failed())
        cleaned.addErrback(self._log_end)
        self.note_change()

    def _wake_failed(self) -> None:
        for lease in self.leases.values():
            if lease.grant is None:
                lease.wake()

    async def _clean(self, link: Link, clients: Sequence[INATClient]) -> None:
        """Delete what an earlier process left behind, before anything is mapped."""

        def is_wanted(record: MappingRecord) -> bool:
            return any(lease.owns(record, link) for lease in self.leases.values())

        await delete_leftovers(self, link, clients, is_wanted)

    async def _poll(self, discovery: Discovery) -> None:
        """Ask every now and then whether the gateway still knows us, until it no longer answers."""
        silences = 0
        while silences < MOST_SILENCES and self.discovery is discovery:
            share = self.chance.uniform(_LEAST_POLL_SHARE, 1)
            await self._alarm.sleep(_SILENT_POLL_SECONDS if silences else self.settings.poll_seconds * share)
            silent = False
            for client in choose_clients_to_poll(discovery.answered(), self.leases.values()):
                grants = list_grants(self.leases.values(), client.name)
                try:
                    facts = await client.poll(grants)
                except (NATRefused, NATUnreachable):
                    # One that is asked for the address only may fall silent.
                    silent = silent or bool(grants) or client is discovery.answered()[0]
                    continue
                if self._take_facts(facts) or facts.lost:
                    self._hear_restart()
            silences = silences + 1 if silent else 0

    def _take_new_facts(self, discovery: Discovery) -> None:
        for candidate in discovery.candidates:
            if candidate.facts is not None and not self.external_address:
                self._take_facts(candidate.facts)

    def _take_facts(self, facts: GatewayFacts) -> bool:
        """@return: whether the external address has changed."""
        before = self.external_address
        if not facts.external_address or facts.external_address == before:
            return False
        self.external_address = facts.external_address
        self.note_change()
        return bool(before)

    def _hear_restart(self) -> None:
        """The gateway may have lost its mappings: ask for all of them again, soon and once."""
        if self._remap_timer is not None and self._remap_timer.active():
            return
        quiet_until = self._remapped_at + LEAST_REMAP_SECONDS
        delay = max(DEBOUNCE_SECONDS, quiet_until - self.reactor.seconds())
        self._remap_timer = self.reactor.callLater(delay, self._remap)

    def _hear_hint(self) -> None:
        """The gateway said something: ask it soon, and once, what that meant."""
        if self._poll_timer is None or not self._poll_timer.active():
            self._poll_timer = self.reactor.callLater(LEAST_REMAP_SECONDS, self._alarm.ring)

    def _remap(self) -> None:
        self._remapped_at = self.reactor.seconds()
        self._alarm.ring()
        for lease in self.leases.values():
            lease.wake()

    def _part(self, delete: bool = True) -> Deferred[None] | None:
        """
        The way to the gateway is another one now, or none, or we stop.

        @return: fires when the leave is taken; C{None} where there is none to take.
        """
        link, discovery, self.link = self.link, self.discovery, None
        self.is_ready = False
        self.discovery = None
        self.external_address = ""
        for timer in (self._remap_timer, self._poll_timer):
            if timer is not None and timer.active():
                timer.cancel()
        dealing, self._dealing = self._dealing, None
        if dealing is None or link is None:
            return None
        parting = Deferred.fromCoroutine(self._take_leave(link, discovery, dealing, delete))
        self._partings.add(parting)
        # One that its waiter may cancel without an end of the leave-taking.
        parted: Deferred[None] = Deferred()
        parting.addBoth(lambda _: self._partings.discard(parting))
        parting.addBoth(lambda _: parted.callback(None))
        for lease in self.leases.values():
            lease.lose()
        return parted

    async def _take_leave(
        self, link: Link, discovery: Discovery | None, dealing: Deferred[None], delete: bool
    ) -> None:
        """Delete at the old gateway, from the old address, where that still goes; then close."""
        if delete and discovery is not None:
            await delete_all(self, link, discovery.answered(), PARTING_SECONDS)
        dealing.cancel()
        await dealing

    def _forget_waiter(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _log_end(self, failure: Any) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("NAT: dealings on IPv{family} have ended", failure, family=self.family)
