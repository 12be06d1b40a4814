"""
What the kernel tells: CPU time, waiting for a core, memory, and facts that a figure means nothing without.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

PROC = Path("/proc")
NANOSECONDS = 1e9
KIBIBYTE = 1024


@frozen(slots=True)
class Cores:
    """
    Where things run.

    @ivar proxy: the core of the proxy.
    @ivar load: the core of the load and of the upstream; the same one on a machine that has only one.
    """

    proxy: int
    load: int

    @property
    def are_apart(self) -> bool:
        """Whether the proxy has a core of its own."""
        return self.proxy != self.load


def choose_cores() -> Cores:
    """The first two cores that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[min(1, len(allowed) - 1)])


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one, for all children too; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def process_tree(pid: int) -> list[int]:
    """A process and all that descend from it; empty where it is gone."""
    tree, unseen = [], [pid]
    while unseen:
        current = unseen.pop()
        try:
            for task in (PROC / str(current) / "task").iterdir():
                unseen.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue
        tree.append(current)
    return tree


@frozen(slots=True)
class Schedule:
    """
    Time spent by processes, all threads together.

    @ivar run_seconds: on a core.
    @ivar wait_seconds: able to run, but waiting for a core.
    """

    run_seconds: float
    wait_seconds: float

    def since(self, earlier: Schedule) -> Schedule:
        """What was added after C{earlier}."""
        return Schedule(self.run_seconds - earlier.run_seconds, self.wait_seconds - earlier.wait_seconds)


def read_schedule(pids: Iterable[int]) -> Schedule:
    """The C{schedstat} of all threads of these processes, summed."""
    run = wait = 0
    for pid in pids:
        for path in (PROC / str(pid) / "task").glob("*/schedstat"):
            try:
                fields = path.read_text().split()
            except OSError:
                continue
            run += int(fields[0])
            wait += int(fields[1])
    return Schedule(run / NANOSECONDS, wait / NANOSECONDS)


@frozen(slots=True)
class CoreTimes:
    """
    Seconds of one core since boot.

    @ivar busy: in processes and the kernel on their behalf, interrupts left out.
    @ivar stolen: taken by the host that this machine is a guest of.
    """

    busy: float
    stolen: float


def read_core_times(core: int) -> CoreTimes:
    """Read one core's line of C{/proc/stat}."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    for line in (PROC / "stat").read_text().splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            user, nice, system = (int(field) for field in fields[1:4])
            stolen = int(fields[8]) if len(fields) > 8 else 0
            return CoreTimes((user + nice + system) * tick, stolen * tick)
    return CoreTimes(0.0, 0.0)


def read_pss_octets(pids: Iterable[int]) -> int:
    """Proportional set size of these processes, summed: pages shared by n processes count 1/n in each."""
    octets = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                octets += int(line.split()[1]) * KIBIBYTE
    return octets


def _read(path: str) -> str:
    try:
        return (PROC / path).read_text().strip()
    except OSError:
        return "unknown"


def describe_machine(cores: Cores) -> Mapping[str, str]:
    """The facts that a figure means nothing without."""
    models = [line for line in _read("cpuinfo").splitlines() if line.startswith("model name")]
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": models[0].partition(":")[2].strip() if models else platform.processor() or "unknown",
        "cpu count": str(os.cpu_count()),
        "cores": f"proxy {cores.proxy}, load and upstream {cores.load}",
        "congestion control": _read("sys/net/ipv4/tcp_congestion_control"),
        "queueing discipline": _read("sys/net/core/default_qdisc"),
        "tcp_rmem": " ".join(_read("sys/net/ipv4/tcp_rmem").split()),
        "tcp_wmem": " ".join(_read("sys/net/ipv4/tcp_wmem").split()),
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
