"""Whether one direction survives the end of the other: a property, not a figure."""

from __future__ import annotations

from attrs import evolve, field, frozen

from bench.contenders import Routes
from bench.figures import Sample
from bench.load import LoadError
from bench.row import Measure
from bench.stand import Running, Stand

PAYLOAD_OCTETS = 1_000_000

DIRECTIONS = Measure("of 2", is_compared=False)


@frozen
class HalfCloseRow:
    """A row whose value is in how many of both directions the rest of the data came through."""

    name: str = "half-close"
    title: str = "half-close kept (of 2)"
    shown: Measure = DIRECTIONS
    routes: Routes = field(factory=Routes)
    baseline: str = ""
    is_fresh: bool = False
    once: bool = True

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{bench.row.Row}."""
        try:
            result = stand.run_load("half-close", running, stand.upstream_ports[0], PAYLOAD_OCTETS)
        except LoadError as error:
            return Sample(None, fault=str(error))
        lost = [end for end in ("client", "upstream") if not result.extra[f"{end}_first"]]
        note = f"data lost after the {' and the '.join(lost)} ended first" if lost else "kept both ways"
        if result.corrupt:
            return Sample(None, fault="CORRUPT: octets altered")
        return evolve(Sample(result.units), note=note)


ROWS = [HalfCloseRow()]
