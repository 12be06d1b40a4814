"""
A preview that is given octets only as far as they are asked for: how many a decision needs is how
many it has taken.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from pmmux.preview import Preview


class SuppliedPreview(Preview):
    """
    A preview over octets that are all known.

    @ivar wanted_octets: where they did not suffice: how many in all were wanted last; else 0.
    """

    __slots__ = ("_supply", "_supply_ended", "_used", "wanted_octets")

    def __init__(self, supply: bytes, limit_octets: int, ended: bool = False) -> None:
        """
        @param supply: all octets there are.
        @param ended: whether the client's data ended after them.
        """
        super().__init__(limit_octets)
        self._supply = supply
        self._supply_ended = ended
        self._used = 0
        self.wanted_octets = 0

    def changed(self, octets_wanted: int = 0) -> Deferred[None]:
        """Give what is wanted, at once; where there is not as much, all there is, and the end."""
        self.supply(max(octets_wanted, self.size + 1))
        return succeed(None)

    def supply(self, octets_wanted: int) -> None:
        """Give up to C{octets_wanted} in all."""
        if self._used < len(self._supply):
            given = self._supply[self._used : octets_wanted]
            self._used += len(given)
            self.feed(given)
        if self.size < octets_wanted and not self.final:
            self.wanted_octets = octets_wanted
            if self._supply_ended:
                self.end()
            else:
                self.finish()

    def supply_all(self) -> None:
        """Give everything, and the end."""
        self.supply(len(self._supply) + 1)
