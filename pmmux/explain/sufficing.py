"""How many of a client's first octets a verdict needed: the shortest beginning that gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from pmmux.datagrams.preview import DatagramInspection, DatagramPreview
from pmmux.inspection import Inspection, ProbeCatalogue
from pmmux.model import Client, Properties


@frozen(slots=True)
class _Beginning:
    """A preview that stays as it is."""

    octets: bytes
    final: bool = False
    ended: bool = False

    @property
    def size(self) -> int:
        return len(self.octets)


class _LookedError(Exception):
    """Somebody looked at octets."""


class _Unseen:
    """A preview that shows nothing, and tells when somebody looks."""

    final = False
    ended = False
    complete = False

    @property
    def octets(self) -> bytes:
        raise _LookedError

    @property
    def datagrams(self) -> Sequence[bytes]:
        raise _LookedError

    @property
    def size(self) -> int:
        raise _LookedError


class StreamMeasure:
    """
    For one connection: asks conditions about beginnings of what it said.

    A verdict on a beginning is never taken back by what follows, so that the shortest one is found
    by halving.
    """

    def __init__(
        self, octets: bytes, client: Client, given: Mapping[str, str], catalogue: ProbeCatalogue
    ) -> None:
        """
        @param octets: what there was when it was decided.
        @param given: the properties there were before anything was inspected.
        """
        self._octets = octets
        self._client = client
        self._given = given
        self._catalogue = catalogue
        self._inspections: dict[int, Inspection] = {}

    def octets_needed(self, condition: Any) -> int:
        """
        How many octets C{condition} needed; where all of them did not suffice, how many it wanted.
        """
        verdict = condition.evaluate(self._inspection(len(self._octets)))
        if verdict.matched is None:
            wanted: int = verdict.octets_needed
            return wanted
        return shortest(
            lambda size: condition.evaluate(self._inspection(size)).matched is not None, len(self._octets)
        )

    def _inspection(self, size: int) -> Inspection:
        inspection = self._inspections.get(size)
        if inspection is None:
            beginning = _Beginning(self._octets[:size])
            inspection = Inspection(self._client, Properties(self._given), beginning, self._catalogue)
            self._inspections[size] = inspection
        return inspection


class DatagramMeasure:
    """The same for a client's first datagrams, which come whole."""

    def __init__(
        self,
        datagrams: Sequence[bytes],
        client: Client,
        given: Mapping[str, str],
        catalogue: ProbeCatalogue,
        limit_octets: int,
    ) -> None:
        self._datagrams = datagrams
        self._client = client
        self._given = given
        self._catalogue = catalogue
        self._limit_octets = limit_octets

    def octets_needed(self, condition: Any) -> int:
        """See L{StreamMeasure.octets_needed}."""
        unseen: Any = _Unseen()
        try:
            condition.evaluate(
                DatagramInspection(self._client, Properties(self._given), unseen, self._catalogue)
            )
            return 0
        except _LookedError:
            pass
        preview = DatagramPreview(self._datagrams[0], self._limit_octets)
        inspection = DatagramInspection(self._client, Properties(self._given), preview, self._catalogue)
        verdict = condition.evaluate(inspection)
        for datagram in self._datagrams[1:]:
            if verdict.matched is not None:
                break
            preview.feed(datagram)
            verdict = condition.evaluate(inspection)
        return preview.size if verdict.matched is not None else int(verdict.octets_needed)


def shortest(suffices: Callable[[int], bool], most: int) -> int:
    """
    The smallest number from 0 to C{most} that suffices.

    @param suffices: true for C{most}, and for all numbers above one for which it is true.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if suffices(middle):
            high = middle
        else:
            low = middle + 1
    return low
