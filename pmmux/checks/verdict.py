"""The answer that a protocol finds and a check waits for."""

from __future__ import annotations

from twisted.internet.defer import Deferred


class Answer:
    """
    Said once by a protocol, awaited once by a check. What is said later does not count.
    """

    def __init__(self) -> None:
        self._said: Deferred[str] = Deferred()

    def say(self, error: str = "") -> None:
        """The upstream works, or does not because of C{error}."""
        if not self._said.called:
            self._said.callback(error)

    def wait(self) -> Deferred[str]:
        """@return: fires with the error, or with nothing."""
        return self._said
