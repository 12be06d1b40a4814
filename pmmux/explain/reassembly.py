"""
TCP segments put in order.

The first copy of an octet counts, as it does for a receiver that has passed it on; what has arrived
ahead of a gap waits, within bounds, and nothing is made up for what is absent.

@see: RFC 9293, section 3.4 (sequence numbers), section 3.10.7.4 (segments in and out of the window)
"""

from __future__ import annotations

from heapq import heappop, heappush

SEQUENCE_NUMBERS = 1 << 32
_HALF = SEQUENCE_NUMBERS >> 1
# What may wait ahead of a gap: more than the receive windows in use.
AHEAD_LIMIT_OCTETS = 8 << 20


def distance(first: int, second: int) -> int:
    """How far C{second} lies behind C{first}, negative where before it; sequence numbers wrap."""
    return (second - first + _HALF) % SEQUENCE_NUMBERS - _HALF


class Reassembly:
    """
    One direction of one connection.

    @ivar is_complete: whether the end of the data has been reached.
    """

    def __init__(self, first_sequence: int) -> None:
        """@param first_sequence: the number of the first octet of data."""
        self.is_complete = False
        self._first_sequence = first_sequence
        # Positions count from the first octet, and do not wrap.
        self._position = 0
        self._ahead: list[tuple[int, int, bytes]] = []
        self._ahead_octets = 0
        self._held = 0
        self._end: int | None = None

    def take(self, sequence: int, octets: bytes) -> list[bytes]:
        """
        Take a segment's octets.

        @return: what is in order now, one item for each segment that it came in.
        """
        if not octets:
            return []
        position = self._position_of(sequence)
        if position > self._position:
            self._hold(position, octets)
            return []
        passed: list[bytes] = []
        self._pass_on(position, octets, passed)
        while self._ahead and self._ahead[0][0] <= self._position:
            position, _, waiting = heappop(self._ahead)
            self._ahead_octets -= len(waiting)
            self._pass_on(position, waiting, passed)
        self._look_for_end()
        return passed

    def end(self, sequence: int) -> None:
        """The data ends before C{sequence}."""
        if self._end is None:
            self._end = self._position_of(sequence)
        self._look_for_end()

    def octets_missing_before(self, sequence: int) -> int:
        """How many octets before C{sequence} have not been passed on."""
        return max(0, self._position_of(sequence) - self._position)

    def octets_missing(self) -> int:
        """How many octets at least are absent before what waits, or before the end."""
        known = [self._ahead[0][0]] if self._ahead else []
        if self._end is not None:
            known.append(self._end)
        return max(0, min(known, default=self._position) - self._position)

    def _position_of(self, sequence: int) -> int:
        current = (self._first_sequence + self._position) % SEQUENCE_NUMBERS
        return self._position + distance(current, sequence)

    def _hold(self, position: int, octets: bytes) -> None:
        if self._ahead_octets + len(octets) <= AHEAD_LIMIT_OCTETS:
            self._held += 1
            heappush(self._ahead, (position, self._held, octets))
            self._ahead_octets += len(octets)

    def _pass_on(self, position: int, octets: bytes, passed: list[bytes]) -> None:
        unseen = octets[self._position - position :]
        if unseen:
            passed.append(unseen)
            self._position += len(unseen)

    def _look_for_end(self) -> None:
        if self._end is not None and self._position >= self._end:
            self.is_complete = True
