"""Limits per backend and per client: what waits, what is refused, and what is let in again."""

from __future__ import annotations

import json
import signal
import socket
import time

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, one_upstream, read_exactly
from tests.support.peers import Peer, all_answer_with, echo
from tests.support.process import Pmmux
from tests.support.waiting import wait_for


class LimitCase(PmmuxCase):
    def speak(self, client: socket.socket) -> bool:
        client.sendall(b"hello")
        try:
            return read_exactly(client, 5) == b"hello"
        except ConnectionResetError:
            return False

    def wait_outcome(self, started: Pmmux, outcome: str, count: int = 1) -> list[dict[str, str]]:
        wait_for(lambda: started.outcomes()[outcome] >= count, f"{count} times {outcome}")
        return [event for event in started.finished() if event["outcome"] == outcome]


class BackendTests:
    """Of C{max-connections}, C{max-queue} and C{queue-timeout}."""

    def full(self, more: str, connections: int = 2) -> tuple[Pmmux, list[socket.socket]]:
        """One whose backend is full."""
        port = Peer(self, echo).port
        started = self.start(one_upstream(port, "", f"max-connections = {connections}\n{more}"))
        clients = [self.connect(started) for _ in range(connections)]
        for client in clients:
            self.assertTrue(self.speak(client))
        return started, clients

    def test_one_waits_for_room(self) -> None:
        started, clients = self.full("queue-timeout = 30s")
        waiting = self.connect(started)
        waiting.sendall(b"hello")
        waiting.settimeout(0.3)
        self.assertRaises(TimeoutError, waiting.recv, 5)
        clients.pop().close()
        waiting.settimeout(20)
        self.assertEqual(read_exactly(waiting, 5), b"hello")

    def test_first_come_first_served(self) -> None:
        started, clients = self.full("queue-timeout = 30s", 1)
        waiting = []
        for number in range(3):
            waiting.append(self.connect(started))
            waiting[-1].sendall(b"%d" % number)
            time.sleep(0.05)
        clients[0].close()
        for number, client in enumerate(waiting):
            self.assertEqual(client.recv(1), b"%d" % number)
            client.close()

    def test_too_late(self) -> None:
        started, _ = self.full("queue-timeout = 200")
        waiting = self.connect(started)
        waiting.sendall(b"hello")
        self.assert_ended(waiting)
        (event,) = self.wait_outcome(started, "limit-reached")
        self.assertIn("no room within 0.2 s", event["detail"])

    def test_the_queue_is_full(self) -> None:
        started, clients = self.full("queue-timeout = 30s\nmax-queue = 1", 1)
        waiting, refused = self.connect(started), None
        waiting.sendall(b"hello")
        time.sleep(0.1)
        refused = self.connect(started)
        refused.sendall(b"hello")
        self.assert_ended(refused)
        (event,) = self.wait_outcome(started, "limit-reached")
        self.assertIn("full queue", event["detail"])
        clients[0].close()
        self.assertEqual(read_exactly(waiting, 5), b"hello")

    def test_who_gives_up_gives_up_its_place(self) -> None:
        started, clients = self.full("queue-timeout = 30s\nmax-queue = 1", 1)
        waiting = self.connect(started)
        waiting.sendall(b"hello")
        time.sleep(0.1)
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        waiting.close()
        self.wait_outcome(started, "client-gone")
        other = self.connect(started)
        other.sendall(b"hello")
        clients[0].close()
        self.assertEqual(read_exactly(other, 5), b"hello")

    def test_another_that_matches_is_taken_before_anybody_waits(self) -> None:
        ports = all_answer_with(self, ("one", "two"))
        config = one_upstream(ports["one"], "", "max-connections = 1")
        started = self.start(
            config + f"[backend other]\nprotocol = pass\ntarget = 127.0.0.1:{ports['two']}\n"
        )
        told = []
        for _ in range(3):
            client = self.connect(started)
            told.append(read_exactly(client, 4))
        self.assertEqual(told, [b"one\n", b"two\n", b"two\n"])

    def test_who_waits_is_taken_elsewhere_when_the_backend_goes(self) -> None:
        started, _ = self.full("queue-timeout = 30s", 1)
        waiting = self.connect(started)
        waiting.sendall(b"hello")
        time.sleep(0.1)
        started.config_path.write_text(one_upstream(all_answer_with(self, ("new",))["new"]))
        started.send_signal(signal.SIGHUP)
        self.assertEqual(read_exactly(waiting, 4), b"new\n")


class FastBackendTests(BackendTests, OnFastPath, LimitCase):
    pass


class PortableBackendTests(BackendTests, OnPortablePath, LimitCase):
    pass


