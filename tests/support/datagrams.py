"""Datagram clients and servers that the test itself is, and free ports for those of others."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.case import SOCKET_SECONDS, PmmuxCase
from tests.support.waiting import free_port, wait_for

LARGEST_OCTETS = 65536
LARGEST_IPV4_PAYLOAD_OCTETS = 65507
BUFFER_OCTETS = 4 << 20
# Not in Python's socket module.
SO_RCVBUFFORCE = 33
SERVER_TRIES = 5
READY, ENDED = "ready", "ended"
LISTENING = "0A"


def is_bound(port: int) -> bool:
    """Whether somebody receives datagrams on C{port}."""
    return bool(_places("udp", port))


def listens(port: int) -> bool:
    """Whether somebody takes connections on C{port}; asked without making one."""
    return any(place[3] == LISTENING for place in _places("tcp", port))


def _places(transport: str, port: int) -> list[list[str]]:
    tables = [Path(f"/proc/thread-self/net/{transport}{six}").read_text() for six in ("", "6")]
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [line for line in lines if line[1].endswith(f":{port:04X}")]


def start_server(
    case: PmmuxCase,
    command: Callable[[int], Sequence[str]],
    is_ready: Callable[[int], bool] = is_bound,
    **more: Any,
) -> tuple[int, subprocess.Popen[Any]]:
    """
    Start a server that is given its port, again on another one where it ends by itself.

    @param command: what to run, from the port.
    @param is_ready: whether it serves on the port by now.
    @return: its port, and the process; it is ready.
    """
    for _ in range(SERVER_TRIES):
        port = free_port()
        process = case.spawn(command(port), **more)
        name = Path(command(port)[0]).name
        if wait_for(lambda port=port, process=process: _state(is_ready, port, process), name, 30.0) == READY:
            return port, process
    written = (case.directory / f"{name}.output").read_text(errors="replace")
    raise AssertionError(f"{name} ended with status {process.returncode}: {written[-2000:]}")


def _state(is_ready: Callable[[int], bool], port: int, process: subprocess.Popen[Any]) -> str:
    if process.poll() is not None:
        return ENDED
    # Whoever is ready there is not it where it has ended meanwhile.
    return READY if is_ready(port) and process.poll() is None else ""


class DatagramServer:
    """
    Answers each datagram with what C{answer} makes of it, in a thread of its own; C{None} for silence.

    @ivar clients: whom it has heard, and how often.
    @ivar received: what it has heard, up to a limit.
    """

    def __init__(
        self,
        case: PmmuxCase,
        answer: Callable[[bytes], bytes | None] = lambda octets: octets,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = 1000,
    ) -> None:
        self.clients: dict[Any, int] = {}
        self.received: list[bytes] = []
        self._answer = answer
        self._keep = keep
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        with contextlib.suppress(PermissionError):
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS)
        self._sock.bind((host, port))
        self.port: int = self._sock.getsockname()[1]
        self._running = True
        case.addCleanup(self.stop)
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Close it: whoever sends here is refused then."""
        self._running = False
        with contextlib.suppress(OSError):
            # Wakes the thread, which closing alone does not.
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _serve(self) -> None:
        while self._running:
            try:
                octets, client = self._sock.recvfrom(LARGEST_OCTETS)
                if not self._running:
                    return
                self.clients[client] = self.clients.get(client, 0) + 1
                if len(self.received) < self._keep:
                    self.received.append(octets)
                answer = self._answer(octets)
                if answer is not None:
                    self._sock.sendto(answer, client)
            except OSError:
                if not self._running:
                    return


def datagram_client(case: PmmuxCase, where: Any, seconds: float = SOCKET_SECONDS) -> socket.socket:
    """
    A client that speaks with one address.

    @param where: a port of 127.0.0.1, or an address.
    """
    if isinstance(where, int):
        where = ("127.0.0.1", where)
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    case.addCleanup(client.close)
    client.settimeout(seconds)
    client.connect(where)
    return client


def ask(client: socket.socket, octets: bytes) -> bytes:
    """Send C{octets}, and wait for one answer."""
    client.send(octets)
    return client.recv(LARGEST_OCTETS)


def hears_nothing(client: socket.socket, seconds: float = 0.3) -> bool:
    """Whether nothing arrives for so long."""
    client.settimeout(seconds)
    try:
        client.recv(LARGEST_OCTETS)
    except TimeoutError:
        return True
    return False
