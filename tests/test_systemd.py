"""What a service manager and pmmux say to each other, with the test as the manager."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.case import PmmuxCase, one_upstream, read_exactly
from tests.support.peers import all_answer_with
from tests.support.process import ROOT, Pmmux, clean_environment, twistd
from tests.support.waiting import free_port, wait_for

UNIT = ROOT / "docs" / "pmmux.service"
MESSAGE_OCTETS = 4096


# Gives the process that it becomes the descriptors from 3 on, and tells it so by its own pid.
LAUNCHER = """
import os, sys
given = [int(each) for each in sys.argv[1].split(",")]
moved = [os.dup2(each, 100 + place) for place, each in enumerate(given)]
for place, each in enumerate(moved):
    os.dup2(each, 3 + place)
    os.close(each)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(given))
if sys.argv[2]:
    os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
"""


class Activated(Pmmux):
    """One that is started as systemd does it, with sockets that are open."""

    def __init__(self, directory: Path, config: str, sockets: dict[str, socket.socket], named: bool) -> None:
        self.config_path = directory / "pmmux.ini"
        self.config_path.write_text(config)
        self._log = directory / "pmmux.log"
        self._errors = directory / "pmmux.stderr"
        self.ports: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        self._events: list[dict[str, Any]] = []
        self._log_position = 0
        given = [each.fileno() for each in sockets.values()]
        launch = [
            sys.executable,
            "-c",
            LAUNCHER,
            ",".join(map(str, given)),
            ":".join(sockets) if named else "",
        ]
        command = [
            twistd(),
            "-n",
            "--pidfile=",
            "pmmux",
            "--config",
            str(self.config_path),
            "--log-format=json",
        ]
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                cwd=directory,
                env=clean_environment(RUNTIME_DIRECTORY=str(directory)),
                start_new_session=True,
                pass_fds=given,
            )


class ManagerCase(PmmuxCase):
    def setUp(self) -> None:
        super().setUp()
        self.up = all_answer_with(self, ("up",))["up"]

    def listen_for_messages(self, where: str = "") -> str:
        """@return: for NOTIFY_SOCKET."""
        self.messages = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.messages.close)
        self.messages.settimeout(15)
        where = where or str(self.directory / "notify")
        self.messages.bind("\0" + where[1:] if where.startswith("@") else where)
        return where

    def hear(self, wanted: str) -> dict[str, str]:
        """The next message that has C{wanted}; what else comes is passed over."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            lines = self.messages.recv(MESSAGE_OCTETS).decode().split("\n")
            if wanted in lines:
                return dict(line.partition("=")[::2] for line in lines)
        raise AssertionError(f"{wanted} was not said")

    def launch(self, config: str, sockets: dict[str, socket.socket], named: bool = True) -> Pmmux:
        """Start pmmux with C{sockets}."""
        started = Activated(self.make_directory("run"), config, sockets, named)
        self.addCleanup(self._end, started, False)
        return started


class NotifyTests(ManagerCase):
    def test_from_start_to_end(self) -> None:
        where = self.listen_for_messages()
        started = self.start(one_upstream(self.up), environment={"NOTIFY_SOCKET": where})
        self.assertEqual(self.hear("READY=1")["STATUS"], "1 listeners, 1 backends")
        before = time.monotonic_ns() // 1000
        started.send_signal(signal.SIGHUP)
        self.assertGreater(int(self.hear("RELOADING=1")["MONOTONIC_USEC"]), before)
        self.hear("READY=1")
        client = self.connect(started)
        self.assertEqual(read_exactly(client, 3), b"up\n")
        started.send_signal(signal.SIGTERM)
        self.assertIn("1 connections", self.hear("STOPPING=1")["STATUS"])
        client.close()
        self.assertEqual(started.wait(), 0)

    def test_an_abstract_socket(self) -> None:
        where = self.listen_for_messages(f"@pmmux-test-{os.getpid()}")
        self.start(one_upstream(self.up), environment={"NOTIFY_SOCKET": where})
        self.hear("READY=1")

    def test_a_reload_that_fails_is_over_too(self) -> None:
        where = self.listen_for_messages()
        started = self.start(one_upstream(self.up), environment={"NOTIFY_SOCKET": where}, may_trouble=True)
        self.hear("READY=1")
        started.config_path.write_text("[nonsense]\n")
        started.send_signal(signal.SIGHUP)
        self.hear("RELOADING=1")
        self.hear("READY=1")

    def test_a_manager_that_has_gone(self) -> None:
        where = str(self.directory / "nobody")
        started = self.start(one_upstream(self.up), environment={"NOTIFY_SOCKET": where})
        self.assertEqual(read_exactly(self.connect(started), 3), b"up\n")

    def test_watchdog(self) -> None:
        environment = {"NOTIFY_SOCKET": self.listen_for_messages(), "WATCHDOG_USEC": "400000"}
        started = self.start(one_upstream(self.up), environment=environment)
        self.hear("WATCHDOG=1")
        began_at = time.monotonic()
        for _ in range(3):
            self.hear("WATCHDOG=1")
        self.assertLess(time.monotonic() - began_at, 3 * 0.4)
        # A process that hangs says nothing.
        started.send_signal(signal.SIGSTOP)
        self.messages.settimeout(0.6)
        with self.assertRaises(TimeoutError):
            while True:
                self.messages.recv(MESSAGE_OCTETS)
        started.send_signal(signal.SIGCONT)

    def test_a_watchdog_that_is_for_another(self) -> None:
        environment = {
            "NOTIFY_SOCKET": self.listen_for_messages(),
            "WATCHDOG_USEC": "100000",
            "WATCHDOG_PID": "1",
        }
        self.start(one_upstream(self.up), environment=environment)
        self.hear("READY=1")
        self.messages.settimeout(0.4)
        self.assertRaises(TimeoutError, self.messages.recv, MESSAGE_OCTETS)


