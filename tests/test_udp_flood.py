"""A hundred thousand sources that are not there: sessions are bounded, established ones are kept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.case import PmmuxCase
from tests.support.datagrams import DatagramServer, ask, datagram_client
from tests.support.namespaces import Namespace, needs_namespaces
from tests.support.process import descriptors, resident_octets
from tests.test_udp import backend, config

SOURCES = 100_000
WARM_UP_SOURCES = 20_000
ESTABLISHED = 20
MOST_SESSIONS = 1000
LINES_PER_SECOND = 100
GROWTH_LIMIT_OCTETS = 4 << 20
NETWORK = "198.18.0.0/15"
STEP = 200
STEP_SECONDS = 5.0
PASSED_ON_SHARE = 0.9

# Any address of the network is the sender's own, as far as its kernel is concerned. It sends so many for
# each line that it reads.
SENDER = """
import ipaddress, socket, sys
number, step, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
base = int(ipaddress.ip_address("198.18.0.0"))
for line in sys.stdin:
    for number in range(number, number + step):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(ipaddress.ip_address(base + number)), 1024 + number % 60000))
            sock.sendto(b"spoofed %d" % number, (host, port))
    number += 1
    print(number, flush=True)
"""


def full_buffers(pid: int) -> int:
    """How many datagrams have found no room in a receive buffer, in the network of a process."""
    names, numbers = (
        line.split()
        for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()
        if line.startswith("Udp:")
    )
    return int(numbers[names.index("RcvbufErrors")])


@needs_namespaces()
class FloodTests(PmmuxCase):
    """From a namespace that sends with every address of a large network."""

    def flood(self, answers: bool) -> None:
        """@param answers: whether the upstream answers those that are not there."""
        space = Namespace(self, 1)
        space.run("ip", "route", "add", "local", NETWORK, "dev", "lo")
        self.run_command(["ip", "route", "add", NETWORK, "via", space.theirs])
        server = DatagramServer(
            self, lambda octets: octets if answers or not octets.startswith(b"spoofed") else None
        )
        started = self.start(
            config(
                backend("up", server.port),
                bind=f"127.0.0.1, {space.ours}",
                listener=f"max-sessions = {MOST_SESSIONS}",
            )
        )
        clients = [datagram_client(self, started.port) for _ in range(ESTABLISHED)]
        sender = subprocess.Popen(
            space.command(sys.executable, "-c", SENDER, "0", str(STEP), space.ours, str(started.port)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(kill, sender)
        assert sender.stdin is not None and sender.stdout is not None
        asked = 0

        def all_answer() -> None:
            nonlocal asked
            for number, client in enumerate(clients):
                self.assertEqual(ask(client, b"client %d" % number), b"client %d" % number)
            asked += len(clients)

        def passed_on() -> int:
            return sum(server.clients.values()) - asked

        def send(end: int) -> None:
            """Each step waits for the one before to have arrived: nobody is to be faster than the others."""
            sent = 0
            while sent < end:
                sender.stdin.write(b"\n")
                sender.stdin.flush()
                sent = int(sender.stdout.readline())
                deadline = time.monotonic() + STEP_SECONDS
                while passed_on() + full_buffers(started.pid) < sent and time.monotonic() < deadline:
                    time.sleep(0.001)
                if sent % (STEP * 20) == 0:
                    all_answer()
                    self.assertLess(descriptors(started.pid)["socket"], MOST_SESSIONS + 50)

        began_at = time.monotonic()
        all_answer()
        all_answer()
        known = set(server.clients)
        send(WARM_UP_SOURCES)
        before = resident_octets(started.pid)
        send(SOURCES)
        all_answer()
        self.assertLess(resident_octets(started.pid) - before, GROWTH_LIMIT_OCTETS)
        self.assertGreaterEqual(passed_on(), SOURCES * PASSED_ON_SHARE)
        # Whatever was not passed on has found a full buffer, and pmmux has lost none of the others.
        self.assertEqual(passed_on() + full_buffers(started.pid), SOURCES)
        # The established are still heard from the sockets that they had.
        rounds = min(server.clients[client] for client in known)
        self.assertEqual(len(known), ESTABLISHED)
        self.assertEqual({server.clients[client] for client in known}, {rounds})
        self.assertEqual(rounds * ESTABLISHED, asked)
        self.assertLess(len(started.finished()), LINES_PER_SECOND * (time.monotonic() - began_at + 2))

    def test_silent_upstream(self) -> None:
        """Nobody answers them."""
        self.flood(answers=False)

    def test_answering_upstream(self) -> None:
        """They are answered, and do not answer back."""
        self.flood(answers=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it, and close what it is spoken with by."""
    process.kill()
    process.communicate()
