"""The real C{twistd pmmux} process, and other processes that a test starts and must end."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.waiting import USUAL_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[2]
PORTABLE = {"PMMUX_PORTABLE": "1"}
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_ACCEPTS_ON = " accepts on "


def twistd() -> str:
    """The script that belongs to the Python in use."""
    beside = Path(sys.executable).with_name("twistd")
    return str(beside) if beside.exists() else shutil.which("twistd") or "twistd"


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would configure pmmux."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PMMUX")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def kill_group(process: subprocess.Popen[Any]) -> None:
    """End C{process}, started in a session of its own, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=STOP_SECONDS)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def descriptors(pid: int) -> Counter[str]:
    """How many descriptors of each kind a process has open: C{socket}, C{pipe}, C{file} or another."""
    kinds: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            kinds["file" if target.startswith("/") else target.partition(":")[0]] += 1
    return kinds


def resident_octets(pid: int) -> int:
    """How much memory a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Pmmux:
    """
    One run of C{twistd -n pmmux}.

    @ivar ports: of each listener, by its name, the first port it accepts on.
    @ivar places: of each listener, by its name, everything it accepts on, as logged.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        arguments: Sequence[str] = ("--log-format=json",),
        environment: dict[str, str] | None = None,
        descriptor_limit: int | None = None,
    ) -> None:
        """@param arguments: of C{pmmux}; the log is read as JSON."""
        self.config_path = directory / "pmmux.ini"
        self.config_path.write_text(config)
        self._log = directory / "pmmux.log"
        self._errors = directory / "pmmux.stderr"
        self.ports: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        limited = [] if descriptor_limit is None else _with_descriptors(descriptor_limit)
        self._events: list[dict[str, Any]] = []
        self._log_position = 0
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *limited,
                    twistd(),
                    "-n",
                    "--pidfile=",
                    "pmmux",
                    "--config",
                    str(self.config_path),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                cwd=directory,
                # There it makes its control socket.
                env=clean_environment(**{"RUNTIME_DIRECTORY": str(directory), **(environment or {})}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """For C{/proc}."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Where there is one listener, its port."""
        (port,) = self.ports.values()
        return port

    def wait_until_ready(self, listeners: int) -> None:
        """Wait until so many listeners accept."""

        def find() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with status {self.process.returncode}: {self.output()}")
            for event in self.events():
                head, found, places = event.get("message", "").partition(_ACCEPTS_ON)
                if found:
                    name = head.removeprefix("listener ")
                    self.places[name] = places.split(", ")
                    self.ports[name] = _port_of(self.places[name][0])
            return len(self.places) == listeners

        wait_for(find, f"pmmux accepting: {self.output()}", START_SECONDS)

    def output(self) -> str:
        """Everything it wrote."""
        return self._log.read_text() + self._errors.read_text()

    def events(self) -> list[dict[str, Any]]:
        """What it has logged as JSON so far."""
        with self._log.open("rb") as log:
            log.seek(self._log_position)
            lines = log.read().split(b"\n")
        self._log_position += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            try:
                self._events.append(json.loads(line))
            except ValueError:
                self._events.append(
                    {"message": line.decode("utf-8", "replace"), "level": "none", "logger": "none"}
                )
        return self._events

    def finished(self) -> list[dict[str, Any]]:
        """Its lines about finished connections so far."""
        return [event for event in self.events() if event["logger"] == "access"]

    def outcomes(self) -> Counter[str]:
        """How often each outcome has been logged so far."""
        return Counter(event["outcome"] for event in self.finished())

    def wait_finished(self, count: int, seconds: float = USUAL_SECONDS) -> list[dict[str, Any]]:
        """Wait for the lines of C{count} finished connections."""
        wait_for(lambda: len(self.finished()) >= count, f"{count} finished connections", seconds)
        return self.finished()

    def troubles(self) -> list[str]:
        """What only a bug writes."""
        return [
            event["message"] + event.get("failure", "")
            for event in self.events()
            if event["level"] in ("error", "critical", "none") or "failure" in event
        ]

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Send it a signal, and wait for its end. @return: its exit status."""
        self.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end. @return: its exit status."""
        return self.process.wait(timeout=seconds)


def _port_of(place: str) -> int:
    port = place.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


def _with_descriptors(limit: int) -> list[str]:
    return ["/bin/sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh"]


class Program:
    """
    One of our own programs of C{tests.support} in a process of its own: it says what it has to say
    as lines of JSON, and ends when its standard input does.
    """

    def __init__(self, directory: Path, module: str, *arguments: str) -> None:
        """@param module: its name in C{tests.support}."""
        self._said = directory / f"{module}-{'-'.join(arguments)[:20]}-{os.urandom(4).hex()}.out"
        with self._said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.support.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=clean_environment(),
                start_new_session=True,
            )

    def tell(self, value: Any) -> None:
        """Send it a line of JSON."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()

    def said(self) -> list[dict[str, Any]]:
        """What it has said so far."""
        found: list[dict[str, Any]] = []
        for line in self._said.read_text().split("\n")[:-1]:
            try:
                found.append(json.loads(line))
            except ValueError:
                raise AssertionError(self._said.read_text()) from None
        return found

    def wait_said(self, kind: str, count: int = 1, seconds: float = USUAL_SECONDS) -> list[dict[str, Any]]:
        """Wait until it has said C{count} things of C{kind}."""

        def find() -> list[dict[str, Any]]:
            found = [each for each in self.said() if each["kind"] == kind]
            if len(found) < count and self.process.poll() is not None:
                raise AssertionError(f"it ended: {self._said.read_text()}")
            return found if len(found) >= count else []

        return wait_for(find, f"{count} of {kind!r} from {self.process.args}", seconds)
