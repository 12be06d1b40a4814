"""A sleep that can be ended early."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


class Alarm:
    """For one sleeper; a ring while nobody sleeps ends the next sleep at once."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._sleeper: Deferred[None] | None = None
        self._rung = False

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, or for L{ring}."""
        if self._rung:
            self._rung = False
            return
        sleeper: Deferred[None] = Deferred()
        self._sleeper = sleeper
        timer = self._reactor.callLater(seconds, self._wake)
        try:
            await sleeper
        finally:
            self._sleeper = None
            if timer.active():
                timer.cancel()

    def ring(self) -> None:
        """End the sleep."""
        if not self._wake():
            self._rung = True

    def quiet(self) -> None:
        """Forget a ring that nobody has heard."""
        self._rung = False

    def _wake(self) -> bool:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is None:
            return False
        sleeper.callback(None)
        return True
