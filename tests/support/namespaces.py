"""Network namespaces: one of the test's own, and others that are each linked with it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.support.case import PmmuxCase, find_program

Decorated = TypeVar("Decorated")
CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count(1)
_INSIDE: set[PmmuxCase] = set()
_libc = ctypes.CDLL(None, use_errno=True)


def _works() -> bool:
    if os.geteuid() != 0 or find_program("ip") is None:
        return False
    name = f"pmmux-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return True


def needs_namespaces(*programs: str) -> Callable[[Decorated], Decorated]:
    """Skip where namespaces cannot be made, or one of C{programs} is missing."""
    missing = [program for program in programs if find_program(program) is None]

    def mark(decorated: Decorated) -> Decorated:
        if missing:
            decorated.skip = f"missing: {', '.join(missing)}"  # type: ignore[attr-defined]
        elif not _works():
            decorated.skip = "network namespaces need root"  # type: ignore[attr-defined]
        return decorated

    return mark


def enter_own_namespace(case: PmmuxCase) -> None:
    """
    Until the test ends, give it a network of its own with nothing in it but loopback: everything that it
    opens and starts from now on is there, in nobody's way.
    """
    if case in _INSIDE:
        return
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _check(_libc.unshare(CLONE_NEWNET))
    _INSIDE.add(case)
    case.addCleanup(_leave, case, before)
    case.run_command(["ip", "link", "set", "lo", "up"])


def _leave(case: PmmuxCase, before: int) -> None:
    _INSIDE.discard(case)
    try:
        _check(_libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """
    A namespace with one interface, whose other end is in the test's own.

    @ivar ours: our address on the link.
    @ivar theirs: its address.
    """

    def __init__(self, case: PmmuxCase, number: int) -> None:
        """@param number: from 1 to 250, unique in the test; the link's network is 10.213.C{number}.0/24."""
        enter_own_namespace(case)
        self._case = case
        self.name = f"pmmux-{os.getpid()}-{next(_NUMBERS)}"
        link = f"to{number}"
        self.ours, self.theirs = f"10.213.{number}.1", f"10.213.{number}.2"
        case.addCleanup(self._delete)
        self._here("ip", "netns", "add", self.name)
        self._here("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self._here("ip", "address", "add", f"{self.ours}/24", "dev", link)
        self._here("ip", "link", "set", link, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.theirs}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", self.ours)

    def command(self, *command: str) -> Sequence[str]:
        """C{command}, to be run inside."""
        return ("ip", "netns", "exec", self.name, *command)

    def run(self, *command: str, **more: Any) -> str:
        """Run a command inside to its end."""
        return self._case.run_command(self.command(*command), **more)

    def _here(self, *command: str) -> None:
        self._case.run_command(command)

    def _delete(self) -> None:
        # The link goes with it.
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
