"""One backend checked again and again: never twice at a time, and with nothing left at the end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pmmux.errors import UpstreamError


@frozen(slots=True)
class Outcome:
    """
    What one check came to.

    @ivar error: empty where it passed, else why it did not.
    @ivar seconds: how long it took.
    """

    error: str
    seconds: float


class Watch:
    """
    Runs one check at intervals, counted from start to start; one that takes longer delays the next.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        room: DeferredSemaphore,
        run: Callable[[], Coroutine[Any, Any, None]],
        finished: Callable[[Outcome], None],
    ) -> None:
        """
        @param room: how many checks there may be at a time, of all backends; a check that waits for
            room has not begun.
        @param run: begins one check; its coroutine raises L{UpstreamError} where the check failed.
        @param finished: called after each check.
        """
        self._clock = clock
        self._room = room
        self._check = run
        self._finished = finished
        self._loop: Deferred[None] | None = None
        self._reporting = False
        self._stopping = False
        self._broken = False

    def start(self, delay_seconds: float, interval_seconds: float, timeout_seconds: float) -> None:
        """Check for the first time after C{delay_seconds}."""
        self._loop = Deferred.fromCoroutine(self._run(delay_seconds, interval_seconds, timeout_seconds))
        self._loop.addErrback(self._ended)

    def stop(self) -> Deferred[None]:
        """Cancel what is going on. @return: fires when nothing of it is left."""
        self._stopping = True
        loop, self._loop = self._loop, None
        if loop is None:
            return succeed(None)
        if not self._reporting:
            loop.cancel()
        return loop

    async def _run(self, delay_seconds: float, interval_seconds: float, timeout_seconds: float) -> None:
        clock = self._clock
        await deferLater(clock, delay_seconds)
        while True:
            await self._room.acquire()
            started_at = clock.seconds()
            try:
                error = await self._check_once(timeout_seconds)
            finally:
                self._room.release()
            if self._stopping:
                return
            now = clock.seconds()
            self._reporting = True
            try:
                self._finished(Outcome(error, now - started_at))
            finally:
                self._reporting = False
            if self._stopping:
                return
            await deferLater(clock, max(0.0, started_at + interval_seconds - now))

    async def _check_once(self, timeout_seconds: float) -> str:
        attempt = Deferred.fromCoroutine(self._check())
        timer = self._clock.callLater(timeout_seconds, attempt.cancel)
        error = ""
        try:
            await attempt
        except UpstreamError as failed:
            error = failed.reason
        except CancelledError:
            if self._stopping:
                raise
            error = "cancelled"
        except Exception as broken:  # a check is a plugin: its fault must not end the checking
            if not self._broken:
                self._broken = True
                self.log.failure("a health check is broken; it counts as failed")
            error = f"the check is broken: {type(broken).__name__}"
        finally:
            is_late = not timer.active()
            if not is_late:
                timer.cancel()
        # However a check takes being cancelled: after its time it has failed.
        return f"no result within {timeout_seconds:g} s" if is_late else error

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
            self.log.failure("health checking ended by a fault of its own", failure)
