"""An upstream's stream lent to a check, and closed at its end whatever happened."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pmmux.checks.securing import header_for
from pmmux.model import NO_PROPERTIES, SectionValues
from pmmux.preview import PreviewTransport
from pmmux.tls.upstream import UpstreamTLS

DEFAULT_TIMEOUT_SECONDS = 5.0


class LentStream:
    """
    An asynchronous context that connects to a target, says what comes before everything else there,
    and leaves no socket open.

    Left in order, what was written still goes out; left by an exception, the stream is reset.
    """

    def __init__(
        self,
        services: Any,
        target: Any,
        check: SectionValues,
        tls: UpstreamTLS | None = None,
        reset: bool = False,
    ) -> None:
        """
        @param services: L{pmmux.registry.Services}
        @param target: L{pmmux.config.values.Target}
        @param tls: to speak through; C{None} for plaintext.
        @param reset: whether to reset it where nothing was said: nothing is to linger then.
        """
        self._connector = services.connector
        self._clock = services.reactor
        self._target = target
        self._timeout_seconds: float = check.get("timeout") or DEFAULT_TIMEOUT_SECONDS
        self._tls = tls
        self._header = header_for(target, check)
        self._reset = reset and not self._header
        self._closed: Deferred[None] = Deferred()
        self._stream: PreviewTransport

    async def __aenter__(self) -> PreviewTransport:
        stream: PreviewTransport = await self._connector.connect(self._target, self._timeout_seconds)
        stream.closed = self._lost
        self._stream = stream
        if self._header:
            stream.transport.write(self._header)
        if self._tls is not None:
            try:
                secured = self._tls.secure(stream, NO_PROPERTIES, self._clock, self._timeout_seconds)
                self._stream = await secured
            except BaseException as error:  # cancelled too: no socket is left open
                await self.__aexit__(type(error), error, None)
                raise
        return self._stream

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
