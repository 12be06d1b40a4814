"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

POLL_SECONDS = 0.02
USUAL_SECONDS = 15.0

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
    """A port that was free a moment ago, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
