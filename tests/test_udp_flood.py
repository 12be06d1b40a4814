"""A hundred thousand sources that are not there: sessions are bounded, established ones are kept."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.support.case import PmmuxCase
from tests.support.datagrams import DatagramServer, ask, datagram_client
from tests.support.namespaces import Namespace, needs_namespaces
from tests.support.process import descriptors, resident_octets
from tests.support.waiting import wait_for
from tests.test_udp import backend, config

SOURCES = 100_000
WARM_UP_SOURCES = 20_000
ESTABLISHED = 20
MOST_SESSIONS = 1000
FLOOD_SECONDS = 120.0
LINES_PER_SECOND = 100
GROWTH_LIMIT_OCTETS = 4 << 20
NETWORK = "10.216.0.0/15"

# Any address of the network is the sender's own, as far as its kernel is concerned.
SENDER = """
import ipaddress, socket, sys, time
first, count, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
base = int(ipaddress.ip_address("10.216.0.0"))
for number in range(first, first + count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((str(ipaddress.ip_address(base + number)), 1024 + number % 60000))
        sock.sendto(b"spoofed %d" % number, (host, port))
    if number % 50 == 49:
        time.sleep(0.004)
"""


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

        def all_answer() -> None:
            for number, client in enumerate(clients):
                self.assertEqual(ask(client, b"client %d" % number), b"client %d" % number)

        def send(first: int, count: int) -> None:
            sender = subprocess.Popen(
                space.command(
                    sys.executable, "-c", SENDER, str(first), str(count), space.ours, str(started.port)
                )
            )
            self.addCleanup(sender.kill)
            deadline = time.monotonic() + FLOOD_SECONDS
            while sender.poll() is None:
                self.assertLess(time.monotonic(), deadline)
                all_answer()
                self.assertLess(descriptors(started.pid)["socket"], MOST_SESSIONS + 50)
                time.sleep(0.2)
            self.assertEqual(sender.returncode, 0)

        all_answer()
        all_answer()
        known = set(server.clients)
        send(0, WARM_UP_SOURCES)
        before = resident_octets(started.pid)
        send(WARM_UP_SOURCES, SOURCES - WARM_UP_SOURCES)
        all_answer()
        self.assertLess(resident_octets(started.pid) - before, GROWTH_LIMIT_OCTETS)
        # A slow machine loses some of them, which is well.
        wait_for(lambda: sum(server.clients.values()) > SOURCES / 2, "most of them passed on")
        # The established are still heard from the sockets that they had.
        rounds = min(server.clients[client] for client in known)
        self.assertEqual(len(known), ESTABLISHED)
        self.assertEqual({server.clients[client] for client in known}, {rounds})
        self.assertLess(len(started.finished()), LINES_PER_SECOND * FLOOD_SECONDS)

    def test_silent_upstream(self) -> None:
        """Nobody answers them."""
        self.flood(answers=False)

    def test_answering_upstream(self) -> None:
        """They are answered, and do not answer back."""
        self.flood(answers=True)
