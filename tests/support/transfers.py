"""
Transfers between a client and a server, each in a process of its own, with every octet checked.

C{serve} says its port, then what became of each transfer. C{drive PORT} reads a list of L{Transfer}s
from standard input, makes them, and says the same from its side. What is sent is cut from one block
that both know, from a place that differs for each transfer: so a receiver compares what it gets at
the speed of memory, and an octet lost, doubled, swapped or from another connection is found.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import asdict, frozen

BLOCK_OCTETS = (1 << 20) + 7
BLOCK = random.Random(1).randbytes(BLOCK_OCTETS)
TWICE = BLOCK + BLOCK
STEP_OCTETS = 7919
HEADER_OCTETS = 512
STUCK_SECONDS = 60
AT_ONCE = 48
BEGIN = b"!"
RESET_ON_CLOSE = b"\1\0\0\0\0\0\0\0"

# How octets are sent.
FLOWING, OCTETS, PAUSING = "flowing", "octets", "pausing"
# How they are read.
EAGER, SLOW = "eager", "slow"
# Who ends, and how.
CLIENT_FIRST, SERVER_FIRST, BOTH = "client-first", "server-first", "both"
CLIENT_RESETS, SERVER_RESETS = "client-resets", "server-resets"
# How a side found the other's data to end.
ENDED, RESET = "ended", "reset"


@frozen
class Transfer:
    """
    One connection.

    @ivar up: how many octets the client sends, after the header.
    @ivar down: how many the server sends.
    """

    number: int
    up: int = 0
    down: int = 0
    sending: str = FLOWING
    reading: str = EAGER
    ending: str = BOTH

    def header(self) -> bytes:
        """What the client sends first, so that the server knows its part."""
        return json.dumps({"transfer": asdict(self)}).encode().ljust(HEADER_OCTETS)


def _place(number: int, is_up: bool, position: int) -> int:
    return (2 * number + is_up) * STEP_OCTETS % BLOCK_OCTETS + position


class _Side:
    """One end of one transfer."""

    def __init__(self, sock: socket.socket, transfer: Transfer, is_client: bool) -> None:
        self.sock = sock
        self.transfer = transfer
        self.is_client = is_client
        self.received = 0
        self.intact = True
        self.end = ""
        self._random = random.Random(2 * transfer.number + is_client)
        sock.settimeout(STUCK_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> dict[str, Any]:
        """Play the part. @return: what became of it."""
        try:
            self._play()
        except ConnectionResetError:
            self.end = RESET
        except BrokenPipeError:
            self.end = RESET
        except OSError as error:
            self.end = repr(error)
        finally:
            self.sock.close()
        return {
            "kind": "transfer",
            "number": self.transfer.number,
            "received": self.received,
            "intact": self.intact,
            "end": self.end,
        }

    def _play(self) -> None:
        transfer = self.transfer
        begins = CLIENT_FIRST if self.is_client else SERVER_FIRST
        resets = CLIENT_RESETS if self.is_client else SERVER_RESETS
        if transfer.ending == begins:
            self._send()
            self.sock.shutdown(socket.SHUT_WR)
            self._receive()
        elif transfer.ending == resets:
            if self.is_client:
                # Before that it may not have been routed yet, and there would be no server to see it.
                self.sock.recv(1)
            self._send()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.end = ENDED
        elif transfer.ending == BOTH:
            sender = threading.Thread(target=self._send_and_end)
            sender.start()
            self._receive()
            sender.join()
        elif transfer.ending in (CLIENT_FIRST, SERVER_FIRST):
            self._receive()
            self._send()
            self.sock.shutdown(socket.SHUT_WR)
        else:
            if not self.is_client:
                self.sock.sendall(BEGIN)
            self._receive()

    def _send_and_end(self) -> None:
        try:
            self._send()
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.intact = False
            self.end = f"sending: {error!r}"

    def _send(self) -> None:
        transfer = self.transfer
        count = transfer.up if self.is_client else transfer.down
        sent = 0
        view = memoryview(TWICE)
        while sent < count:
            size = min(count - sent, BLOCK_OCTETS)
            if transfer.sending == OCTETS:
                size = 1
                time.sleep(0.001)
            elif transfer.sending == PAUSING:
                size = min(size, self._random.choice((1, 100, 1460, 16384, 100_000)))
                time.sleep(self._random.random() * 0.02)
            place = _place(transfer.number, self.is_client, sent) % BLOCK_OCTETS
            self.sock.sendall(view[place : place + size])
            sent += size

    def _receive(self) -> None:
        transfer = self.transfer
        buffer = bytearray(BLOCK_OCTETS)
        view = memoryview(buffer)
        naps = 20 if transfer.reading == SLOW else 0
        while True:
            if naps:
                naps -= 1
                time.sleep(0.02)
                limit = self._random.choice((1, 1000, 30_000))
            else:
                limit = BLOCK_OCTETS
            count = self.sock.recv_into(buffer, limit)
            if not count:
                self.end = self.end or ENDED
                return
            place = _place(transfer.number, not self.is_client, self.received) % BLOCK_OCTETS
            if not TWICE.startswith(view[:count], place):
                self.intact = False
            self.received += count


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _read_header(sock: socket.socket) -> Transfer | None:
    octets = b""
    while len(octets) < HEADER_OCTETS:
        more = sock.recv(HEADER_OCTETS - len(octets))
        if not more:
            return None
        octets += more
    return Transfer(**json.loads(octets)["transfer"])


def _serve_one(sock: socket.socket) -> None:
    sock.settimeout(STUCK_SECONDS)
    try:
        transfer = _read_header(sock)
    except OSError as error:
        _say({"kind": "trouble", "error": repr(error)})
        return
    if transfer is not None:
        _say(_Side(sock, transfer, False).run())


def serve() -> None:
    """Serve until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    _say({"kind": "port", "port": listening.getsockname()[1]})

    def accept() -> None:
        while True:
            accepted, _ = listening.accept()
            threading.Thread(target=_serve_one, args=(accepted,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def _make(port: int, transfer: Transfer) -> None:
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=STUCK_SECONDS)
        header = transfer.header()
        if transfer.sending == PAUSING:
            # The decision has to be the same however what it is made from arrives.
            sock.sendall(header[:5])
            time.sleep(0.01)
            header = header[5:]
        sock.sendall(header)
    except OSError as error:
        _say({"kind": "trouble", "error": repr(error)})
        return
    _say(_Side(sock, transfer, True).run())


def drive(port: int) -> None:
    """Make the transfers that a line of standard input lists."""
    transfers = [Transfer(**each) for each in json.loads(sys.stdin.readline())]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for transfer in transfers:
            pool.submit(_make, port, transfer)
    _say({"kind": "done"})
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        drive(int(sys.argv[2]))
