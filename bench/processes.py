"""
Children: pinned to a core, writing to files, and never left behind.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field, frozen

from bench.machine import process_tree

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_SECONDS = 3.0
POLL_SECONDS = 0.02
FIRST_PORT, LAST_PORT = 21000, 32000
"""Below the range that the kernel takes the clients' ports from."""

LAST_WORDS_OCTETS = 400

_libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A child did not become ready; the text says why."""


def _prepare_child(core: int) -> Callable[[], None]:
    def prepare() -> None:
        # A child dies with us even where we are killed outright.
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {core})

    return prepare


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@frozen(eq=False)
class Child:
    """
    A running child.

    @ivar process: the process.
    @ivar log_path: where its standard output and error go.
    """

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def pids(self) -> list[int]:
        """Its process and all that descend from it."""
        return process_tree(self.process.pid)

    def last_words(self) -> str:
        """The last line that it wrote: what an error ends with."""
        text = self.log_path.read_bytes()[-LAST_WORDS_OCTETS:].decode(errors="replace").strip()
        return text.splitlines()[-1].strip() if text else "it said nothing"

    def stop(self) -> None:
        """End it, and what descends from it, politely and then not."""
        tree = self.pids
        if self.is_alive:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in tree[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        end = time.monotonic() + STOP_TIMEOUT_SECONDS
        while any(map(_runs, tree[1:])) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


@define(eq=False)
class Nursery:
    """
    Starts children and ends them all.

    @ivar directory: where their files and logs go.
    """

    directory: Path
    _children: list[Child] = field(factory=list, init=False)
    _started: int = field(default=0, init=False)
    # Several benches, and their tests, may run at once.
    _next_port: int = field(factory=lambda: random.randrange(FIRST_PORT, LAST_PORT), init=False)

    def spawn(self, name: str, argv: Sequence[str], core: int) -> Child:
        """
        Start a child on a core.

        @param name: the log file's name begins with it.
        @param argv: what to run.
        @param core: where to run it.
        """
        self._started += 1
        log_path = self.directory / f"{name}-{self._started}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                preexec_fn=_prepare_child(core),  # noqa: PLW1509 - this process has one thread
            )
        child = Child(process, log_path)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> None:
        """End one child."""
        child.stop()
        if child in self._children:
            self._children.remove(child)

    def stop_all(self) -> None:
        """End all children."""
        for child in list(self._children):
            self.stop(child)

    def free_port(self) -> int:
        """A port of 127.0.0.1 that neither TCP nor UDP uses; each call gives another."""
        for _ in range(LAST_PORT - FIRST_PORT):
            port = self._next_port
            self._next_port = port + 1 if port + 1 < LAST_PORT else FIRST_PORT
            if all(_is_free(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                return port
        raise StartError("no free port")


def _is_free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pinned(core: int) -> Callable[[], None]:
    """What C{preexec_fn} needs, for a child that is waited for."""
    return _prepare_child(core)


def accepts(port: int) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def await_ready(child: Child, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
    """
    Wait until a child serves.

    @raises StartError: it ended, or the time did.
    """
    end = time.monotonic() + timeout_seconds
    while not is_ready():
        if not child.is_alive:
            raise StartError(f"ended with status {child.process.returncode}: {child.last_words()}")
        if time.monotonic() > end:
            raise StartError(f"not ready after {timeout_seconds:.0f} s")
        time.sleep(POLL_SECONDS)
