"""
One wanted port: mapped, kept mapped, and deleted at the end.
"""

from __future__ import annotations

import enum
import random
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pmmux.nat.alarm import Alarm
from pmmux.nat.interfaces import INATClient
from pmmux.nat.mapping import (
    PERMANENT,
    Finding,
    Grant,
    Link,
    MappingRequest,
    NATRefused,
    NATUnreachable,
    Reason,
    refuse,
)
from pmmux.nat.settings import ANY_PORT, NATSettings, Reporter, WantedMapping
from pmmux.nat.state import Journal, MappingRecord

RETRY_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
REFRESH_PERMANENT_SECONDS = 1800.0
_LEAST_RENEWAL_SECONDS = 1.0
_LARGEST_RENEWAL_SECONDS = 86400.0
_RENEWAL_SHARES = (0.45, 0.5)
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})


class MappingState(enum.Enum):
    """Where a wanted port stands."""

    WAITING = "waiting"
    MAPPED = "mapped"
    RENEWING = "renewing"
    FAILED = "failed"


class Dealings(Protocol):
    """What a lease asks of the uplink that it is kept on."""

    reactor: Any
    settings: NATSettings
    reporter: Reporter
    journal: Journal
    chance: random.Random
    link: Link | None

    def ready(self) -> Deferred[None]:
        """Fires when a gateway has answered, at once where one has."""

    def answered(self) -> list[INATClient]:
        """Drivers that the gateway answers, the preferred one first."""

    def choose_local_port(self, transport: str, preferred: int) -> int:
        """A port that nobody listens on, C{preferred} if possible."""

    def is_local_port_mapped(self, lease: Lease, driver: str) -> bool:
        """Whether another lease has a mapping by this driver to the same local port."""

    async def find_holder(self, transport: str, external_port: int) -> str:
        """In words who has a port on the gateway; empty where that is not known."""

    def note_silence(self) -> None:
        """The gateway did not answer."""

    def note_change(self) -> None:
        """What a report says has changed."""


