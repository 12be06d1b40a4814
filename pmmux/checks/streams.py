"""An upstream's stream lent to a check, and closed at its end whatever happened."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pmmux.model import SectionValues
from pmmux.preview import PreviewTransport

DEFAULT_TIMEOUT_SECONDS = 5.0


class LentStream:
    """
    An asynchronous context that connects to a target, and leaves no socket open.

    Left in order, what was written still goes out; left by an exception, the stream is reset.
    """

    def __init__(self, services: Any, target: Any, check: SectionValues, reset: bool = False) -> None:
        """
        @param services: L{pmmux.registry.Services}
        @param target: L{pmmux.config.values.Target}
        @param reset: whether to reset it in any case: nothing was said, and nothing is to linger.
        """
        self._connector = services.connector
        self._target = target
        self._timeout_seconds: float = check.get("timeout") or DEFAULT_TIMEOUT_SECONDS
        self._reset = reset
        self._closed: Deferred[None] = Deferred()
        self._stream: PreviewTransport

    async def __aenter__(self) -> PreviewTransport:
        stream: PreviewTransport = await self._connector.connect(self._target, self._timeout_seconds)
        stream.closed = self._lost
        self._stream = stream
        return stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stream = self._stream
        if stream.lost is not None:
            return
        transport = stream.transport
        if self._reset or kind is not None:
            transport.abortConnection()
        else:
            transport.loseConnection()
        try:
            if stream.lost is None:
                await self._closed
        except CancelledError:
            # Cancelled while it does not take what was written; a reset is over at the next turn.
            self._closed = Deferred()
            transport.abortConnection()
            if stream.lost is None:
                await self._closed
            raise

    def _lost(self, reason: Failure) -> None:
        if not self._closed.called:
            self._closed.callback(None)