class ClientTests(LimitCase):
    def setUp(self) -> None:
        super().setUp()
        self.up = Peer(self, echo).port

    def connect_from(self, started: Pmmux, host: str) -> socket.socket:
        client = socket.socket()
        self.addCleanup(client.close)
        client.settimeout(20)
        client.bind((host, 0))
        client.connect(("127.0.0.1", started.port))
        return client

    def test_connections_of_one_address(self) -> None:
        started = self.start(one_upstream(self.up, "max-connections-per-address = 2"))
        clients = [self.connect_from(started, "127.0.0.2") for _ in range(2)]
        for client in clients:
            self.assertTrue(self.speak(client))
        refused = self.connect_from(started, "127.0.0.2")
        self.assert_ended(refused)
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.3")))
        (event,) = self.wait_outcome(started, "limit-reached")
        self.assertIn("2 connections are open", event["detail"])
        clients[0].close()
        started.wait_finished(2)
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.2")))

    def test_new_connections_a_second(self) -> None:
        started = self.start(one_upstream(self.up, "max-connection-rate-per-address = 5"))
        answered = sum(self.speak_and_leave(self.connect_from(started, "127.0.0.2")) for _ in range(12))
        self.assertGreaterEqual(answered, 5)
        self.assertLessEqual(answered, 8)
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.3")))
        self.assertIn("a second", self.wait_outcome(started, "limit-reached", 4)[0]["detail"])

    def speak_and_leave(self, client: socket.socket) -> bool:
        try:
            return self.speak(client)
        except (BrokenPipeError, ConnectionResetError):
            return False
        finally:
            client.close()

    def test_allow_and_deny(self) -> None:
        started = self.start(one_upstream(self.up, "allow = 127.0.0.0/30, 127.0.1.0/24\ndeny = 127.0.0.3"))
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.2")))
        self.assertTrue(self.speak(self.connect_from(started, "127.0.1.9")))
        self.assert_ended(self.connect_from(started, "127.0.0.3"))
        self.assert_ended(self.connect_from(started, "127.0.0.4"))
        details = {event["detail"] for event in self.wait_outcome(started, "limit-reached", 2)}
        self.assertEqual(details, {"the address is denied", "the address is not allowed"})

    def test_a_file_that_changes(self) -> None:
        denied = self.directory / "denied"
        denied.write_text("# nobody yet\n")
        started = self.start(one_upstream(self.up, f"deny-file = {denied}"))
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.2")))
        denied.write_text("127.0.0.2   # now\n2001:db8::/32\n")
        wait_for(lambda: not self.speak_and_leave(self.connect_from(started, "127.0.0.2")), "the file")
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.3")))
        # What cannot be read leaves things as they are.
        denied.write_text("127.0.0.2\nnonsense\n")
        wait_for(lambda: self.is_told(started, "line 2"), "the warning")
        self.assert_ended(self.connect_from(started, "127.0.0.2"))

    def is_told(self, started: Pmmux, text: str) -> bool:
        self.speak_and_leave(self.connect_from(started, "127.0.0.3"))
        return any(text in json.dumps(event) for event in started.events())

    def test_by_listener_and_by_announced_address(self) -> None:
        config = one_upstream(self.up, "deny = 192.0.2.9\nmax-connections-per-address = 1").replace(
            "port = ?",
            "port = ?\nproxy-protocol = require\nproxy-protocol-from = 127.0.0.0/8\ndeny = 192.0.2.8",
        )
        started = self.start(config)

        def announce(host: str) -> socket.socket:
            client = self.connect(started)
            client.sendall(f"PROXY TCP4 {host} 203.0.113.1 50000 443\r\n".encode())
            return client

        held = announce("192.0.2.1")
        self.assertTrue(self.speak(held))
        self.assertTrue(self.speak(announce("192.0.2.2")))
        for host in ("192.0.2.1", "192.0.2.8", "192.0.2.9"):
            client = announce(host)
            client.sendall(b"hello")
            self.assert_ended(client)
        self.wait_outcome(started, "limit-reached", 3)

    def test_changed_at_a_reload(self) -> None:
        started = self.start(one_upstream(self.up))
        self.assertTrue(self.speak(self.connect_from(started, "127.0.0.2")))
        started.config_path.write_text(one_upstream(self.up, "deny = 127.0.0.2"))
        started.send_signal(signal.SIGHUP)
        wait_for(lambda: not self.speak_and_leave(self.connect_from(started, "127.0.0.2")), "the reload")

    def test_datagrams(self) -> None:
        config = one_upstream(self.up, "deny = 127.0.0.2").replace("port = ?", "port = ?\nprotocol = udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.bind(("127.0.0.1", 0))
            upstream.settimeout(5)
            config = config.replace(f"127.0.0.1:{self.up}", f"127.0.0.1:{upstream.getsockname()[1]}")
            started = self.start(config)
            for host, said in (("127.0.0.2", b"denied"), ("127.0.0.3", b"allowed")):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind((host, 0))
                    client.sendto(said, ("127.0.0.1", started.port))
            self.assertEqual(upstream.recv(100), b"allowed")
