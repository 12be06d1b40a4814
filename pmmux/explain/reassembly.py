"""
TCP segments put in order.

The first copy of an octet counts, as it does for a receiver that has passed it on; what has arrived
ahead of a gap waits, within bounds, and nothing is made up for what is absent.

@see: RFC 9293, section 3.4 (sequence numbers), section 3.10.7.4 (segments in and out of the window)
"""

from __future__ import annotations

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

    @ivar next_sequence: the number of the first octet that has not been passed on.
    @ivar is_complete: whether the end of the data has been reached.
    """

    def __init__(self, first_sequence: int) -> None:
        """@param first_sequence: the number of the first octet of data."""
        self.next_sequence = first_sequence
        self.is_complete = False
        self._ahead: dict[int, bytes] = {}
        self._ahead_octets = 0
        self._end: int | None = None

    def take(self, sequence: int, octets: bytes) -> list[bytes]:
        """
        Take a segment's octets.

        @return: what is in order now, one item for each segment that it came in.
        """
        if not octets:
            return []
        offset = distance(self.next_sequence, sequence)
        if offset > 0:
            self._hold(sequence, octets)
            return []
        passed = [octets[-offset:]] if len(octets) > -offset else []
        self._advance(passed)
        while passed and self._ahead:
            waiting = self._take_ahead()
            if waiting is None:
                break
            passed.append(waiting)
            self._advance([waiting])
        return passed

    def end(self, sequence: int) -> None:
        """The data ends before C{sequence}."""
        if self._end is None:
            self._end = sequence
        self._look_for_end()

    def octets_missing_before(self, sequence: int) -> int:
        """How many octets before C{sequence} have not been passed on."""
        return max(0, distance(self.next_sequence, sequence))

    def octets_missing(self) -> int:
        """How many octets at least are absent before what waits, or before the end."""
        known = [*self._ahead, *([] if self._end is None else [self._end])]
        return min((self.octets_missing_before(sequence) for sequence in known), default=0)

    def _hold(self, sequence: int, octets: bytes) -> None:
        known = self._ahead.get(sequence)
        if known is not None:
            if len(known) >= len(octets):
                return
            octets = known + octets[len(known) :]
            self._ahead_octets -= len(known)
        if self._ahead_octets + len(octets) <= AHEAD_LIMIT_OCTETS:
            self._ahead[sequence] = octets
            self._ahead_octets += len(octets)

    def _take_ahead(self) -> bytes | None:
        """What waited for the next octet, where it begins there or before."""
        nearest = min(self._ahead, key=lambda sequence: distance(self.next_sequence, sequence))
        offset = distance(self.next_sequence, nearest)
        if offset > 0:
            return None
        octets = self._ahead.pop(nearest)
        self._ahead_octets -= len(octets)
        return octets[-offset:] if offset else octets

    def _advance(self, passed: list[bytes]) -> None:
        self.next_sequence = (self.next_sequence + sum(map(len, passed))) % SEQUENCE_NUMBERS
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._end is not None and distance(self.next_sequence, self._end) <= 0:
            self.is_complete = True
