"""
Backends, listeners and health checks that come and go while pmmux runs: the one set of operations that
both reloading and steering use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.settings import ListenerSpec
from pmmux.errors import OUTCOME_DRAIN_TIMEOUT, OUTCOME_KILLED
from pmmux.members import Member
from pmmux.model import BackendSpec, SectionValues

KEEP, CLOSE = "keep", "close"
DEFAULT_DRAIN_SECONDS = 300.0

LIFECYCLE_OPTIONS = (
    Option(
        "on-unhealthy",
        values.choice(KEEP, CLOSE),
        "keep or close",
        KEEP,
        description="What becomes of open connections when the backend becomes unhealthy.",
    ),
    Option(
        "drain-timeout",
        values.duration_between(0.0),
        "a duration such as 5m, or 0",
        DEFAULT_DRAIN_SECONDS,
        description="How long open connections may go on when the backend was removed or replaced.",
    ),
)


class Lifecycle:
    """
    Changes what a running pmmux consists of.

    What is drained ends within a bound: C{drain-timeout} of the backend, unless it is told otherwise.
    """

    log = Logger()

    def __init__(
        self, clock: Any, router: Any, multiplexer: Any, monitor: Any, make_backend: Callable[[Any], Any]
    ) -> None:
        """
        @param monitor: L{pmmux.interfaces.IHealthMonitor}
        @param make_backend: from a L{BackendSpec} to the L{pmmux.interfaces.IBackend}.
        """
        self._clock = clock
        self._router = router
        self._multiplexer = multiplexer
        self._monitor = monitor
        self.make_backend = make_backend
        self._bounds: dict[Member, Any] = {}
        monitor.left_out = self._left_out

    def stop(self) -> None:
        """Bound no more drains."""
        for bound in self._bounds.values():
            bound.cancel()
        self._bounds.clear()

    # Backends.

    async def add_backend(self, spec: BackendSpec, before: str | None = None) -> Member:
        """
        Offer one more, after the others or before the one of that name.

        @raises ValueError: there is one of its name.
        @raises KeyError: there is none to put it before.
        """
        return await self.add_made(self.make_backend(spec), before)

    async def add_made(self, backend: Any, before: str | None = None) -> Member:
        """As L{add_backend}, where it has been made."""
        member: Member = await self._router.add(backend, before)
        return member

    async def replace_backend(self, spec: BackendSpec, seconds: float | None = None) -> Member:
        """
        Offer one in the place of the one of its name, which drains.

        @param seconds: how long the connections of the old one may go on; C{None} for as it states.
        @raises KeyError: there is none of that name.
        """
        return await self.replace_made(self.make_backend(spec), seconds)

    async def replace_made(self, backend: Any, seconds: float | None = None) -> Member:
        """As L{replace_backend}, where it has been made."""
        old = self._router.member(backend.name)
        member: Member = await self._router.replace(backend)
        self._bound(old, seconds)
        return member

    def remove_backend(self, name: str, seconds: float | None = None) -> Member:
        """
        Offer it no more, and stop it when its connections have ended.

        @param seconds: see L{replace_backend}.
        @return: it; its C{status} tells how far that has come.
        @raises KeyError: there is none of that name.
        """
        member: Member | None = self._router.member(name)
        if member is None:
            raise KeyError(name)
        removed = Deferred.fromCoroutine(self._router.remove(name))
        removed.addErrback(lambda failure: self.log.failure("a backend could not be stopped", failure))
        self._bound(member, seconds)
        return member

    def drain_backend(self, name: str) -> None:
        """
        Offer it no more until it is enabled; its connections live on.

        @raises KeyError: there is none of that name.
        """
        self._router.drain(name)

    def disable_backend(self, name: str) -> None:
        """
        As L{drain_backend}, and check it no more.

        @raises KeyError: there is none of that name.
        """
        self._router.disable(name)

    def enable_backend(self, name: str) -> None:
        """
        Offer one again that was drained or disabled.

        @raises KeyError: there is none of that name.
        """
        self._router.enable(name)

    def order_backends(self, names: list[str]) -> None:
        """Ask them in this order from now on; those that are not in it come last."""
        self._router.order(names)

    def close_connections(self, member: Member, outcome: str = OUTCOME_KILLED) -> int:
        """End all connections and sessions of C{member} at once. @return: how many."""
        closed = 0
        for course in tuple(self._multiplexer.courses.values()):
            if getattr(course, "member", None) is member:
                course.close(outcome)
                closed += 1
        for table in self._multiplexer.session_tables():
            for session in tuple(table.sessions.values()):
                if session.member is member:
                    table.finish(session, outcome)
                    closed += 1
        return closed

    # Listeners: opened before anything else changes, so that what cannot be opened changes nothing.

    def add_listener(self, spec: ListenerSpec) -> None:
        """
        Accept there too.

        @raises pmmux.errors.ListenError: it cannot be opened, or there is one of that name.
        """
        self._multiplexer.add_listener(spec)
        self._monitor.look_again()

    def replace_listener(self, spec: ListenerSpec) -> None:
        """
        Put one in the place of the one of its name, without a gap; connections live on.

        @raises pmmux.errors.ListenError: it cannot be opened; the old one stays.
        @raises KeyError: there is none of that name.
        """
        made, faults = self._multiplexer.prepare([spec], (spec.name,))
        for fault in faults:
            raise fault
        order = [listener.spec.name for listener in self._multiplexer.listeners()]
        self._multiplexer.put(made, (spec.name,), order)
        self._monitor.look_again()

    def remove_listener(self, name: str) -> None:
        """
        Accept there no more; connections live on.

        @raises KeyError: there is none of that name.
        """
        self._multiplexer.remove_listener(name)
        self._monitor.look_again()

    # Health checks.

    def add_check(self, section: SectionValues) -> None:
        """Check by C{section} too; in the place of the one of its name, where there is one."""
        self._monitor.add_check(section)

    def remove_check(self, name: str) -> None:
        """
        Check by the section C{name} no more.

        @raises KeyError: there is none of that name.
        """
        self._monitor.remove_check(name)

    # Bounds.

    def _bound(self, member: Member, seconds: float | None) -> None:
        if not member.active:
            return
        if seconds is None:
            seconds = member.backend.spec.options.get("drain-timeout")
        if seconds is None:
            seconds = DEFAULT_DRAIN_SECONDS
        self.log.info(
            "backend {backend} drains: {count} connections, within {seconds:g} s",
            backend=member.name,
            count=member.active,
            seconds=seconds,
        )
        self._bounds[member] = self._clock.callLater(seconds, self._end_drain, member)

    def _end_drain(self, member: Member) -> None:
        del self._bounds[member]
        count = self.close_connections(member, OUTCOME_DRAIN_TIMEOUT)
        if count:
            self.log.info(
                "backend {backend}: {count} connections were closed, they outlasted its drain",
                backend=member.name,
                count=count,
            )

    def _left_out(self, member: Member) -> None:
        if member.backend.spec.options.get("on-unhealthy") == CLOSE:
            count = self.close_connections(member)
            self.log.info(
                "backend {backend} is unhealthy: {count} connections were closed",
                backend=member.name,
                count=count,
            )
