"""
Where measuring happens: the load generator, the upstream, the contenders that run, and what is observed.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from bench.contenders import TLS, UDP, Contender, Place, Routes, server_name
from bench.figures import Sample
from bench.load import LoadError, LoadResult, build_tools, make_certificate, make_hellos, read_result
from bench.machine import Cores, read_core_times, read_schedule
from bench.processes import Child, Nursery, StartError, accepts, await_ready, pinned

UPSTREAMS = 2
UPSTREAM_TIMEOUT_SECONDS = 5.0
PROXY_TIMEOUT_SECONDS = 10.0
TIMEOUT_PER_BACKEND_SECONDS = 0.005
"""Reading 10,000 backends takes some of them long."""

LOAD_SLACK_SECONDS = 40.0
"""Beyond what a load means to take, before it is ended."""

SETTLE_SECONDS = 0.1
FOREIGN_LIMIT_SHARE = 0.10
"""Others' work on the load's core is counted in ticks of 10 ms: below this share it cannot be told."""

# An ECHO datagram without payload: see struct datagram in payload.h.
ECHO_DATAGRAM = struct.pack("=IB3xIIQ", 0x706D6D62, ord("E"), 0, 0, 1)


@frozen(slots=True)
class Effort:
    """
    How much is done in each run.

    @ivar seconds: of each load that is bounded by time.
    @ivar bulk_octets: of each transfer, over all its flows.
    @ivar idle_connections: held while memory is read.
    """

    seconds: float = 1.0
    bulk_octets: int = 1_500_000_000
    idle_connections: int = 4000


QUICK = Effort(seconds=0.4, bulk_octets=300_000_000, idle_connections=1000)


@frozen
class Running:
    """
    A contender that serves.

    @ivar name: the contender's.
    @ivar port: where it listens.
    @ivar routes: what it routes.
    @ivar child: its process.
    """

    name: str
    port: int
    routes: Routes
    child: Child


@define
class Observation:
    """
    What was seen while something ran; complete when the observing ends.

    @ivar wall_seconds: how long.
    @ivar cpu_seconds: of the proxy.
    @ivar wait_seconds: of the proxy, able to run but waiting for its core.
    @ivar upstream_seconds: CPU time of the upstream.
    @ivar load_core_seconds: in which the load's core was busy.
    @ivar stolen_seconds: taken by the host from both cores.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wait_seconds: float = 0.0
    upstream_seconds: float = 0.0
    load_core_seconds: float = 0.0
    stolen_seconds: float = 0.0

    def load_share(self, load_cpu_seconds: float) -> float:
        """Share of the time in which load and upstream ran."""
        return (load_cpu_seconds + self.upstream_seconds) / self.wall_seconds

    def noise_share(self, load_cpu_seconds: float) -> float:
        """Share of the time in which others took what was the proxy's or the load's."""
        foreign = (self.load_core_seconds - load_cpu_seconds - self.upstream_seconds) / self.wall_seconds
        return max(
            self.wait_seconds / self.wall_seconds,
            self.stolen_seconds / self.wall_seconds,
            foreign if foreign > FOREIGN_LIMIT_SHARE else 0.0,
        )


