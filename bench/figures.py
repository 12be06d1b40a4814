"""
Samples, adjacent pairs, and what is made of them: pure arithmetic, no I/O.

The only figures that repeat on a busy machine are ratios of two measurements taken one right after the
other, so a contender is judged by the median of its pairs' ratios to the reference, never by ratios of
medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from attrs import frozen

NOISE_LIMIT_SHARE = 0.04
"""Above this share of the time spent waiting for its core, a proxy was not alone there."""

SATURATED_SHARE = 0.95
"""A core that is busy for this share of a run is what bounds it."""


@frozen(slots=True)
class Sample:
    """
    One run of one load through one proxy.

    @ivar value: in the row's own measure; C{None} where the run failed.
    @ivar units: how many connections, exchanges, octets or datagrams the proxy's CPU time was spent on.
    @ivar cpu_seconds: the proxy's own CPU time during the run.
    @ivar wall_seconds: how long the run lasted.
    @ivar noise_share: share of the run in which the proxy waited for its core, or others took the load's.
    @ivar load_share: share of the run in which the load and the upstream kept their core busy.
    @ivar p50_us: median latency in microseconds.
    @ivar p99_us: 99th percentile of latency in microseconds.
    @ivar loss_share: share of the connections, exchanges or datagrams that were lost.
    @ivar fault: why the sample does not count, empty where it does.
    @ivar note: what else is worth knowing.
    """

    value: float | None
    units: float = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    noise_share: float = 0.0
    load_share: float = 0.0
    p50_us: float | None = None
    p99_us: float | None = None
    loss_share: float = 0.0
    fault: str = ""
    note: str = ""

    @property
    def is_noisy(self) -> bool:
        """Whether others disturbed this run."""
        return self.noise_share > NOISE_LIMIT_SHARE

    @property
    def cpu_per_unit(self) -> float | None:
        """The proxy's CPU seconds for one unit, C{None} where none was counted."""
        return self.cpu_seconds / self.units if self.units and self.cpu_seconds else None

    @property
    def is_load_bound(self) -> bool:
        """Whether the load's core was full and the proxy's was not: the rate says little of the proxy."""
        proxy_share = self.cpu_seconds / self.wall_seconds if self.wall_seconds else 0.0
        return self.load_share > SATURATED_SHARE and proxy_share < SATURATED_SHARE


@frozen(slots=True)
class Pair:
    """
    Two samples taken one right after the other.

    @ivar reference: the reference's.
    @ivar contender: the contender's.
    """

    reference: Sample
    contender: Sample

    @property
    def is_clean(self) -> bool:
        """Whether both count and nobody disturbed either."""
        return not (
            self.reference.fault or self.contender.fault or self.reference.is_noisy or self.contender.is_noisy
        )

    @property
    def ratio(self) -> float | None:
        """The contender's value to the reference's."""
        return _divide(self.contender.value, self.reference.value)

    @property
    def cpu_ratio(self) -> float | None:
        """The contender's CPU time for one unit to the reference's."""
        return _divide(self.contender.cpu_per_unit, self.reference.cpu_per_unit)


@frozen(slots=True)
class Summary:
    """
    What one contender did in one row.

    @ivar value: median, in the row's own measure.
    @ivar ratio: median of the clean pairs' ratios to the reference; of all pairs where none is clean.
    @ivar ratio_low: the least of those ratios.
    @ivar ratio_high: the greatest of them.
    @ivar cpu_per_unit: median CPU seconds for one unit.
    @ivar cpu_ratio: median of the pairs' ratios of CPU per unit.
    @ivar p50_us: median of the runs' median latencies.
    @ivar p99_us: median of the runs' 99th percentiles.
    @ivar pairs: how many pairs were measured.
    @ivar clean_pairs: how many of them nobody disturbed.
    @ivar remarks: faults and notes, each once.
    """

    value: float | None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    cpu_per_unit: float | None = None
    cpu_ratio: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    pairs: int = 0
    clean_pairs: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def is_too_noisy(self) -> bool:
        """Whether fewer than half of the pairs are clean: the machine was too busy otherwise to tell."""
        return self.pairs > 0 and 2 * self.clean_pairs < self.pairs


def _divide(value: float | None, by: float | None) -> float | None:
    return None if value is None or by is None or by <= 0 else max(value, 0.0) / by


def median(values: Iterable[float | None]) -> float | None:
    """The median of those values that there are, C{None} where there are none."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _remarks_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    remarks: dict[str, int] = {}
    for sample in samples:
        for remark in (sample.fault, sample.note, "load-bound" if sample.is_load_bound else ""):
            if remark:
                remarks[remark] = remarks.get(remark, 0) + 1
    losses = [sample.loss_share for sample in samples if not sample.fault]
    if any(losses):
        remarks[f"loses {statistics.median(losses):.2%}"] = sum(1 for loss in losses if loss)
    return tuple(
        remark if count == len(samples) else f"{remark} ({count} of {len(samples)})"
        for remark, count in remarks.items()
    )


def _summarise(samples: Sequence[Sample], **comparison: float | int | None) -> Summary:
    counted = [s for s in samples if not s.fault and not s.is_noisy] or [s for s in samples if not s.fault]
    return Summary(
        value=median(s.value for s in counted),
        cpu_per_unit=median(s.cpu_per_unit for s in counted),
        p50_us=median(s.p50_us for s in counted),
        p99_us=median(s.p99_us for s in counted),
        remarks=_remarks_of(samples),
        **comparison,  # type: ignore[arg-type]
    )


def summarise_contender(pairs: Sequence[Pair]) -> Summary:
    """What a contender's pairs say of it."""
    faultless = [pair for pair in pairs if not (pair.reference.fault or pair.contender.fault)]
    clean = [pair for pair in faultless if pair.is_clean]
    judged = clean or faultless
    ratios = [pair.ratio for pair in judged if pair.ratio is not None]
    return _summarise(
        [pair.contender for pair in pairs],
        ratio=median(ratios),
        ratio_low=min(ratios, default=None),
        ratio_high=max(ratios, default=None),
        cpu_ratio=median(pair.cpu_ratio for pair in judged),
        pairs=len(faultless),
        clean_pairs=len(clean),
    )


def summarise_reference(samples: Sequence[Sample]) -> Summary:
    """What the reference did, over all the pairs that it was part of."""
    return _summarise(samples)
