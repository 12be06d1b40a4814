"""Short connections, one after another from several threads, each of them judged."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

from attrs import frozen

from tests.support.case import PmmuxCase
from tests.support.process import ROOT, clean_environment, kill_group
from tests.support.waiting import accepts, free_port, wait_for

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example.org\r\nConnection: close\r\n\r\n"
TIMEOUT_SECONDS = 10.0


@frozen
class Failure:
    """
    @ivar began_at: on the monotonic clock.
    """

    began_at: float
    ended_at: float
    error: str


class Load:
    """
    Clients that ask again and again, until L{stop}.

    @ivar answers: how often each answer came.
    @ivar failures: everything that was not an answer.
    """

    def __init__(self, case: PmmuxCase, port: int, threads: int = 3, pause_seconds: float = 0.004) -> None:
        self.port = port
        self.answers: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        case.addCleanup(self._stopping.set)
        for thread in self._threads:
            thread.start()

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def stop(self) -> None:
        """Ask no more; what was asked is answered first."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def go_on(self, count: int) -> None:
        """Wait until C{count} more are done."""
        wanted = self.total + count
        wait_for(lambda: self.total >= wanted, f"{count} more connections")

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_seconds):
            began_at = time.monotonic()
            try:
                answer = ask(self.port)
            except OSError as error:
                self.failures.append(Failure(began_at, time.monotonic(), repr(error)))
            else:
                with self._lock:
                    self.answers[answer] += 1


def ask(port: int) -> str:
    """
    One request on a connection of its own. @return: the answer's body.

    @raises OSError: there was no answer.
    """
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as client:
        client.sendall(REQUEST)
        heard = b""
        while octets := client.recv(65536):
            heard += octets
    head, _, body = heard.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(f"answered by {heard[:80]!r}")
    return body.decode()


class Server:
    """An HTTP server that can be killed and started again on its port."""

    def __init__(self, case: PmmuxCase, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._process: Any = None
        case.addCleanup(self.kill)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.http_server", str(self.port), self.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=clean_environment(),
            start_new_session=True,
        )
        wait_for(lambda: accepts(self.port), f"{self.name} listening")

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None