class SocketActivationTests(ManagerCase):
    def config(self, place: str, name: str = "front") -> str:
        return f"[listener {name}]\n{place}\n[backend up]\nprotocol = pass\ntarget = 127.0.0.1:{self.up}\n"

    def test_by_address(self) -> None:
        opened = self.listen()
        port = opened.getsockname()[1]
        # Comes before there is anybody to accept it.
        early = self.connect(port)
        started = self.launch(self.config(f"bind = 127.0.0.1\nport = {port}"), {"pmmux.socket": opened})
        self.assertEqual(read_exactly(early, 3), b"up\n")
        started.wait_until_ready(1)
        self.assertEqual(started.port, port)

    def test_without_names(self) -> None:
        opened = self.listen()
        port = opened.getsockname()[1]
        started = self.launch(self.config(f"bind = 127.0.0.1\nport = {port}"), {"x": opened}, named=False)
        started.wait_until_ready(1)
        self.assertEqual(read_exactly(self.connect(port), 3), b"up\n")

    def test_by_name(self) -> None:
        opened = self.listen()
        started = self.launch(self.config("bind = 127.0.0.1\nport = ?"), {"front": opened})
        started.wait_until_ready(1)
        self.assertEqual(started.port, opened.getsockname()[1])

    def test_a_unix_socket_outlives_us(self) -> None:
        path = str(self.directory / "front.sock")
        opened = self.listen(socket.AF_UNIX, where=path)
        started = self.launch(self.config(f"bind = unix:{path}"), {"front": opened})
        self.assertEqual(read_exactly(self.connect(path), 3), b"up\n")
        self.assertEqual(started.stop(), 0)
        self.assertTrue(Path(path).exists())
        # The manager still listens: nobody is refused.
        self.connect(path)

    def test_datagrams(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream, self.datagram_socket() as opened:
            upstream.bind(("127.0.0.1", 0))
            upstream.settimeout(10)
            self.up = upstream.getsockname()[1]
            port = opened.getsockname()[1]
            place = f"bind = 127.0.0.1\nport = {port}\nprotocol = udp"
            self.launch(self.config(place), {"front": opened}).wait_until_ready(1)
            with self.datagram_socket() as client:
                client.sendto(b"hello", ("127.0.0.1", port))
                self.assertEqual(upstream.recv(10), b"hello")

    def datagram_socket(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind(("127.0.0.1", 0))
        return opened

    def test_one_that_nobody_wants(self) -> None:
        opened, port = self.listen(), free_port()
        started = self.launch(self.config(f"bind = 127.0.0.1\nport = {port}"), {"other": opened})
        started.wait_until_ready(1)
        wait_for(lambda: "no listener wants it" in started.output(), "the warning")

    def test_it_lives_through_a_reload(self) -> None:
        opened = self.listen()
        port = opened.getsockname()[1]
        place = f"bind = 127.0.0.1\nport = {port}"
        started = self.launch(self.config(place), {"front": opened})
        started.wait_until_ready(1)
        started.config_path.write_text(self.config(place, "renamed"))
        started.send_signal(signal.SIGHUP)
        wait_for(lambda: "listener renamed accepts" in started.output(), "the reload")
        self.assertEqual(read_exactly(self.connect(port), 3), b"up\n")

    def test_meant_for_another_process(self) -> None:
        environment = {"LISTEN_PID": "1", "LISTEN_FDS": "5"}
        started = self.start(one_upstream(self.up), environment=environment)
        self.assertEqual(read_exactly(self.connect(started), 3), b"up\n")


class UnitTests(PmmuxCase):
    if shutil.which("systemd-analyze") is None:
        skip = "missing: systemd"

    def setUp(self) -> None:
        super().setUp()
        text = UNIT.read_text().replace("/usr/bin/twistd", twistd())
        self.unit = self.directory / "pmmux.service"
        self.unit.write_text(
            "\n".join(line for line in text.split("\n") if not line.startswith("Documentation="))
        )

    def test_it_is_right(self) -> None:
        self.assertEqual(self.run_command(["systemd-analyze", "verify", str(self.unit)]).strip(), "")

    def test_it_is_hardened(self) -> None:
        self.run_command(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(self.unit)])
