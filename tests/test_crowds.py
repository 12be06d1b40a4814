"""Many connections at once: none lost, none stuck, little memory for each, nothing left after them."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, one_upstream, read_exactly
from tests.support.process import Pmmux, descriptors, resident_octets
from tests.support.waiting import wait_for

MOST_RELAYED = 9000
MOST_SILENT = 5000
# What the descriptor limit allows is kept below it.
DESCRIPTORS_FOR_ALL = 19_000
KIB = 1 << 10
MIB = 1 << 20
PREVIEW_LIMIT_OCTETS = 32 * KIB


class CrowdTests:
    relayed_octets_each: int
    silent_octets_each: int

    def start_with_server(self, more: str = "", condition: str = "") -> Pmmux:
        server = self.run_program("crowd", "serve")
        (said,) = server.wait_said("port")
        return self.start(one_upstream(said["port"], more, condition))

    def test_relayed(self) -> None:
        pmmux = self.start_with_server()
        before, memory = descriptors(pmmux.pid), resident_octets(pmmux.pid)
        crowd = self.run_program("crowd", "open", str(pmmux.port), str(MOST_RELAYED))
        crowd.wait_said("open", 1, 60)
        for round_number in (1, 2):
            crowd.tell("speak")
            said = crowd.wait_said("spoke", round_number, 60)[-1]
            self.assertEqual(said["right"], MOST_RELAYED)
        self.assertEqual(descriptors(pmmux.pid)["socket"], before["socket"] + 2 * MOST_RELAYED)
        each = (resident_octets(pmmux.pid) - memory) / MOST_RELAYED
        self.assertLess(each, self.relayed_octets_each)
        crowd.tell("leave")
        crowd.wait_said("left", 1, 60)
        pmmux.wait_finished(MOST_RELAYED, 60)
        self.assertEqual(pmmux.outcomes(), {"closed": MOST_RELAYED})
        self.wait_closed(pmmux, before["socket"])
        self.assertEqual(descriptors(pmmux.pid), before)

    def test_silent(self) -> None:
        pmmux = self.start_with_server(
            "detect-timeout = 60s\nselection-timeout = 60s", r"preview = hello from \d+\n"
        )
        before, memory = descriptors(pmmux.pid), resident_octets(pmmux.pid)
        crowd = self.run_program("crowd", "open", str(pmmux.port), str(MOST_SILENT))
        crowd.wait_said("open", 1, 60)
        wait_for(
            lambda: descriptors(pmmux.pid)["socket"] >= before["socket"] + MOST_SILENT, "all accepted", 30
        )
        each = (resident_octets(pmmux.pid) - memory) / MOST_SILENT
        self.assertLess(each, self.silent_octets_each)
        started_at = time.monotonic()
        client = self.connect(pmmux)
        client.sendall(b"hello from 1\n")
        self.assertEqual(read_exactly(client, 13), b"hello from 1\n")
        self.assertLess(time.monotonic() - started_at, 1)
        client.close()
        crowd.tell("speak")
        (said,) = crowd.wait_said("spoke", 1, 60)
        self.assertEqual(said["right"], MOST_SILENT)
        crowd.tell("leave")
        pmmux.wait_finished(MOST_SILENT + 1, 60)
        self.assertEqual(pmmux.outcomes(), {"closed": MOST_SILENT + 1})
        self.wait_closed(pmmux, before["socket"])

    def test_undecided_with_endless_octets(self) -> None:
        # Property: bounded memory for each connection that is not decided.
        count = 300
        pmmux = self.start_with_server(
            "detect-timeout = 60s\nselection-timeout = 60s", r"preview = (x.)*the end"
        )
        memory = resident_octets(pmmux.pid)
        clients = [self.connect(pmmux) for _ in range(count)]
        for client in clients:
            client.sendall(b"xx" * ((PREVIEW_LIMIT_OCTETS - 2) // 2))
        time.sleep(1)
        self.assertEqual(pmmux.finished(), [])
        self.assertLess(resident_octets(pmmux.pid) - memory, count * 2 * PREVIEW_LIMIT_OCTETS + 4 * MIB)
        for client in clients:
            # It is refused when the limit is reached, and may be so while this is sent.
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
                client.send(b"xx" * 500_000)
        pmmux.wait_finished(count)
        self.assertEqual(pmmux.outcomes(), {"no-backend": count})

    def test_endless_octets_while_the_upstream_is_connected(self) -> None:
        # Nobody accepts there, and its backlog is full: connecting takes as long as it may.
        listening = self.listen(backlog=0)
        fill = [self.connect_in_background(listening.getsockname()[1]) for _ in range(4)]
        self.assertEqual(len(fill), 4)
        count = 50
        pmmux = self.start(
            one_upstream(listening.getsockname()[1], "connect-timeout = 3s\nconnect-retries = 0")
        )
        memory = resident_octets(pmmux.pid)
        for _ in range(count):
            client = self.connect_in_background(pmmux.port)
            client.setblocking(True)
            client.settimeout(0.05)
            try:
                for _ in range(8):
                    client.sendall(b"x" * MIB)
            except OSError:
                pass
        self.assertLess(resident_octets(pmmux.pid) - memory, count * 4 * PREVIEW_LIMIT_OCTETS + 8 * MIB)
        pmmux.wait_finished(count)
        self.assertEqual(pmmux.outcomes(), {"connect-failed": count})

    def connect_in_background(self, port: int) -> socket.socket:
        client = socket.socket()
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        return client


class FastCrowdTests(CrowdTests, OnFastPath, PmmuxCase):
    relayed_octets_each = 6 * KIB
    silent_octets_each = 3 * KIB


class PortableCrowdTests(CrowdTests, OnPortablePath, PmmuxCase):
    relayed_octets_each = 24 * KIB
    silent_octets_each = 16 * KIB
