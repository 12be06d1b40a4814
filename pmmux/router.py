"""The router: which backends there are, and which one a connection is for."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence, Set
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from pmmux.candidates import Candidates
from pmmux.errors import OUTCOME_CLIENT_GONE, OUTCOME_NO_BACKEND, RouteError
from pmmux.inspection import Inspection
from pmmux.interfaces import IConnectionBackend, IDatagramBackend, IProtocolBackend, IRouter
from pmmux.members import Member, MemberIndex
from pmmux.metrics.catalogue import (
    BACKEND_CONNECTION_ACCEPTED,
    BACKEND_CONNECTION_CLOSED,
    BACKEND_CONNECTIONS_ACTIVE,
)
from pmmux.model import BackendInfo, RouteTrace, Status

TCP, UDP = "tcp", "udp"
_SET_ASIDE = frozenset({Status.DRAINING, Status.STOPPED})


@implementer(IRouter)
class Router:
    """
    Owns the backends and chooses among those of the transport.

    It knows no protocol: conditions ask the inspection, the strategy chooses.
    """

    def __init__(self, strategy: Any, reporter: Any) -> None:
        """
        @param strategy: L{pmmux.interfaces.IRoutingStrategy}
        @param reporter: L{pmmux.metrics.reporter.MetricReporter}
        """
        self.use(strategy)
        self._reporter = reporter
        self._members: list[Member] = []
        self._by_name: dict[str, Member] = {}
        self._indexes: dict[str, MemberIndex] = {}
        self._draining: dict[int, tuple[Member, Callable[[], None]]] = {}
        self._watchers: tuple[Callable[[str, Member], None], ...] = ()

    def use(self, strategy: Any) -> None:
        """Choose by C{strategy} from now on."""
        self.strategy = strategy
        self._takes_first: bool = getattr(strategy, "takes_first", False)

    def order(self, names: Sequence[str]) -> None:
        """Ask members in this order from now on; those that are not in it come last, as they stand."""
        rank = {name: place for place, name in enumerate(names)}
        self._members.sort(key=lambda member: rank.get(member.name, len(rank)))
        self._indexes.clear()

    async def select(
        self, inspection: Inspection, trace: RouteTrace, exclude: Set[str] = frozenset()
    ) -> Member:
        """See L{pmmux.interfaces.IRouter.select}."""
        trace.strategy = self.strategy.name
        index = self._index_for(inspection.client.transport)
        candidates = Candidates(index.in_order(inspection), inspection, trace, exclude)
        chosen: Member | None = await self.strategy.choose(
            inspection.client, inspection.properties, candidates
        )
        if chosen is not None:
            trace.chosen = chosen.name
            return chosen
        preview = inspection.preview
        if preview.size == 0 and getattr(preview, "ended", False):
            raise RouteError(OUTCOME_CLIENT_GONE, "the client said nothing and closed")
        raise RouteError(OUTCOME_NO_BACKEND, "no backend matches")

    def select_now(self, inspection: Inspection, refused: list[Member]) -> Member | None:
        """
        Choose without waiting and without a coroutine, where that gives what L{select} would give.

        @param refused: takes the members that were looked at before.
        @return: C{None} where L{select} must be asked.
        """
        if not self._takes_first:
            return None
        return self._index_for(inspection.client.transport).first_now(inspection, refused)

    def asks_names_first(self) -> bool:
        """Whether L{select_named} may find something."""
        return self._takes_first and self._index_for(TCP).asks_names_first

    def select_named(self, server_name: str, refused: list[Member]) -> Member | None:
        """
        Choose as L{select_now}, for a TLS connection of which nothing but the name in its hello is known;
        to be called where L{asks_names_first} says so.
        """
        return self._index_for(TCP).first_named(server_name, refused)

    def must_hear_first(self, probes: Container[str]) -> bool:
        """
        Whether the first backend that may be had depends on what the client says, on nothing else.

        @param probes: the names of those for connections.
        """
        return self._index_for(TCP).must_hear_first(probes)

    def _index_for(self, transport: str) -> MemberIndex:
        index = self._indexes.get(transport)
        if index is None:
            members = tuple(member for member in self._members if _may_take(member, transport))
            index = self._indexes[transport] = MemberIndex(members)
        return index

    def opened(self, member: Member) -> None:
        """Traffic was routed to C{member}."""
        member.routed += 1
        member.active += 1

    def closed(self, member: Member) -> None:
        """What L{opened} counted has ended."""
        member.active -= 1
        if member.capacity is not None:
            member.capacity.wake(member.active)
        if member.active == 0 and id(member) in self._draining:
            self._draining.pop(id(member))[1]()

    def member(self, name: str) -> Member | None:
        """The member C{name}; C{None} where there is none."""
        return self._by_name.get(name)

    def members(self) -> tuple[Member, ...]:
        """All that may be offered, in definition order."""
        return tuple(self._members)

    def backends(self) -> tuple[BackendInfo, ...]:
        """All that may be offered, as values, in definition order."""
        return tuple(member.info() for member in self._members)

    def retiring(self) -> tuple[Member, ...]:
        """Those that were removed or replaced, and whose connections have not all ended."""
        return tuple(member for member, _ in self._draining.values())

    def watch(self, watcher: Callable[[str, Member], None]) -> Callable[[], None]:
        """
        Call C{watcher} with C{"added"} or C{"removed"} and the member, from now on: for a replacement
        both; for a member that is disabled and enabled again, too.

        @return: what ends that.
        """
        self._watchers = (*self._watchers, watcher)

        def end() -> None:
            self._watchers = tuple(each for each in self._watchers if each is not watcher)

        return end

    async def add(self, backend: Any, before: str | None = None) -> Member:
        """
        Start C{backend} and offer it after the others, or before the one of that name.

        @raises ValueError: there is one of that name.
        @raises KeyError: there is none to put it before.
        """
        if self.member(backend.name) is not None:
            raise ValueError(f"there is a backend {backend.name!r} already")
        await maybeDeferred(backend.start)
        member = Member(backend)
        place = len(self._members) if before is None else self._members.index(self._find(before))
        self._members.insert(place, member)
        self._by_name[member.name] = member
        self._measure(member)
        self._changed("backend.added", member)
        self._tell("added", member)
        return member

    async def replace(self, backend: Any) -> Member:
        """
        Start C{backend} and offer it in the place of the one of its name, which drains meanwhile.

        @raises KeyError: there is none of that name.
        """
        old = self._find(backend.name)
        await maybeDeferred(backend.start)
        member = Member(backend)
        self._members[self._members.index(old)] = member
        self._by_name[member.name] = member
        self._measure(member)
        self._changed("backend.replaced", member)
        self._tell("removed", old)
        self._tell("added", member)
        Deferred.fromCoroutine(self._retire(old))
        return member

    async def remove(self, name: str) -> None:
        """
        Offer the backend C{name} no more; returns when its connections have ended and it is stopped.

        @raises KeyError: there is none of that name.
        """
        member = self._find(name)
        self._members.remove(member)
        del self._by_name[name]
        self._changed("backend.removed", member)
        self._tell("removed", member)
        await self._retire(member)

    def drain(self, name: str) -> None:
        """
        Offer the backend C{name} no more, until it is enabled; its connections live on.

        @raises KeyError: there is none of that name.
        """
        self._set_aside(name, Status.DRAINING)

    def disable(self, name: str) -> None:
        """
        As L{drain}, and watch over its health no more.

        @raises KeyError: there is none of that name.
        """
        self._tell("removed", self._set_aside(name, Status.STOPPED))

    def enable(self, name: str) -> None:
        """
        Offer the backend C{name} again; what was known of its health is forgotten.

        @raises KeyError: there is none of that name.
        """
        if self._find(name).status in _SET_ASIDE:
            member = self._set_aside(name, Status.UNKNOWN)
            self._tell("removed", member)
            self._tell("added", member)

    def _set_aside(self, name: str, status: Status) -> Member:
        member = self._find(name)
        before, member.status = member.status, status
        if member.capacity is not None and not member.is_offered:
            member.capacity.send_away()
        self._reporter.event("backend.status", backend=name, status=status.value, before=before.value)
        return member

    async def stop(self) -> None:
        """Stop every backend, whatever is still open."""
        members, self._members = self._members, []
        self._by_name.clear()
        self._indexes.clear()
        for member in members:
            member.status = Status.STOPPED
            await maybeDeferred(member.backend.stop)

    async def _retire(self, member: Member) -> None:
        member.status = Status.DRAINING
        if member.capacity is not None:
            member.capacity.send_away()
        if member.active:
            ended: Deferred[None] = Deferred()
            self._draining[id(member)] = (member, lambda: ended.callback(None))
            await ended
        member.status = Status.STOPPED
        await maybeDeferred(member.backend.stop)
        if self.member(member.name) is None:
            self._reporter.forget(backend=member.name)

    def _find(self, name: str) -> Member:
        member = self.member(name)
        if member is None:
            raise KeyError(name)
        return member

    def _changed(self, event: str, member: Member) -> None:
        self._indexes.clear()
        self._reporter.event(event, backend=member.name, protocol=member.backend.spec.protocol)

    def _tell(self, event: str, member: Member) -> None:
        for watcher in self._watchers:
            watcher(event, member)

    def _measure(self, member: Member) -> None:
        # Read off what routing counts anyway, when somebody collects.
        reporter, name = self._reporter, member.name
        reporter.gauge(BACKEND_CONNECTIONS_ACTIVE, lambda: member.active, backend=name)
        reporter.counter(BACKEND_CONNECTION_ACCEPTED, lambda: member.routed, backend=name)
        reporter.counter(BACKEND_CONNECTION_CLOSED, lambda: member.routed - member.active, backend=name)


def _may_take(member: Member, transport: str) -> bool:
    # What provides nothing stands for another backend, as in pmmux.explain.
    backend = member.backend
    takes_datagrams = IDatagramBackend.providedBy(backend)
    takes_connections = IConnectionBackend.providedBy(backend) or IProtocolBackend.providedBy(backend)
    wanted, other = takes_connections, takes_datagrams
    if transport == UDP:
        wanted, other = other, wanted
    return wanted or not other
