"""Reaching an upstream: names resolved and kept, several addresses raced."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.errors import UpstreamError
from pmmux.model import Address

# RFC 8305 section 5: the connection attempt delay.
ATTEMPT_DELAY_SECONDS = 0.25
FRESH_SECONDS = 30.0
# A name that can no longer be resolved keeps its last addresses for so long.
STALE_SECONDS = 3600.0


def literal_address(host: str, port: int) -> Address | None:
    """C{host} as an L{Address} where it is an IP address; C{None} where it is a name."""
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return Address(str(parsed.ipv4_mapped), port)
        return Address(host, port, "ipv6")
    return Address(host, port)


def _address_of(target: Any) -> Address | None:
    if target.unix_path is not None:
        return Address(target.unix_path, 0, "unix")
    return literal_address(target.host, target.port)


_UNKNOWN = object()


@implementer(IResolutionReceiver)
class _Collector:
    """Collects what the reactor's resolver finds."""

    def __init__(self, done: Deferred[list[tuple[str, str]]]) -> None:
        self._done = done
        self._found: list[tuple[str, str]] = []

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        """It cannot be cancelled: it runs in a thread."""

    def addressResolved(self, address: Any) -> None:
        """One more address."""
        self._found.append((address.host, "ipv6" if ":" in address.host else "ipv4"))

    def resolutionComplete(self) -> None:
        """All addresses are known."""
        self._done.callback(self._found)


@define(slots=True, eq=False)
class _Name:
    hosts: list[tuple[str, str]]
    resolved_at: float
    refreshing: bool = False


class NameCache:
    """
    The addresses of names. A name is resolved again when it has aged, while its last addresses go on
    being used; connections do not wait for that.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._names: dict[str, _Name] = {}
        self._waiting: dict[str, list[Deferred[list[tuple[str, str]]]]] = {}

    async def resolve(self, host: str) -> list[tuple[str, str]]:
        """
        @return: hosts and families, in the resolver's order.
        @raises UpstreamError: the name has no address.
        """
        now = self._reactor.seconds()
        name = self._names.get(host)
        if name is not None and now - name.resolved_at < STALE_SECONDS:
            if now - name.resolved_at >= FRESH_SECONDS and not name.refreshing:
                name.refreshing = True
                Deferred.fromCoroutine(self._refresh(host)).addErrback(self._keep_stale, name)
            return name.hosts
        return await self._refresh(host)

    async def _refresh(self, host: str) -> list[tuple[str, str]]:
        mine: Deferred[list[tuple[str, str]]] = Deferred()
        waiting = self._waiting.get(host)
        if waiting is None:
            waiting = self._waiting[host] = [mine]
            done: Deferred[list[tuple[str, str]]] = Deferred()
            done.addCallback(self._resolved, host)
            self._reactor.nameResolver.resolveHostName(_Collector(done), host)
        else:
            # One lookup at a time is enough for a name: each takes a thread of the resolver.
            waiting.append(mine)
        hosts = await mine
        if not hosts:
            raise UpstreamError(host, "the name has no address")
        return hosts

    def _resolved(self, hosts: list[tuple[str, str]], host: str) -> None:
        if hosts:
            self._names[host] = _Name(hosts, self._reactor.seconds())
        for each in self._waiting.pop(host):
            if not each.called:
                each.callback(hosts)

    def _keep_stale(self, failure: Failure, name: _Name) -> None:
        failure.trap(UpstreamError)  # type: ignore[no-untyped-call]
        name.refreshing = False


def interleave(hosts: Sequence[tuple[str, str]], port: int) -> list[Address]:
    """The order in which addresses are tried: families in turn (RFC 8305 section 4)."""
    first_family = hosts[0][1]
    preferred = [Address(host, port, family) for host, family in hosts if family == first_family]
    others = [Address(host, port, family) for host, family in hosts if family != first_family]
    return [address for address in chain(*zip_longest(preferred, others)) if address is not None]


class Connector:
    """Connects to configured targets over a data path."""

    def __init__(self, reactor: Any, data_path: Any) -> None:
        """@param data_path: L{pmmux.transport.interfaces.IDataPath}"""
        self._reactor = reactor
        self._data_path = data_path
        self._names = NameCache(reactor)
        # Bounded by the targets that the configuration has.
        self._literals: dict[Any, Any] = {}

    async def connect(self, target: Any, timeout_seconds: float) -> Any:
        """
        Connect to C{target}.

        @param target: L{pmmux.config.values.Target}
        @return: the upstream's stream.
        @raises UpstreamError: none of its addresses could be reached within the time-out.
        """
        literal = self._literals.get(target, _UNKNOWN)
        if literal is _UNKNOWN:
            literal = self._literals[target] = _address_of(target)
        if literal is not None:
            return await self._data_path.connect(literal, timeout_seconds)
        attempt: Deferred[Any] = Deferred.fromCoroutine(self._connect_by_name(target, timeout_seconds))
        attempt.addTimeout(timeout_seconds, self._reactor, onTimeoutCancel=_time_out(target))
        return await attempt

    async def _connect_by_name(self, target: Any, timeout_seconds: float) -> Any:
        hosts = await self._names.resolve(target.host)
        addresses = interleave(hosts, target.port)
        if len(addresses) == 1:
            return await self._data_path.connect(addresses[0], timeout_seconds)
        return await _Race(self._reactor, self._data_path, addresses, timeout_seconds).run()


def _time_out(target: Any) -> Any:
    def fail(value: Any, seconds: float) -> Any:
        return Failure(UpstreamError(str(target), f"not connected within {seconds:g} s"))  # type: ignore[no-untyped-call]

    return fail


class _Race:
    """Happy Eyeballs (RFC 8305 section 5): one more address each delay or failure; the first one wins."""

    def __init__(
        self, reactor: Any, data_path: Any, addresses: list[Address], timeout_seconds: float
    ) -> None:
        self._reactor = reactor
        self._data_path = data_path
        self._waiting = addresses
        self._timeout_seconds = timeout_seconds
        self._running: list[Deferred[Any]] = []
        self._errors: list[str] = []
        self._next: Any = None
        self._won = False
        self._result: Deferred[Any] = Deferred(lambda _: self._stop())

    async def run(self) -> Any:
        self._start_one()
        return await self._result

    def _start_one(self) -> None:
        self._next = None
        address = self._waiting.pop(0)
        if self._waiting:
            self._next = self._reactor.callLater(ATTEMPT_DELAY_SECONDS, self._start_one)
        attempt: Deferred[Any] = Deferred.fromCoroutine(
            self._data_path.connect(address, self._timeout_seconds)
        )
        self._running.append(attempt)
        attempt.addCallbacks(self._win, self._lose, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _win(self, stream: Any, attempt: Deferred[Any]) -> None:
        if self._won:
            stream.transport.abortConnection()
            return
        self._running.remove(attempt)
        self._stop()
        self._result.callback(stream)

    def _lose(self, failure: Failure, attempt: Deferred[Any]) -> None:
        if self._won:
            return
        failure.trap(UpstreamError, CancelledError)  # type: ignore[no-untyped-call]
        self._running.remove(attempt)
        self._errors.append(str(failure.value))
        if self._waiting:
            if self._next is not None:
                self._next.cancel()
            self._start_one()
        elif not self._running:
            self._won = True
            self._result.errback(UpstreamError(self._errors[0].partition(": ")[0], "; ".join(self._errors)))

    def _stop(self) -> None:
        self._won = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for attempt in self._running:
            attempt.cancel()
