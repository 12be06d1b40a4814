"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

POLL_SECONDS = 0.02
USUAL_SECONDS = 15.0
FIRST_PORT = 10000
PORT_TRIES = 1000

Found = TypeVar("Found")


def wait_for(find: Callable[[], Found], what: str, seconds: float = USUAL_SECONDS) -> Found:
    """
    Call C{find} until it returns something true.

    @param what: what is waited for, for the failure's message.
    @return: what C{find} returned.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens on C{port}."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def accepts_on(path: Path) -> bool:
    """Whether somebody listens on the unix socket C{path}."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def free_port() -> int:
    """
    A port of all addresses that is free over TCP and UDP, for servers that cannot choose one themselves.

    It is not one of those that the system gives out by itself: nobody gets it in the meantime but by asking
    for it.
    """
    lowest_given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(PORT_TRIES):
        port = random.SystemRandom().randrange(FIRST_PORT, lowest_given_out)
        if all(_can_bind(kind, port) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
            return port
    raise AssertionError(f"no free port below {lowest_given_out}")


def _can_bind(kind: int, port: int) -> bool:
    family, host = (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")
    with socket.socket(family, kind) as probe, contextlib.suppress(OSError):
        probe.bind((host, port))
        return True
    return False
