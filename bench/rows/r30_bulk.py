"""Many octets in one direction, over few and over many flows; every octet is compared where it arrives."""

from bench.row import LoadRow, Measure


def _bulk_row(direction: str, flows: int) -> LoadRow:
    return LoadRow(
        name=f"{direction}-{flows}",
        title=f"bulk {direction}, {flows} flow{'s' if flows > 1 else ''}",
        mode=direction,
        arguments=lambda effort: (effort.bulk_octets, flows),
        shown=Measure("GB/s", scale=1e-9, cpu_name="s/GB", cpu_scale=1e9),
    )


ROWS = [_bulk_row(direction, flows) for direction in ("down", "up") for flows in (1, 16, 64)]
