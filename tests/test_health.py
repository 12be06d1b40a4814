"""Backends that fail and come back, under a load of short connections."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase
from tests.support.case import reset as reset_now
from tests.support.load import Failure, Load, Server, ask
from tests.support.process import Pmmux, clean_environment
from tests.support.waiting import wait_for

NAMES = ("a", "b", "c")


class HealthCase(PmmuxCase):
    def config(self, servers: list[Any], check: str, options: str = "") -> str:
        backends = "".join(
            f"[backend {each.name}]\nprotocol = pass\ntarget = 127.0.0.1:{each.port}\n" for each in servers
        )
        front = "[listener front]\nbind = 127.0.0.1\nport = ?\n"
        return f"[pmmux]\nmux-only = true\n{options}\n{front}\n{backends}\n[health-check all]\n{check}\n"

    def statuses(self, started: Pmmux, name: str) -> list[str]:
        """What C{name} has been, in order."""
        return [
            event["status"]
            for event in started.events()
            if event.get("backend") == name and "before" in event
        ]

    def wait_status(self, started: Pmmux, name: str, status: str, seconds: float = 15.0) -> None:
        wait_for(lambda: self.statuses(started, name)[-1:] == [status], f"{name} {status}", seconds)


class FailoverTests:
    """Three servers are killed and revived in turn."""

    check = "type = http\ninterval = 200\ntimeout = 500\nfailure-threshold = 2\nrecovery-threshold = 2"

    def fail_in_turn(self, retries: int) -> tuple[Pmmux, Load, list[tuple[float, float]]]:
        """
        @return: the load, and from when to when each death was not known.
        """
        servers = [Server(self, name) for name in NAMES]
        options = f"routing-strategy = round-robin\nconnect-retries = {retries}"
        started = self.start(self.config(servers, self.check, options))
        for server in servers:
            self.wait_status(started, server.name, "healthy")
        load = Load(self, started.port)
        unknown = []
        for server in servers:
            load.go_on(30)
            killed_at = time.monotonic()
            server.kill()
            dead_at = time.monotonic()
            self.wait_status(started, server.name, "unhealthy")
            unknown.append((killed_at, time.monotonic()))
            before = load.answers[server.name]
            load.go_on(30)
            self.assertEqual(load.answers[server.name], before)
            server.start()
            self.wait_status(started, server.name, "healthy")
            wait_for(lambda: load.answers[server.name] > before, f"{server.name} serving again")  # noqa: B023
            self.dying.append((killed_at, dead_at))
        load.stop()
        return started, load, unknown

    def setUp(self) -> None:
        super().setUp()
        self.dying: list[tuple[float, float]] = []

    def outside(self, failures: list[Failure], spans: list[tuple[float, float]]) -> list[Failure]:
        """Those of connections that were not open during any of C{spans}."""
        return [
            each
            for each in failures
            if not any(each.began_at <= end and each.ended_at >= begin for begin, end in spans)
        ]

    def test_with_retries_nobody_sees_it(self) -> None:
        started, load, _ = self.fail_in_turn(3)
        # Only what was open while the server died, and was cut by it, may have failed.
        self.assertEqual(self.outside(load.failures, self.dying), [])
        self.assertNotIn("connect-failed", started.outcomes())
        self.assertGreater(min(load.answers[name] for name in NAMES), 30)

    def test_without_retries_nobody_sees_it_once_it_is_known(self) -> None:
        started, load, unknown = self.fail_in_turn(0)
        self.assertEqual(self.outside(load.failures, unknown), [])
        self.assertGreater(started.outcomes()["connect-failed"], 0)


class FastFailoverTests(FailoverTests, OnFastPath, HealthCase):
    pass


class PortableFailoverTests(FailoverTests, OnPortablePath, HealthCase):
    pass


class Flapping:
    """
    An HTTP server that can be told to answer badly.

    @ivar answers: the status of each next answer; the last one stays.
    """

    def __init__(self, case: PmmuxCase, name: str, answers: list[int]) -> None:
        self.name = name
        self.answers = answers
        self.asked = 0
        self._listening = case.listen()
        self._listening.settimeout(None)
        self.port: int = self._listening.getsockname()[1]
        case.addCleanup(self._listening.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                if client.recv(65536):
                    self.asked += 1
                    status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                    client.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)


class ThresholdTests(HealthCase):
    def test_a_flapping_server_is_held_by_the_thresholds(self) -> None:
        server = Flapping(self, "a", [200] + [500, 200] * 6 + [500] * 4 + [200] * 2 + [500] * 3 + [200])
        check = "type = http\ninterval = 50\ntimeout = 2s\nfailure-threshold = 3\nrecovery-threshold = 4"
        started = self.start(self.config([server], check))
        wait_for(lambda: server.asked >= 24, "the flapping")
        self.wait_status(started, "a", "healthy")
        seen = self.statuses(started, "a")
        # Blips make it degraded and stabilizing, three failures in a row unhealthy, four successes healthy.
        self.assertEqual(seen[:13], ["healthy", *["degraded", "stabilizing"] * 6])
        self.assertEqual(
            seen[13:],
            ["degraded", "unhealthy", "stabilizing", "degraded", "unhealthy", "stabilizing", "healthy"],
        )


class LiveConnectionTests(HealthCase):
    def check_kept(self, policy: str, is_kept: bool) -> None:
        server = Server(self, "a")
        config = self.config([server], "type = http\nport = {}\ninterval = 100\nfailure-threshold = 1")
        checked = Server(self, "checked")
        config = config.replace("{}", str(checked.port)).replace(
            "pass\n", f"pass\non-unhealthy = {policy}\n", 1
        )
        started = self.start(config)
        self.wait_status(started, "a", "healthy")
        client = self.connect(started)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        # Routed by the time that the check fails.
        time.sleep(0.2)
        checked.kill()
        self.wait_status(started, "a", "unhealthy")
        if is_kept:
            client.sendall(b"Connection: close\r\n\r\n")
            self.assertIn(b"200 OK", client.recv(65536))
        else:
            self.assert_ended(client)
            self.assertEqual(started.wait_finished(1)[0]["outcome"], "killed")

    def test_kept(self) -> None:
        self.check_kept("keep", True)

    def test_closed(self) -> None:
        self.check_kept("close", False)


class PassiveTests(HealthCase):
    def test_clients_connections_decide(self) -> None:
        servers = [Server(self, name) for name in ("a", "b")]
        check = "protocol = pass\ntype = none\nobserve = 2\nejection-time = 700"
        started = self.start(self.config(servers, check))
        self.assertEqual(ask(started.port), "a")
        servers[0].kill()
        # Each is retried at the other one, and counted.
        self.assertEqual([ask(started.port) for _ in range(3)], ["b"] * 3)
        self.wait_status(started, "a", "unhealthy")
        servers[0].start()
        wait_for(lambda: ask(started.port) == "a", "a being let in again")

    def test_early_resets_count(self) -> None:
        resetting = self.listen()
        port = resetting.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    client, _ = resetting.accept()
                except OSError:
                    return
                # When the request is there: before, it would be a connection that cannot be made.
                client.recv(1)
                reset_now(client)

        resetting.settimeout(None)
        self.addCleanup(resetting.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=serve, daemon=True).start()
        server = Server(self, "b")
        config = self.config([server], "protocol = pass\ntype = none\nobserve = 2\nejection-time = 60s")
        first = f"[backend a]\nprotocol = pass\ntarget = 127.0.0.1:{port}\n[backend b]"
        started = self.start(config.replace("[backend b]", first))
        for _ in range(2):
            with self.assertRaises(OSError):
                ask(started.port)
        self.wait_status(started, "a", "unhealthy")
        self.assertEqual(ask(started.port), "b")


class TraceTests(HealthCase):
    def test_each_attempt_is_told(self) -> None:
        dead = [Server(self, name) for name in ("a", "b")]
        for server in dead:
            server.kill()
        alive = Server(self, "c")
        started = self.start(self.config([*dead, alive], "protocol = pass\ntype = none\nobserve = 9"))
        self.assertEqual(ask(started.port), "c")
        told = self.run_command(
            [str(Path(sys.executable).with_name("pmmuxctl")), "trace", "show", "1"],
            env=clean_environment(RUNTIME_DIRECTORY=str(started.config_path.parent)),
        )
        attempts = [line.split() for line in told.split("\n") if line.strip().startswith("attempt")]
        self.assertEqual([words[1] for words in attempts], ["a", "b", "c"])
        self.assertEqual([words[-1] for words in attempts[:2]], ["refused", "refused"])
        self.assertIn("reached", attempts[2])

    def test_no_more_than_the_retries(self) -> None:
        dead = [Server(self, name) for name in NAMES]
        for server in dead:
            server.kill()
        config = self.config(dead, "protocol = pass\ntype = none\nobserve = 9", "connect-retries = 1")
        started = self.start(config)
        with self.assertRaises(OSError):
            ask(started.port)
        (event,) = started.wait_finished(1)
        self.assertEqual(event["outcome"], "connect-failed")
