"""C{pmmuxctl top} on a real terminal, as far as a program can look at one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

from pmmux.control.client import ControlClient
from tests.support.case import PmmuxCase, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import ROOT, clean_environment, kill_group

try:
    import pyte
    import urwid  # noqa: F401
except ImportError:
    pyte = None

ROWS, COLUMNS = 40, 140
SECONDS = 60.0


class Terminal:
    """A program on a pseudo-terminal of its own, and what it shows there."""

    def __init__(self, command: list[str], columns: int = COLUMNS, rows: int = ROWS) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=clean_environment(TERM="xterm", LANG="C.UTF-8"),
            start_new_session=True,
        )
        os.close(slave)

    def close(self) -> None:
        kill_group(self.process)
        os.close(self._master)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def shown(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def wait(self, is_there: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + SECONDS
        while not is_there(self.shown()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not shown: {what}\n{self.shown()}")
            if select.select([self._master], [], [], left)[0]:
                try:
                    self._stream.feed(os.read(self._master, 65536))
                except OSError:
                    raise AssertionError(f"it ended before it showed {what}\n{self.shown()}") from None
        return self.shown()

    def wait_for(self, text: str) -> str:
        return self.wait(lambda shown: text in shown, text)


class TopTests(PmmuxCase):
    if pyte is None:
        skip = "missing: pyte, urwid"

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "control.sock"
        upstream = Peer(self, echo).port
        self.config = f"""
[pmmux]
control-socket = {self.path}
[listener front]
bind = 127.0.0.1
port = ?
[backend shell]
protocol = pass
target = 127.0.0.1:{upstream}
detect = ssh
[backend web]
protocol = pass
target = 127.0.0.1:{upstream}
detect = http
"""
        self.started = self.start(self.config)

    def open(self, columns: int = COLUMNS, rows: int = ROWS) -> Terminal:
        command = [sys.executable, "-m", "pmmux.ctl", "--socket", str(self.path), "top"]
        terminal = Terminal(command, columns, rows)
        self.addCleanup(terminal.close)
        return terminal

    def talk(self, octets: bytes) -> None:
        client = self.connect(self.started)
        client.sendall(octets)
        read_exactly(client, len(octets))
        client.close()

    def refuse(self) -> None:
        client = self.connect(self.started)
        client.sendall(b"\x1b[2Jnobody speaks this\n")
        self.assert_ended(client)
        client.close()

    def test_backends_routes_and_refusals(self) -> None:
        terminal = self.open()
        terminal.wait_for("BACKEND")
        self.talk(b"SSH-2.0-x\r\n")
        self.refuse()
        shown = terminal.wait(lambda text: "closed" in text and "no-backend" in text, "both routes")
        self.assertIn("shell", shown)
        self.assertIn(f"process {self.started.pid}", shown)
        terminal.type("r")
        terminal.wait(lambda text: "closed" not in text and "no-backend" in text, "only refusals")

    def test_a_small_terminal(self) -> None:
        """Nothing that has to be known is cut off; the newest route stands on top."""
        terminal = self.open(80, 24)
        terminal.wait_for("BACKEND")
        self.assertIn("q quit", terminal.shown())
        for number in range(3):
            self.talk(b"SSH-2.0-x\r\n")
            self.started.wait_finished(number + 1)
        self.refuse()
        newest = r"ENDED.*\n\S+ +\S+ +- +- +- +no-backend"
        terminal.wait(lambda text: re.search(newest, text) is not None, "the refusal on top")

    def test_a_trace_is_opened(self) -> None:
        self.talk(b"SSH-2.0-x\r\n")
        terminal = self.open()
        terminal.wait_for("closed")
        terminal.type("\t")
        terminal.type("\r")
        terminal.wait(lambda text: re.search(r"candidate +shell +match", text) is not None, "the candidate")
        # With what it was about, which only the running pmmux knows.
        self.assertIn("detect = ssh", terminal.shown())
        terminal.type("\x1b")
        terminal.wait(lambda text: "candidate" not in text and "BACKEND" in text, "the tables again")

    def test_a_backend_is_drained(self) -> None:
        client = ControlClient(str(self.path))
        self.addCleanup(client.close)
        terminal = self.open()
        terminal.wait_for("web")
        terminal.type("\x1b[B")
        terminal.type("d")
        terminal.wait_for("drain web? y to do it")
        terminal.type("n")
        terminal.wait(lambda text: "y to do it" not in text, "no question")
        self.assertEqual({each["status"] for each in client.call("backends.list")}, {"unknown"})
        terminal.type("dy")
        terminal.wait_for("draining")
        self.assertEqual([each["status"] for each in client.call("backends.list")], ["unknown", "draining"])
        terminal.type("ey")
        terminal.wait(lambda text: "draining" not in text, "enabled")

    def test_it_comes_back_with_pmmux(self) -> None:
        terminal = self.open()
        terminal.wait_for("web")
        self.started.stop(signal.SIGTERM)
        terminal.wait_for("trying again")
        second = self.start(self.config)
        terminal.wait_for(f"process {second.pid}")

    def test_quit(self) -> None:
        terminal = self.open()
        terminal.wait_for("web")
        terminal.type("q")
        self.assertEqual(terminal.process.wait(SECONDS), 0)

    def test_without_a_terminal(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pmmux.ctl", "--socket", str(self.path), "top"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=ROOT,
            env=clean_environment(),
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"needs a terminal", done.stderr)
