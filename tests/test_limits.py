"""Limits: descriptors that run out, and how many connections there may be."""

from __future__ import annotations

import os
import resource
import socket
import time

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, one_upstream, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import Pmmux, descriptors
from tests.support.waiting import wait_for


class LimitTests:
    def speak(self, client: socket.socket) -> bool:
        client.sendall(b"hello")
        return read_exactly(client, 5) == b"hello"

    def is_answered(self, client: socket.socket, seconds: float = 0.5) -> bool:
        client.settimeout(seconds)
        try:
            return client.recv(5) != b""
        except TimeoutError:
            return False
        finally:
            client.settimeout(20)

    def serves(self, pmmux: Pmmux) -> bool:
        with socket.create_connection(("127.0.0.1", pmmux.port), timeout=20) as client:
            try:
                return self.speak(client)
            except OSError:
                return False

    def check_serves(self, pmmux: Pmmux) -> None:
        self.assertTrue(self.serves(pmmux))

    def test_most_connections(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, "max-connections = 10"))
        clients = [self.connect(pmmux) for _ in range(10)]
        for client in clients:
            self.assertTrue(self.speak(client))
        # More wait in the backlog; the limit is no reason to refuse them.
        late = [self.connect(pmmux) for _ in range(3)]
        for client in late:
            client.sendall(b"hello")
        self.assertFalse(self.is_answered(late[0]))
        for client, waiting in zip(clients, late, strict=False):
            client.close()
            self.assertEqual(read_exactly(waiting, 5), b"hello")
        for client in (*clients, *late):
            client.close()
        pmmux.wait_finished(13)
        self.assertEqual(pmmux.outcomes(), {"closed": 13})
        paused = [event for event in pmmux.events() if "accepting pauses" in event["message"]]
        self.assertEqual(len(paused), 1)

    def test_signal_while_at_the_limit(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, "max-connections = 1\ndrain-timeout = 500"))
        client = self.connect(pmmux)
        self.assertTrue(self.speak(client))
        waiting = self.connect(pmmux)
        waiting.sendall(b"hello")
        self.assertEqual(pmmux.stop(), 0)
        self.assert_ended(client)

    def test_as_many_as_the_descriptors_allow(self) -> None:
        # Whether more are asked for or nothing is said; those beyond wait in the backlog, and are served.
        peer = Peer(self, echo)
        for wanted in ("", "max-connections = 1000"):
            pmmux = self.start(one_upstream(peer.port, wanted), descriptor_limit=100)
            clients = [self.connect(pmmux) for _ in range(40)]
            for client in clients:
                client.sendall(b"hello")
            answered = [client for client in clients if self.is_answered(client, 0.2)]
            self.assertEqual(len(answered), 25)
            for client in clients:
                if client not in answered:
                    answered.pop(0).close()
                    self.assertEqual(read_exactly(client, 5), b"hello")
                    answered.append(client)
            for client in clients:
                client.close()
            pmmux.wait_finished(40)
            self.assertEqual(pmmux.outcomes(), {"closed": 40})
            said = [event for event in pmmux.events() if "there may be 25 connections" in event["message"]]
            self.assertEqual(len(said), bool(wanted))

    def test_descriptors_run_out(self) -> None:
        # Taken away while it runs, so that the system refuses before the limit on connections does.
        peer = Peer(self, echo)
        started = one_upstream(peer.port, condition="preview = hello")
        pmmux = self.start(started, descriptor_limit=1000)
        first = self.connect(pmmux)
        self.assertTrue(self.speak(first))
        before = descriptors(pmmux.pid)["socket"]
        most = max(int(name) for name in os.listdir(f"/proc/{pmmux.pid}/fd")) + 1
        resource.prlimit(pmmux.pid, resource.RLIMIT_NOFILE, (most + 9, most + 9))
        clients = [self.connect(pmmux) for _ in range(30)]
        wait_for(lambda: "cannot accept: Too many open files" in pmmux.output(), "descriptors running out")
        for client in clients:
            client.sendall(b"hello")
        time.sleep(0.5)
        self.assertIsNone(pmmux.process.poll())
        self.assertTrue(self.speak(first))
        for client in clients:
            client.close()
        # Until they are closed there too, there may be no descriptor for the upstream.
        wait_for(lambda: self.serves(pmmux), "service")
        self.wait_closed(pmmux, before)
        self.check_serves(pmmux)
        # Nobody was dropped by the accepting itself.
        self.assertNotIn("lost while it was accepted", pmmux.output())
        self.assertLessEqual(
            set(pmmux.outcomes()), {"closed", "client-gone", "connect-failed", "reset-by-client"}
        )
        warnings = [event for event in pmmux.events() if "cannot accept" in event["message"]]
        self.assertLess(len(warnings), 30)


class FastLimitTests(LimitTests, OnFastPath, PmmuxCase):
    pass


class PortableLimitTests(LimitTests, OnPortablePath, PmmuxCase):
    pass
