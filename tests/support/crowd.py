"""
Many connections that are open at once.

C{serve} says its port, and sends back what comes. C{open PORT COUNT} opens connections, and then
does what lines of JSON tell it: C{"speak"} on each and hear the same, or C{"leave"}; it says when that
is done, and how many answered rightly.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import threading
from typing import Any

PORT_SECONDS = 30
READ_OCTETS = 65536
_BACKLOG = 4096


def _say(kind: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **facts}) + "\n")
    sys.stdout.flush()


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve() -> None:
    """Send back what comes, until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    _say("port", port=listening.getsockname()[1])
    threading.Thread(target=_echo, args=(listening,), daemon=True).start()
    sys.stdin.read()


def _echo(listening: socket.socket) -> None:
    poll = select.epoll()
    poll.register(listening, select.EPOLLIN)
    served: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listening.fileno():
                accepted, _ = listening.accept()
                served[accepted.fileno()] = accepted
                poll.register(accepted, select.EPOLLIN)
                continue
            try:
                octets = served[descriptor].recv(READ_OCTETS)
                served[descriptor].sendall(octets)
            except OSError:
                octets = b""
            if not octets:
                served.pop(descriptor).close()


def come(port: int, count: int) -> None:
    """Open C{count} connections, and do as told."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), timeout=PORT_SECONDS)
        clients.append(client)
    _say("open", count=len(clients))
    for line in sys.stdin:
        order = json.loads(line)
        if order == "speak":
            _say("spoke", right=_speak(clients))
        elif order == "leave":
            for client in clients:
                client.close()
            _say("left")


def _speak(clients: list[socket.socket]) -> int:
    for number, client in enumerate(clients):
        client.sendall(b"hello from %08d\n" % number)
    right = 0
    for number, client in enumerate(clients):
        wanted = b"hello from %08d\n" % number
        heard = b""
        while len(heard) < len(wanted) and (octets := client.recv(len(wanted) - len(heard))):
            heard += octets
        right += heard == wanted
    return right


if __name__ == "__main__":
    _raise_descriptor_limit()
    if sys.argv[1] == "serve":
        serve()
    else:
        come(int(sys.argv[2]), int(sys.argv[3]))
