"""The real C{twistd pmmux} inside the lab."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.nat_lab.lab import PATIENCE_SECONDS, Lab
from tests.support.process import clean_environment, twistd
from tests.support.waiting import wait_for

_ACCEPTS_ON = " accepts on "
_COMMON = """
[pmmux]
control-socket = off
{more}
"""


class PmmuxInLab:
    """
    One run of C{twistd -n pmmux} in a namespace.

    Runs of the same C{name} have the same configuration file, and all runs in a lab the same directory
    for their state.

    @ivar ports: of each listener, by its name, the port it accepts on.
    @ivar may_trouble: whether errors in its log are meant to be.

    @param more: lines of C{[pmmux]}.
    """

    def __init__(
        self,
        lab: Lab,
        config: str,
        more: str = "",
        name: str = "pmmux",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.ports: dict[str, int] = {}
        self._state_directory = lab.directory / "state"
        self.may_trouble = False
        self._path = path = lab.directory / f"{name}.ini"
        self.write(config, more)
        self._log_path = lab.directory / f"{name}-{len(list(lab.directory.glob('*.log')))}.log"
        with self._log_path.open("wb") as log:
            self.process = lab.popen(
                "client",
                [twistd(), "-n", "--pidfile=", "pmmux", "--config", str(path), "--log-format=json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=lab.directory,
                env=clean_environment(STATE_DIRECTORY=str(self._state_directory), **(environment or {})),
                start_new_session=True,
            )

    def write(self, config: str, more: str = "") -> None:
        """Write its configuration file, for the start or for a reload."""
        self._path.write_text(_COMMON.format(more=more) + config)

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
                head, found, places = event["message"].partition(_ACCEPTS_ON)
                if found:
                    self.ports[head.removeprefix("listener ")] = int(places.rpartition(":")[2])
            return len(self.ports) == listeners

        wait_for(find, "pmmux accepting", PATIENCE_SECONDS)

    def output(self) -> str:
        """Everything it wrote."""
        return self._log_path.read_text()

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [_read_event(line) for line in self.output().split("\n")[:-1]]

    def troubles(self) -> list[str]:
        """What only a bug writes."""
        return [
            event["message"]
            for event in self.events()
            if event["level"] in ("error", "critical", "none") or "failure" in event
        ]

    def says(self, *words: str) -> str:
        """@return: the last line about port mapping that holds each of C{words}; empty where none does."""
        for event in reversed(self.events()):
            message: str = event["message"]
            if message.startswith("NAT: ") and all(word in message for word in words):
                return message
        return ""

    def wait_until_says(self, *words: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for a line about port mapping that holds each of C{words}."""
        try:
            return wait_for(lambda: self.says(*words), f"said {words}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def state_files(self) -> list[Path]:
        """The state files there are."""
        return sorted(self._state_directory.glob("*.json"))

    def stop(self) -> int:
        """End it by SIGTERM. @return: its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end. @return: its exit status."""
        return self.process.wait(timeout=PATIENCE_SECONDS)


def _read_event(line: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"message": line, "level": "none"}
    return event
