"""Datagram clients and servers that the test itself is, and free ports for those of others."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.support.case import SOCKET_SECONDS, PmmuxCase

LARGEST_OCTETS = 65536
LARGEST_IPV4_PAYLOAD_OCTETS = 65507
BUFFER_OCTETS = 4 << 20


def free_datagram_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


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
