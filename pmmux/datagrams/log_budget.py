"""How many sessions may end in the log each second: spoofed datagrams must not fill a disk."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

LINES_PER_SECOND = 100


class LogBudget:
    """Lets so many through each second, and says how many it did not."""

    log = Logger()

    def __init__(self, clock: Any, lines_per_second: int = LINES_PER_SECOND) -> None:
        self._clock = clock
        self._lines_per_second = lines_per_second
        self._second = 0
        self._lines = 0

    def allows(self) -> bool:
        """Whether one more may be written now."""
        second = int(self._clock.seconds())
        if second != self._second:
            self.flush()
            self._second = second
        self._lines += 1
        return self._lines <= self._lines_per_second

    def flush(self) -> None:
        """Say what was not written since the last second that had too many."""
        if self._lines > self._lines_per_second:
            self.log.warn(
                "{count} more datagram sessions ended in one second than are written",
                count=self._lines - self._lines_per_second,
            )
        self._lines = 0
