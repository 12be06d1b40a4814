"""
IP fragments put together, in whatever order they come. scapy's own way needs the last one to come last.

@see: RFC 791, section 3.2; RFC 8200, section 4.5
"""

from __future__ import annotations

from collections.abc import Hashable

from attrs import define, field

# So many packets may be incomplete at a time; the oldest is given up for another.
INCOMPLETE_LIMIT = 1024


@define(slots=True)
class _Incomplete:
    pieces: dict[int, bytes] = field(factory=dict)
    length: int | None = None

    def whole(self) -> bytes | None:
        if self.length is None:
            return None
        octets = bytearray()
        for offset in sorted(self.pieces):
            if offset > len(octets):
                return None
            octets += self.pieces[offset][len(octets) - offset :]
        return bytes(octets[: self.length]) if len(octets) >= self.length else None


class Fragments:
    """The packets of which some fragments have been seen."""

    def __init__(self) -> None:
        self._incomplete: dict[Hashable, _Incomplete] = {}

    def take(self, key: Hashable, offset: int, octets: bytes, more: bool) -> bytes | None:
        """
        Take one fragment.

        @param key: what its fellows have in common with it.
        @param more: whether it is not the last.
        @return: the whole payload, where this completed it.
        """
        packet = self._incomplete.get(key)
        if packet is None:
            if len(self._incomplete) >= INCOMPLETE_LIMIT:
                del self._incomplete[next(iter(self._incomplete))]
            packet = self._incomplete[key] = _Incomplete()
        packet.pieces.setdefault(offset, octets)
        if not more:
            packet.length = offset + len(octets)
        whole = packet.whole()
        if whole is not None:
            del self._incomplete[key]
        return whole
