"""
What a proxy adds to the latency, at a load that is far from full.

The same load goes to the upstream itself right before; what is shown is the difference of the percentiles.
Requests are due at fixed times and are timed from when they were due, so that waiting does not hide itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, field, frozen

from bench.contenders import Routes
from bench.figures import Sample
from bench.load import LoadError
from bench.row import Measure
from bench.stand import Effort, Running, Stand

FLOWS = 50
MESSAGES_PER_SECOND = 1000
CONNECTIONS_PER_SECOND = 250
MESSAGE_OCTETS = 64
REPLY_OCTETS = 128

ADDED = Measure("us added (p50)", scale=1e6, less_is_better=True, cpu_name="us/unit")


@frozen
class AddedLatencyRow:
    """A row whose value is the added median latency, in seconds."""

    name: str
    title: str
    mode: str
    arguments: Callable[[Effort], Sequence[object]]
    shown: Measure = ADDED
    # One name, hence one upstream: the load can go there directly too.
    routes: Routes = field(factory=lambda: Routes(names=1))
    baseline: str = ""
    is_fresh: bool = False
    once: bool = False

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{bench.row.Row}."""
        arguments = self.arguments(stand.effort)
        try:
            direct = stand.run_load(self.mode, None, *arguments)
        except LoadError as error:
            return Sample(None, fault=f"direct: {error}")
        sample = stand.measure(running, self.mode, *arguments)
        if sample.fault or None in (direct.p50_us, direct.p99_us, sample.p50_us, sample.p99_us):
            return sample if sample.fault else evolve(sample, value=None, fault="no latency was measured")
        p50_us = sample.p50_us - direct.p50_us  # type: ignore[operator]
        p99_us = sample.p99_us - direct.p99_us  # type: ignore[operator]
        return evolve(sample, value=p50_us / 1e6, p50_us=p50_us, p99_us=p99_us)


ROWS = [
    AddedLatencyRow(
        name="latency-message",
        title=f"latency added to a message ({MESSAGES_PER_SECOND}/s)",
        mode="paced-echo",
        arguments=lambda effort: (FLOWS, MESSAGES_PER_SECOND, effort.seconds, MESSAGE_OCTETS),
    ),
    AddedLatencyRow(
        name="latency-connection",
        title=f"latency added to a connection ({CONNECTIONS_PER_SECOND}/s)",
        mode="paced-connections",
        arguments=lambda effort: (CONNECTIONS_PER_SECOND, effort.seconds, REPLY_OCTETS),
    ),
]
