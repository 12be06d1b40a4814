"""What a relayed, silent connection costs in the proxy's own memory; the kernel's share is not in it."""

from __future__ import annotations

import subprocess

from attrs import field, frozen

from bench.contenders import Routes
from bench.figures import Sample
from bench.load import LoadError, read_result
from bench.machine import read_pss_octets
from bench.row import Measure
from bench.stand import Running, Stand

ALIVE_TIMEOUT_SECONDS = 60.0

PER_CONNECTION = Measure("KiB/conn", scale=1 / 1024, less_is_better=True)
WHOLE = Measure("MiB", scale=1 / 2**20, less_is_better=True)


@frozen
class MemoryRow:
    """A row whose value is octets of proportional set size for each connection held."""

    name: str = "memory"
    title: str = "memory per idle connection"
    shown: Measure = PER_CONNECTION
    routes: Routes = field(factory=Routes)
    baseline: str = ""
    is_fresh: bool = True
    once: bool = False

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{bench.row.Row}."""
        wanted = stand.effort.idle_connections
        # The first connection brings in what every later one shares.
        try:
            stand.run_load("echo", running, 1, 0.0, 1)
        except LoadError as error:
            return Sample(None, fault=str(error))
        base = read_pss_octets(running.child.pids)
        load = stand.start_load("idle", running, wanted)
        try:
            assert load.stdout is not None
            held = int(load.stdout.readline().removeprefix("held ") or 0)
            grown = read_pss_octets(running.child.pids) - base
            told, _ = load.communicate("go on\n", timeout=ALIVE_TIMEOUT_SECONDS)
            result = read_result(told)
        except (OSError, ValueError, LoadError, subprocess.TimeoutExpired) as error:
            return Sample(None, fault=f"{type(error).__name__}: {error}")
        finally:
            load.kill()
            load.wait()
        note = f"held only {held} of {wanted}" if held < wanted else ""
        if not running.child.is_alive:
            return Sample(None, fault=f"{running.name} died: {running.child.last_words()}", note=note)
        if result.corrupt or result.errors > wanted - held:
            return Sample(None, fault=f"{result.errors} of {held} idle connections were dead", note=note)
        return Sample(grown / held if held else None, fault="" if held else "held none", note=note)


@frozen
class BaseMemoryRow:
    """A row whose value is octets of proportional set size before anybody came."""

    name: str = "memory-base"
    title: str = "memory before the first connection"
    shown: Measure = WHOLE
    routes: Routes = field(factory=Routes)
    baseline: str = ""
    is_fresh: bool = True
    once: bool = True

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{bench.row.Row}."""
        try:
            return Sample(read_pss_octets(running.child.pids))
        except OSError as error:
            return Sample(None, fault=str(error))


ROWS = [BaseMemoryRow(), MemoryRow()]