@define(eq=False)
class Stand:
    """
    The place where contenders are measured.

    @ivar directory: for everything that is written while measuring.
    @ivar cores: where things run.
    @ivar effort: how much is done in each run.
    @ivar connections_limit: how many connections each contender is configured for.
    """

    directory: Path
    cores: Cores
    effort: Effort
    connections_limit: int
    nursery: Nursery = field(init=False)
    upstream_ports: list[int] = field(init=False, factory=list)
    _upstream: Child = field(init=False)
    _hellos: dict[int, Path] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.nursery = Nursery(self.directory)

    def open(self) -> None:
        """
        Build the tools and start the upstream.

        @raises StartError: one of them fails.
        """
        build_tools(self.directory)
        self.upstream_ports = [self.nursery.free_port() for _ in range(UPSTREAMS)]
        argv = [str(self.directory / "upstream"), *map(str, self.upstream_ports)]
        self._upstream = self.nursery.spawn("upstream", argv, self.cores.load)
        await_ready(self._upstream, lambda: accepts(self.upstream_ports[-1]), UPSTREAM_TIMEOUT_SECONDS)

    def close(self) -> None:
        """End everything that was started."""
        self.nursery.stop_all()

    def start(self, contender: Contender, routes: Routes) -> Running:
        """
        Start a contender and wait until it serves.

        @raises StartError: it does not.
        """
        port = self.nursery.free_port()
        directory = self.directory / f"{contender.name}-{port}"
        directory.mkdir()
        certificate = str(self._certificate()) if routes.transport == TLS else ""
        argv = contender.prepare(
            Place(routes, port, self.upstream_ports, directory, self.connections_limit, certificate)
        )
        child = self.nursery.spawn(contender.name, argv, self.cores.proxy)
        is_ready: Callable[[], bool] = (
            (lambda: _echoes(port)) if routes.transport == UDP else (lambda: accepts(port))
        )
        try:
            await_ready(child, is_ready, PROXY_TIMEOUT_SECONDS + routes.names * TIMEOUT_PER_BACKEND_SECONDS)
        except StartError:
            self.nursery.stop(child)
            raise
        time.sleep(SETTLE_SECONDS)
        return Running(contender.name, port, routes, child)

    def stop(self, running: Running) -> None:
        """End a contender."""
        self.nursery.stop(running.child)

    def _certificate(self) -> Path:
        path = self.directory / "certificate.pem"
        if not path.exists():
            make_certificate(path)
        return path

    def _hellos_for(self, names: int) -> Path:
        if names not in self._hellos:
            path = self.directory / f"hellos-{names}"
            path.write_bytes(make_hellos([server_name(i) for i in range(names)]))
            self._hellos[names] = path
        return self._hellos[names]

    def load_command(self, mode: str, running: Running | None, *arguments: object) -> list[str]:
        """
        The command that puts a load on a contender.

        @param mode: see main() in loadgen.c.
        @param running: whom to load; C{None} for the first upstream itself.
        """
        routes = Routes(1) if running is None else running.routes
        port = self.upstream_ports[0] if running is None else running.port
        head = [str(self.directory / "loadgen"), mode, str(self._hellos_for(routes.names))]
        return [*head, str(UPSTREAMS), str(port), *map(str, arguments)]

    def run_load(self, mode: str, running: Running | None, *arguments: object) -> LoadResult:
        """
        Put a load on a contender, or on the upstream itself.

        @raises LoadError: it could not measure.
        """
        try:
            done = subprocess.run(
                self.load_command(mode, running, *arguments),
                capture_output=True,
                text=True,
                timeout=self.effort.seconds + LOAD_SLACK_SECONDS,
                preexec_fn=pinned(self.cores.load),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"no end after {error.timeout:.0f} s") from error
        if done.returncode:
            raise LoadError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
        return read_result(done.stdout)

    def start_load(self, mode: str, running: Running, *arguments: object) -> subprocess.Popen[str]:
        """Start a load that is talked to by its standard input and output; who starts it ends it."""
        return subprocess.Popen(
            self.load_command(mode, running, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=pinned(self.cores.load),  # noqa: PLW1509 - this process has one thread
        )

    @contextmanager
    def observe(self, running: Running) -> Iterator[Observation]:
        """Observe a contender and both cores while the body runs."""
        seen = Observation()
        pids, upstream = running.child.pids, self._upstream.pids
        cores = {self.cores.proxy, self.cores.load}
        before, upstream_before = read_schedule(pids), read_schedule(upstream)
        cores_before = {core: read_core_times(core) for core in cores}
        started = time.monotonic()
        yield seen
        seen.wall_seconds = time.monotonic() - started
        spent = read_schedule(pids).since(before)
        seen.cpu_seconds, seen.wait_seconds = spent.run_seconds, spent.wait_seconds
        seen.upstream_seconds = read_schedule(upstream).since(upstream_before).run_seconds
        cores_after = {core: read_core_times(core) for core in cores}
        seen.stolen_seconds = max(cores_after[core].stolen - cores_before[core].stolen for core in cores)
        if self.cores.are_apart:
            load = self.cores.load
            seen.load_core_seconds = cores_after[load].busy - cores_before[load].busy

    def measure(
        self,
        running: Running,
        mode: str,
        *arguments: object,
        value: Callable[[LoadResult], float | None] = lambda result: result.rate,
    ) -> Sample:
        """
        Put a load on a contender and make a sample of it.

        @param value: what of the result is the row's measure.
        """
        try:
            with self.observe(running) as seen:
                result = self.run_load(mode, running, *arguments)
        except LoadError as error:
            return Sample(None, fault=str(error))
        fault = result.fault()
        if not running.child.is_alive:
            fault = f"{running.name} died: {running.child.last_words()}"
        return Sample(
            value=None if fault else value(result),
            units=result.total,
            cpu_seconds=seen.cpu_seconds,
            wall_seconds=seen.wall_seconds,
            noise_share=seen.noise_share(result.load_cpu_seconds),
            load_share=seen.load_share(result.load_cpu_seconds),
            p50_us=result.p50_us,
            p99_us=result.p99_us,
            loss_share=result.loss_share,
            fault=fault,
        )


def _echoes(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.settimeout(0.2)
        trial.connect(("127.0.0.1", port))
        try:
            trial.send(ECHO_DATAGRAM)
            return trial.recv(len(ECHO_DATAGRAM)) == ECHO_DATAGRAM
        except OSError:
            return False