class Lease:
    """
    A port's mapping.

    @ivar grant: what the gateway gave, while it lasts.
    @ivar findings: why there is no mapping, or what is to be said of the one there is.
    @ivar internal_port: where the gateway sends traffic; 0 until it is chosen.
    """

    log = Logger()

    def __init__(self, wanted: WantedMapping, dealings: Dealings) -> None:
        self.wanted = wanted
        self.grant: Grant | None = None
        self.findings: tuple[Finding, ...] = ()
        self.internal_port = wanted.local_port
        self._dealings = dealings
        self._alarm = Alarm(dealings.reactor)
        self._ends_at: float | None = None
        self._last_public_port = wanted.public_port
        self._keeping: Deferred[None] | None = None
        self._renewing = False
        self._failed = False
        self._cancelled = False
        self._recall()

    @property
    def state(self) -> MappingState:
        """As of now: a mapping that was not renewed in time is none any more."""
        if self.remaining_seconds() is not None:
            return MappingState.RENEWING if self._renewing else MappingState.MAPPED
        return MappingState.FAILED if self._failed else MappingState.WAITING

    def remaining_seconds(self) -> float | None:
        """@return: until the mapping ends, infinity for one that does not; C{None} where there is none."""
        if self.grant is None:
            return None
        if self._ends_at is None:
            return float("inf")
        remaining: float = self._ends_at - self._dealings.reactor.seconds()
        return remaining if remaining > 0 else None

    def start(self) -> None:
        """Map the port, as soon as there is a gateway, and keep it mapped."""
        self._keeping = Deferred.fromCoroutine(self._keep())
        self._keeping.addErrback(self._log_end)

    def wake(self) -> None:
        """Ask for the mapping again now: the gateway may have lost it."""
        self._alarm.ring()

    def lose(self) -> None:
        """The way to the gateway is gone, and the mapping with it."""
        self._drop()
        self._failed = False
        self.findings = ()

    def cancel(self) -> None:
        """Renew no more."""
        self._cancelled = True
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()

    async def release(self) -> None:
        """Delete whatever this lease may have on the gateway, with the drivers that made it."""
        self.cancel()
        clients = {client.name: client for client in self._dealings.answered()}
        link = self._dealings.link
        for record in self._dealings.journal.records():
            if record.driver in clients and link is not None and self.owns(record, link):
                await self._delete(clients[record.driver], record.to_grant())
        self._drop()

    def owns(self, record: MappingRecord, link: Link) -> bool:
        """Whether a record of the journal is of this very mapping."""
        wanted = self.wanted
        return (
            (record.gateway, record.address) == (link.gateway, link.address)
            and (record.name, record.transport) == (wanted.name, wanted.transport)
            and record.internal_port == self.internal_port
            and (wanted.public_port in (ANY_PORT, record.external_port) or not self._is_fixed)
        )

    @property
    def _is_fixed(self) -> bool:
        strict = self.wanted.strict
        if strict is None:
            strict = self._dealings.settings.strict
        return strict and self.wanted.public_port != ANY_PORT

    async def _keep(self) -> None:
        failures = 0
        while not self._cancelled:
            await self._dealings.ready()
            self._alarm.quiet()
            retry_seconds = await self._attempt()
            if retry_seconds is None:
                failures = 0
                delay = self._choose_renewal_delay()
            else:
                usual = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                delay = max(usual, retry_seconds)
                failures += 1
                remaining = self.remaining_seconds()
                if remaining is not None:
                    delay = min(delay, max(remaining / 2, _LEAST_RENEWAL_SECONDS))
            await self._alarm.sleep(delay)

    async def _attempt(self) -> float | None:
        """
        Ask each driver in turn until one says yes; the next one only after a refusal.

        @return: C{None} where the port is mapped, else the seconds to wait at least.
        """
        if self.grant is not None and self.remaining_seconds() is None:
            self._drop()
        self._renewing = self.grant is not None
        findings: list[Finding] = []
        retry_seconds = 0.0
        for client in self._order_clients():
            # A driver might answer its cancelling with a refusal, as if there was another to try.
            if self._cancelled:
                break
            outcome = await self._ask(client)
            if client not in self._dealings.answered():
                # We have left that gateway meanwhile, and with it what it has given.
                return 0.0
            if isinstance(outcome, Grant):
                self._take(outcome)
                return None
            if isinstance(outcome, NATUnreachable):
                findings.append(Finding(Reason.NO_ANSWER, str(outcome)))
                self._dealings.note_silence()
                break
            findings.append(outcome.finding)
            retry_seconds = max(retry_seconds, outcome.retry_seconds)
            if self.grant is not None and self.grant.driver == client.name:
                await self._delete(client, self.grant)
                self._drop()
            if outcome.finding.reason is Reason.ADDRESS_MISMATCH:
                # Another one would map to whoever stands between us and the gateway.
                break
        self._fail(findings)
        return retry_seconds

    async def _ask(self, client: INATClient) -> Grant | NATRefused | NATUnreachable:
        try:
            return await self._map_by(client)
        except (NATRefused, NATUnreachable) as error:
            return error

    def _order_clients(self) -> list[INATClient]:
        owner = "" if self.grant is None else self.grant.driver
        return sorted(self._dealings.answered(), key=lambda client: client.name != owner)

    async def _map_by(self, client: INATClient) -> Grant:
        dealings, link = self._dealings, self._dealings.link
        if link is None:
            raise NATUnreachable("the way to the gateway is gone")
        self._check_addresses(link)
        self._choose_internal_port()
        if client.one_mapping_per_local_port and dealings.is_local_port_mapped(self, client.name):
            text = f"local port {self.internal_port} is mapped already, and {client.name} maps it only once"
            raise refuse(Reason.LOCAL_PORT_TAKEN, text)
        request = MappingRequest(
            self.wanted.transport,
            self.internal_port,
            self._last_public_port or self.internal_port,
            max(1, round(dealings.settings.lifetime_seconds)),
            self._is_fixed,
        )
        intended = request.foresee(client.name)
        dealings.journal.remember(self.wanted.name, link, intended)
        action = "renew" if self._renewing else "create"
        began = dealings.reactor.seconds()
        try:
            grant: Grant = await client.map(request)
        except (NATRefused, NATUnreachable) as error:
            reason = error.finding.reason if isinstance(error, NATRefused) else Reason.NO_ANSWER
            name = "portmap.renew.error" if self._renewing else "portmap.add.error"
            dealings.reporter.count(name, protocol=client.name, reason=reason.value)
            if isinstance(error, NATRefused) and not self._renewing:
                self._forget(link, intended)
            raise
        seconds = dealings.reactor.seconds() - began
        dealings.reporter.duration(f"portmap.{action}.duration", protocol=client.name).observe(seconds)
        if grant.external_port != intended.external_port:
            self._forget(link, intended)
        dealings.journal.remember(self.wanted.name, link, grant)
        if request.fixed and grant.external_port != request.external_port:
            await self._delete(client, grant)
            raise await self._explain_other_port(request, grant)
        return grant

    async def _explain_other_port(self, request: MappingRequest, grant: Grant) -> NATRefused:
        asked = request.external_port
        holder = await self._dealings.find_holder(request.transport, asked)
        if holder:
            return refuse(Reason.PORT_TAKEN, f"port {asked} is taken by {holder}")
        text = (
            f"asked for port {asked}, the gateway gave {grant.external_port}: {asked} is taken or in a "
            "denied range; write ? for any port"
        )
        return refuse(Reason.OTHER_PORT, text)

    def _check_addresses(self, link: Link) -> None:
        addresses = self.wanted.addresses
        if not addresses or link.address in addresses or not _WILDCARDS.isdisjoint(addresses):
            return
        text = (
            f"the listener is on {', '.join(addresses)}, but the gateway {link.gateway} sends traffic to "
            f"{link.address}"
        )
        raise refuse(Reason.WRONG_INTERFACE, text)

    def _choose_internal_port(self) -> None:
        if self.internal_port == ANY_PORT:
            preferred = self.wanted.public_port
            self.internal_port = self._dealings.choose_local_port(self.wanted.transport, preferred)

    def _recall(self) -> None:
        """Prefer the ports of the time before, where any will do."""
        for record in self._dealings.journal.records():
            if (record.name, record.transport) != (self.wanted.name, self.wanted.transport):
                continue
            if self.wanted.local_port == ANY_PORT:
                self.internal_port = self._dealings.choose_local_port(record.transport, record.internal_port)
            if self.wanted.public_port == ANY_PORT:
                self._last_public_port = record.external_port

    def _take(self, grant: Grant) -> None:
        before, self.grant = self.grant, grant
        permanent = grant.lifetime_seconds == PERMANENT
        self._ends_at = None if permanent else self._dealings.reactor.seconds() + grant.lifetime_seconds
        self._renewing = self._failed = False
        if self.wanted.public_port == ANY_PORT:
            self._last_public_port = grant.external_port
        self.findings = tuple(self._find_oddities(grant))
        reporter = self._dealings.reporter
        reporter.count("portmap.renewed" if before else "portmap.created", protocol=grant.driver)
        if before is None:
            self._tell("portmap.added", grant)
        elif _identify(before) != _identify(grant):
            self._tell("portmap.changed", grant)
        self._dealings.note_change()

    def _find_oddities(self, grant: Grant) -> list[Finding]:
        findings = []
        asked = self.wanted.public_port
        if asked not in (ANY_PORT, grant.external_port):
            text = f"asked for port {asked}, the gateway gave {grant.external_port}"
            findings.append(Finding(Reason.OTHER_PORT, text))
        if grant.lifetime_seconds == PERMANENT:
            text = "the gateway knows permanent mappings only: this one stays if we end without deleting it"
            findings.append(Finding(Reason.PERMANENT_ONLY, text))
        return findings

    def _fail(self, findings: list[Finding]) -> None:
        self._failed = True
        unchanged = tuple(findings) == self.findings
        self.findings = tuple(findings)
        if not unchanged:
            self._dealings.note_change()

    def _drop(self) -> None:
        grant, self.grant = self.grant, None
        self._ends_at = None
        self._renewing = False
        if grant is not None:
            self._tell("portmap.removed", grant)
            self._dealings.note_change()

    async def _delete(self, client: INATClient, grant: Grant) -> None:
        """Delete as far as the gateway lets us; what is left is in the journal."""
        dealings, link = self._dealings, self._dealings.link
        began = dealings.reactor.seconds()
        try:
            await client.unmap(grant)
        except (NATRefused, NATUnreachable) as error:
            reason = error.finding.reason if isinstance(error, NATRefused) else Reason.NO_ANSWER
            dealings.reporter.count("portmap.delete.error", protocol=client.name, reason=reason.value)
            return
        seconds = dealings.reactor.seconds() - began
        dealings.reporter.duration("portmap.delete.duration", protocol=client.name).observe(seconds)
        dealings.reporter.count("portmap.deleted", protocol=client.name)
        if link is not None:
            self._forget(link, grant)

    def _forget(self, link: Link, grant: Grant) -> None:
        record = self._dealings.journal.find(link, grant)
        if record is not None:
            self._dealings.journal.forget(record)

    def _choose_renewal_delay(self) -> float:
        assert self.grant is not None
        lifetime, lead = self.grant.lifetime_seconds, self._dealings.settings.renewal_lead_seconds
        if lifetime == PERMANENT:
            return REFRESH_PERMANENT_SECONDS
        if lead is not None and lead < lifetime:
            delay = lifetime - lead
        else:
            delay = lifetime * self._dealings.chance.uniform(*_RENEWAL_SHARES)
        return min(max(delay, _LEAST_RENEWAL_SECONDS), _LARGEST_RENEWAL_SECONDS)

    def _tell(self, event: str, grant: Grant) -> None:
        self._dealings.reporter.event(
            event,
            name=self.wanted.name,
            transport=grant.transport,
            protocol=grant.driver,
            public_port=str(grant.external_port),
            local_port=str(grant.internal_port),
        )

    def _log_end(self, failure: Any) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("NAT: the mapping of {name} is given up", failure, name=self.wanted.name)


def _identify(grant: Grant) -> tuple[str, int, str]:
    return (grant.driver, grant.external_port, grant.external_address)
