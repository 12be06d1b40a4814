"""Servers that are threads of the test, for what a small answer can show."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.support.case import SOCKET_SECONDS, PmmuxCase

BACKLOG = 1024


class Peer:
    """
    A server that runs C{serve} for each connection, in a thread of its own, and closes it after.

    @ivar faults: what was raised in C{serve}.
    @ivar served: how many connections it has finished.
    """

    def __init__(
        self,
        case: PmmuxCase,
        serve: Callable[[socket.socket], None],
        family: int = socket.AF_INET,
        **more: Any,
    ) -> None:
        self.faults: list[BaseException] = []
        self.served = 0
        self._serve = serve
        self._listening = case.listen(family, BACKLOG, **more)
        self._listening.settimeout(None)
        name = self._listening.getsockname()
        self.port: int = 0 if family == socket.AF_UNIX else name[1]
        # Shutting it down wakes the thread that accepts; closing does not.
        case.addCleanup(self._stop)
        threading.Thread(target=self._accept, daemon=True).start()

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(accepted,), daemon=True).start()

    def _run(self, accepted: socket.socket) -> None:
        with accepted:
            accepted.settimeout(SOCKET_SECONDS)
            try:
                self._serve(accepted)
            except BaseException as fault:  # told to the test
                self.faults.append(fault)
            finally:
                self.served += 1


def echo(sock: socket.socket) -> None:
    """Send back what comes, and end when that ends."""
    while octets := sock.recv(1 << 16):
        sock.sendall(octets)


def answer_with(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer the first octets with C{answer}, and close."""

    def serve(sock: socket.socket) -> None:
        if sock.recv(1 << 16):
            sock.sendall(answer)

    return serve


def all_answer_with(case: PmmuxCase, names: tuple[str, ...]) -> dict[str, int]:
    """Servers that tell their names, and read on until the client ends. @return: their ports."""

    def name_server(name: str) -> int:
        def serve(sock: socket.socket) -> None:
            sock.sendall(name.encode() + b"\n")
            while sock.recv(1 << 16):
                pass

        return Peer(case, serve).port

    return {name: name_server(name) for name in names}
