"""Measuring in adjacent pairs: the reference and one contender, turn and turn about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from bench.contenders import Contender
from bench.figures import Pair, Sample, summarise_contender, summarise_reference
from bench.processes import StartError
from bench.row import Row
from bench.stand import Running, Stand
from bench.table import RowResult

ATTEMPTS = 3
"""How often a pair is taken before it is kept although others disturbed it."""

FAULTS_LIMIT = 2
"""After so many faults in a row of the table a contender is left alone for the rest of it."""


@define(eq=False)
class Course:
    """
    One row's measuring.

    @ivar stand: where.
    @ivar row: what.
    @ivar tell: is given a line on what goes on.
    """

    stand: Stand
    row: Row
    tell: Callable[[str], None]
    _running: dict[str, Running] = field(factory=dict, init=False)

    def measure_pairs(
        self, reference: Contender, contenders: Sequence[Contender], rounds: int
    ) -> tuple[RowResult, dict[str, list[Pair]]]:
        """
        Measure every contender against the reference.

        @param reference: what all are compared with.
        @param contenders: the others.
        @param rounds: how many pairs of each.
        @return: the result, and all pairs by contender.
        """
        pairs: dict[str, list[Pair]] = {contender.name: [] for contender in contenders}
        alone: list[Sample] = []
        try:
            for turn in range(1 if self.row.once else rounds):
                for contender in contenders:
                    taken = pairs[contender.name]
                    if sum(1 for pair in taken if pair.contender.fault) < FAULTS_LIMIT:
                        self.tell(f"{self.row.name}: round {turn + 1}, {contender.name}")
                        taken.append(self._take_pair(reference, contender, turn))
                if not contenders:
                    self.tell(f"{self.row.name}: round {turn + 1}, {reference.name} alone")
                    alone.append(self._take(reference))
        finally:
            for running in self._running.values():
                self.stand.stop(running)
            self._running.clear()
        references = alone + [pair.reference for taken in pairs.values() for pair in taken]
        summaries = {name: summarise_contender(taken) for name, taken in pairs.items()}
        summaries[reference.name] = summarise_reference(references)
        return RowResult(self.row, reference.name, summaries), pairs

    def _take_pair(self, reference: Contender, contender: Contender, turn: int) -> Pair:
        for _ in range(ATTEMPTS):
            if turn % 2:
                second = self._take(contender)
                pair = Pair(self._take(reference), second)
            else:
                first = self._take(reference)
                pair = Pair(first, self._take(contender))
            if pair.is_clean or pair.contender.fault or self.row.once:
                break
        return pair

    def _take(self, contender: Contender) -> Sample:
        running = self._running.get(contender.name)
        if running is not None and (self.row.is_fresh or not running.child.is_alive):
            self._end(contender)
            running = None
        if running is None:
            try:
                running = self._running[contender.name] = self.stand.start(contender, self.row.routes)
            except StartError as error:
                return Sample(None, fault=f"did not start: {error}")
        sample = self.row.measure(self.stand, running)
        if sample.fault:
            # What it was left in may not be what it starts in.
            self._end(contender)
        return sample

    def _end(self, contender: Contender) -> None:
        self.stand.stop(self._running.pop(contender.name))
