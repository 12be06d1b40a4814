"""What every end-to-end test case is made of."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.process import PORTABLE, Pmmux, Program, descriptors, kill_group
from tests.support.waiting import wait_for

SOCKET_SECONDS = 20.0
RESET_ON_CLOSE = b"\1\0\0\0\0\0\0\0"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# A program by which each Debian package is known.
_PROGRAMS = {
    "curl": "curl",
    "exim4-daemon-light": "exim4",
    "nginx-light": "nginx",
    "openssh-client": "scp",
    "openssh-server": "sshd",
    "openssl": "openssl",
    "postgresql-client": "psql",
    "redis-server": "redis-server",
    "redis-tools": "redis-cli",
}

Decorated = TypeVar("Decorated")


def find_program(name: str) -> str | None:
    """Where the program C{name} is, sbin included."""
    return shutil.which(name, path=_PATH)


def needs(*packages: str) -> Callable[[Decorated], Decorated]:
    """Skip the test, or class of tests, where one of the Debian packages is missing."""
    missing = [package for package in packages if not _is_installed(package)]

    def mark(decorated: Decorated) -> Decorated:
        if missing:
            decorated.skip = f"missing: {', '.join(missing)}"  # type: ignore[attr-defined]
        return decorated

    return mark


def _is_installed(package: str) -> bool:
    if package == "postgresql":
        return any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return find_program(_PROGRAMS[package]) is not None


def reset(sock: socket.socket) -> None:
    """Close C{sock} with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read C{count} octets; fewer only where the data ends before."""
    found = bytearray()
    while len(found) < count and (octets := sock.recv(min(1 << 20, count - len(found)))):
        found += octets
    return bytes(found)


def read_all(sock: socket.socket) -> bytes:
    """Read to the end of the data."""
    found = bytearray()
    while octets := sock.recv(1 << 20):
        found += octets
    return bytes(found)


class PmmuxCase(SynchronousTestCase):
    """
    Starts things, and ends all of them, whatever becomes of the test.

    @cvar environment: of every pmmux that is started.
    """

    environment: dict[str, str] = {}

    def setUp(self) -> None:
        # In /tmp, for unix sockets' paths are short.
        self.directory = Path(tempfile.mkdtemp(prefix="pmmux-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o755)

    def make_directory(self, name: str) -> Path:
        """A directory of that name, for this test."""
        made = self.directory / name
        made.mkdir()
        return made

    def start(
        self,
        config: str,
        *arguments: str,
        listeners: int = 1,
        environment: dict[str, str] | None = None,
        descriptor_limit: int | None = None,
        may_trouble: bool = False,
    ) -> Pmmux:
        """
        Start pmmux, and wait until it accepts.

        @param may_trouble: whether errors in its log are meant to be.
        """
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=self.directory))
        started = Pmmux(
            directory,
            config,
            ("--log-format=json", *arguments),
            {**self.environment, **(environment or {})},
            descriptor_limit,
        )
        self.addCleanup(self._end, started, may_trouble)
        started.wait_until_ready(listeners)
        return started

    def _end(self, started: Pmmux, may_trouble: bool) -> None:
        kill_group(started.process)
        if not may_trouble:
            self.assertEqual(started.troubles(), [])

    def run_program(self, module: str, *arguments: str) -> Program:
        """Start one of our own programs."""
        program = Program(self.directory, module, *arguments)
        self.addCleanup(kill_group, program.process)
        return program

    def spawn(self, command: Sequence[str], **more: Any) -> subprocess.Popen[Any]:
        """Start a process that runs until the test ends."""
        output = self.directory / f"{Path(command[0]).name}.output"
        with output.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=more.pop("stdin", subprocess.DEVNULL),
                stdout=log,
                stderr=log,
                start_new_session=True,
                **more,
            )
        self.addCleanup(kill_group, process)
        return process

    def run_command(self, command: Sequence[str], seconds: float = 60.0, **more: Any) -> str:
        """Run a command to its end. @return: what it wrote; it must have ended with status 0."""
        done = subprocess.run(
            command,
            stdin=None if "input" in more else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            **more,
        )
        written = done.stdout.decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, f"{command}: {written}")
        return written

    def listen(self, family: int = socket.AF_INET, backlog: int = 128, where: Any = None) -> socket.socket:
        """A listening socket, for a server that the test itself is."""
        listening = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(listening.close)
        listening.settimeout(SOCKET_SECONDS)
        listening.bind(where or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listening.listen(backlog)
        return listening

    def accept(self, listening: socket.socket) -> socket.socket:
        """The next connection of C{listening}."""
        accepted, _ = listening.accept()
        self.addCleanup(accepted.close)
        accepted.settimeout(SOCKET_SECONDS)
        return accepted

    def connect(self, where: Any, family: int | None = None) -> socket.socket:
        """
        Connect, as a client that the test itself is.

        @param where: a L{Pmmux} of one listener, a port of 127.0.0.1, or an address.
        """
        if isinstance(where, Pmmux):
            where = where.port
        if isinstance(where, int):
            where = ("127.0.0.1", where)
        if family is None:
            family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        client = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.settimeout(SOCKET_SECONDS)
        client.connect(where)
        return client

    def wait_closed(self, started: Pmmux, before: int, seconds: float = 15.0) -> None:
        """Wait until pmmux has no more sockets open than C{before}."""
        wait_for(
            lambda: descriptors(started.pid)["socket"] <= before,
            f"no more than {before} sockets open",
            seconds,
        )

    def assert_reset(self, sock: socket.socket) -> None:
        """The peer of C{sock} resets it, without ending its data first."""
        with self.assertRaises(ConnectionResetError):
            read_all(sock)

    def assert_ended(self, sock: socket.socket) -> None:
        """The data of C{sock} ends, or it is reset; nothing more comes."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(read_all(sock), b"")


class OnFastPath:
    """For the tests that run over either data path."""

    environment: dict[str, str] = {}


class OnPortablePath:
    """For the tests that run over either data path."""

    environment = PORTABLE


def one_upstream(port: int, more: str = "", condition: str = "") -> str:
    """
    A configuration with one listener and one backend.

    @param more: lines of C{[pmmux]}.
    @param condition: lines of the backend.
    """
    return f"""
[pmmux]
{more}

[listener front]
bind = 127.0.0.1
port = ?

[backend up]
protocol = pass
target = 127.0.0.1:{port}
{condition}
"""
