"""The table: rows of strings, aligned; and how each figure is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from bench.figures import Summary
from bench.row import Measure, Row

HEAD = (
    "row",
    "contender",
    "value",
    "",
    "ratio",
    "(lowest-highest)",
    "CPU",
    "",
    "CPU ratio",
    "p50 us",
    "p99 us",
    "remarks",
)
NUMBERS = {2, 4, 6, 8, 9, 10}
"""Columns that are aligned to the right."""


@frozen
class RowResult:
    """
    What a row's measuring gave.

    @ivar row: the row.
    @ivar reference: the name of the contender that the others are compared with.
    @ivar summaries: by contender, the reference among them.
    """

    row: Row
    reference: str
    summaries: Mapping[str, Summary]


def write_number(value: float | None) -> str:
    """Three significant digits, and all those before the point, in groups."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or not size else f"{value:.4f}"


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _ratio_text(summary: Summary, measure: Measure) -> tuple[str, str]:
    if summary.ratio is None or not measure.is_compared:
        return "", ""
    doubt = "?" if summary.is_too_noisy else ""
    return f"{summary.ratio:.2f}x{doubt}", f"({summary.ratio_low:.2f}-{summary.ratio_high:.2f})"


def own_growth(result: RowResult, name: str, earlier: Mapping[str, RowResult]) -> str:
    """What a contender's CPU per unit became since the row's baseline, in words; empty where it has none."""
    baseline = earlier.get(result.row.baseline)
    before = baseline.summaries[name].cpu_per_unit if baseline and name in baseline.summaries else None
    now = result.summaries[name].cpu_per_unit
    return f"CPU {now / before:.2f}x of its own in {result.row.baseline}" if before and now else ""


def _line(result: RowResult, name: str, summary: Summary, growth: str, is_first: bool) -> tuple[str, ...]:
    measure = result.row.shown
    value = _scaled(summary.value, measure.scale)
    ratio, spread = _ratio_text(summary, measure)
    cpu = _scaled(summary.cpu_per_unit, measure.cpu_scale) if measure.cpu_name else None
    remarks = [*([growth] if growth else []), *summary.remarks]
    if name == result.reference and measure.is_compared:
        ratio = "1"
    elif summary.is_too_noisy:
        remarks.insert(0, f"TOO NOISY TO TELL ({summary.clean_pairs} of {summary.pairs} pairs clean)")
    elif summary.clean_pairs < summary.pairs:
        remarks.append(f"{summary.clean_pairs} of {summary.pairs} pairs clean")
    return (
        result.row.title if is_first else "",
        name,
        write_number(value) if measure.is_compared or value is None else f"{value:g}",
        measure.name,
        ratio,
        spread,
        "" if cpu is None else write_number(cpu),
        "" if cpu is None else measure.cpu_name,
        "" if summary.cpu_ratio is None or cpu is None else f"{summary.cpu_ratio:.2f}x",
        "" if summary.p50_us is None else write_number(summary.p50_us),
        "" if summary.p99_us is None else write_number(summary.p99_us),
        "; ".join(remarks),
    )


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text, each column as wide as its widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in NUMBERS else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def write_table(results: Sequence[RowResult]) -> str:
    """The whole table."""
    lines: list[tuple[str, ...]] = [HEAD]
    earlier = {result.row.name: result for result in results}
    for result in results:
        names = sorted(result.summaries, key=lambda name: name != result.reference)
        for i, name in enumerate(names):
            growth = own_growth(result, name, earlier)
            lines.append(_line(result, name, result.summaries[name], growth, i == 0))
    return align(lines)
