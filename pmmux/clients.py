"""Which clients may connect, how many at a time from one address, and how fast."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pmmux.access import AccessRecord
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.errors import OUTCOME_LIMIT_REACHED, Fault, RouteError
from pmmux.metrics.reporter import CountersByLabel, MetricReporter
from pmmux.model import Client, OptionKey, SectionValues
from pmmux.networks import WatchedNetworks, read_networks
from pmmux.sites import site_of

LARGEST_RATE = 1_000_000
PER_ADDRESS = "max-connections-per-address"
RATE = "max-connection-rate-per-address"
_NETWORKS = "IP addresses or networks"

LIST_OPTIONS = (
    Option(
        "allow", values.network, _NETWORKS, (), listed=True, description="Who may connect; absent: anybody."
    ),
    Option("deny", values.network, _NETWORKS, (), listed=True, description="Who may not, allowed or not."),
    Option(
        "allow-file",
        values.text,
        "a path",
        description="A file of further ones that may, one a line; read again when it changes.",
    ),
    Option("deny-file", values.text, "a path", description="As `allow-file`, of those that may not."),
)
CLIENT_OPTIONS = (
    Option(
        RATE,
        values.integer(1, LARGEST_RATE),
        f"a number from 1 to {LARGEST_RATE}",
        description="New connections per second from one client address; absent: any number.",
    ),
    *LIST_OPTIONS,
)
_ANNOUNCING = frozenset({"use", "require"})


def is_announced(listener: ListenerSpec) -> bool:
    """Whether a PROXY header may tell who the client is, so that the peer's address is not the client's."""
    return listener.options.get("proxy-protocol") in _ANNOUNCING


def list_faults(settings: Settings) -> list[Fault]:
    """Files of addresses that cannot be used."""
    faults = []
    for section in (settings.globals, *(listener.options for listener in settings.listeners)):
        for name in ("allow-file", "deny-file"):
            path = section.get(name)
            if path is None:
                continue
            try:
                read_networks(path)
            except OSError as error:
                faults.append(Fault(section.where(OptionKey(name)), f"{path}: {error.strerror}"))
            except ValueError as error:
                faults.append(Fault(section.where(OptionKey(name)), f"{path}: {error}", _NETWORKS))
    return faults


class _Lists:
    def __init__(self, options: SectionValues, seconds: Callable[[], float]) -> None:
        self.allowed = WatchedNetworks(options.get("allow") or (), options.get("allow-file"), seconds)
        self.denied = WatchedNetworks(options.get("deny") or (), options.get("deny-file"), seconds)
        self.are_configured = self.allowed.is_configured or self.denied.is_configured

    def refusal(self, host: str) -> str:
        if self.denied.is_configured and host in self.denied:
            return "the address is denied"
        if self.allowed.is_configured and host not in self.allowed:
            return "the address is not allowed"
        return ""


class ClientLimits:
    """
    What C{[pmmux]} and listeners say of clients. Of IPv6 addresses, each /64 counts as one.

    @ivar is_configured: whether there is anything to ask.
    """

    def __init__(self, clock: Any, reporter: MetricReporter, log: Callable[[AccessRecord], None]) -> None:
        """@param log: takes the record of each connection that is refused."""
        self.is_configured = False
        self._seconds: Callable[[], float] = clock.seconds
        self._log = log
        self._total = reporter.counter("router.connection.total")
        self._failed = reporter.counter("router.connection.failed")
        self._ended = CountersByLabel(reporter, "router.connection.ended", "outcome")
        self._per_address: int | None = None
        self._rate: int | None = None
        self._lists: Mapping[str, tuple[_Lists, ...]] = {}
        self._sites: dict[int, Any] = {}
        self._open: Counter[Any] = Counter()
        # New ones, this second and the last: what is held is bounded by what two seconds bring.
        self._second = 0
        self._fresh: Counter[Any] = Counter()
        self._before: Counter[Any] = Counter()

    def use(self, settings: Settings) -> None:
        """Take what C{settings} say, from now on; what is counted stays."""
        self._per_address = settings.globals.get(PER_ADDRESS)
        self._rate = settings.globals.get(RATE)
        common = _Lists(settings.globals, self._seconds)
        lists = {}
        for listener in settings.listeners:
            both = (common, _Lists(listener.options, self._seconds))
            lists[listener.name] = tuple(each for each in both if each.are_configured)
        self._lists = lists
        self.is_configured = bool(self._per_address or self._rate or any(lists.values()))

    def are_for(self, listener: str) -> bool:
        """Whether there is anything to ask for a connection of C{listener}."""
        return bool(self._per_address or self._rate or self._lists.get(listener))

    def is_listed_out(self, listener: str, host: str) -> bool:
        """Whether the lists keep C{host} from C{listener}."""
        return any(lists.refusal(host) for lists in self._lists.get(listener, ()))

    def enter(self, identifier: int, listener: str, client: Client) -> str:
        """
        Count a connection, until L{leave}, where it may be.

        @return: why it may not; empty where it may.
        """
        remote = client.remote
        for lists in self._lists.get(listener, ()):
            refusal = lists.refusal(remote.host)
            if refusal:
                return refusal
        if remote.family == "unix" or not (self._per_address or self._rate):
            return ""
        site = site_of(remote.host)
        if self._rate is not None and self._count(site) > self._rate:
            return f"more than {self._rate} connections a second from one address"
        if self._per_address is not None:
            if self._open[site] >= self._per_address:
                return f"{self._per_address} connections are open from one address"
            self._open[site] += 1
            self._sites[identifier] = site
        return ""

    def leave(self, identifier: int) -> None:
        """A connection has ended, counted or not."""
        site = self._sites.pop(identifier, None)
        if site is not None:
            self._open[site] -= 1
            if not self._open[site]:
                del self._open[site]

    def admit(self, identifier: int, listener: str, client: Client) -> bool:
        """As L{enter}, at the door: who may not is logged and counted as refused."""
        refusal = self.enter(identifier, listener, client)
        if not refusal:
            return True
        self._total.add()
        self._failed.add()
        self._ended[OUTCOME_LIMIT_REACHED].value += 1
        outcome = OUTCOME_LIMIT_REACHED
        self._log(
            AccessRecord(
                time.time(), 0.0, listener, "tcp", str(client.remote), outcome, identifier, detail=refusal
            )
        )
        return False

    def admit_announced(self, identifier: int, listener: str, client: Client) -> None:
        """
        As L{enter}, where a PROXY header has told who the client is.

        @raises RouteError: it may not be.
        """
        refusal = self.enter(identifier, listener, client)
        if refusal:
            raise RouteError(OUTCOME_LIMIT_REACHED, refusal)

    def _count(self, site: Any) -> float:
        """@return: how many came within the last second, this one counted."""
        now = self._seconds()
        second = int(now)
        if second != self._second:
            self._before = self._fresh if second == self._second + 1 else Counter()
            self._fresh = Counter()
            self._second = second
        # Of the last second as much as lies within one second from now, as if they had come evenly.
        recent = self._fresh[site] + self._before[site] * (1 - (now - second)) + 1
        if self._rate is not None and recent <= self._rate:
            self._fresh[site] += 1
        return recent
