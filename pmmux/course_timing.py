"""The time that each phase of a connection's course may take."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pmmux import errors
from pmmux.connection import Connection
from pmmux.course_services import CourseServices
from pmmux.errors import RouteError
from pmmux.transport.timeouts import Timeout, TimeoutQueue


def selection_timeout() -> RouteError:
    """The refusal where there is no time left to choose."""
    return RouteError(errors.OUTCOME_SELECTION_TIMEOUT, "choosing a backend took too long")


class TimedCourse:
    """
    A course with its time-outs. Nothing is armed until the coroutine first waits.

    @ivar connection: whose course it is.
    """

    __slots__ = (
        "_deferred",
        "_detect_timeout",
        "_queue",
        "_reason",
        "_services",
        "_timeout",
        "connection",
    )

    def __init__(self, services: CourseServices, connection: Connection) -> None:
        self._services = services
        self.connection = connection
        self._deferred: Deferred[None] | None = None
        self._queue: TimeoutQueue | None = None
        self._timeout: Timeout | None = None
        self._detect_timeout: Timeout | None = None
        self._reason: RouteError | None = None

    def _keep_time(self, timeout: Timeout) -> None:
        if self._services.silence_decides and timeout.expire is not None:
            timeout.expire = self.connection.preview.finish
            self._detect_timeout = timeout
        else:
            self._services.first_octet_timeouts.cancel(timeout)

    def _enter_phase(self, queue: TimeoutQueue) -> None:
        # What is left of the time for the first octets is the time for the rest.
        self._cancel_timeout()
        self._queue = queue
        if self._deferred is not None:
            self._arm()

    def _leave_phase(self) -> None:
        self._cancel_timeout()
        if self._detect_timeout is not None:
            services = self._services
            # Before the first phase it is the first octets that are waited for.
            queue = services.first_octet_timeouts if self._queue is None else services.detect_timeouts
            queue.cancel(self._detect_timeout)
            self._detect_timeout = None
        self._queue = None

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            assert self._queue is not None
            self._queue.cancel(self._timeout)
            self._timeout = None

    def _arm(self) -> None:
        services = self._services
        if self._queue is None:
            return
        self._timeout = self._queue.add(self._time_out)
        if (
            self._queue is services.selection_timeouts
            and self._detect_timeout is None
            and not self.connection.preview.final
        ):
            self._detect_timeout = services.detect_timeouts.add(self.connection.preview.finish)

    def _time_out(self) -> None:
        self._timeout = None
        if self._queue is self._services.negotiation_timeouts:
            self._interrupt(RouteError(errors.OUTCOME_NEGOTIATION_FAILED, "it took too long"))
        else:
            self._interrupt(selection_timeout())

    def _interrupt(self, reason: RouteError) -> None:
        self._reason = reason
        if self._deferred is not None:
            self._deferred.cancel()
