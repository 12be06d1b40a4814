"""Our NAT service as a process inside the lab, seen from a test."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.nat_lab.lab import PATIENCE_SECONDS, Lab

_ROOT = Path(__file__).resolve().parents[2]


class NATProcess:
    """
    Runs L{tests.nat_lab.run_nat} in a namespace and collects what it says.

    @param wanted: fields of L{pmmux.nat.settings.WantedMapping}, one mapping each.
    @param settings: fields of L{pmmux.nat.settings.NATSettings}.
    """

    def __init__(self, lab: Lab, place: str, wanted: list[dict[str, Any]], **settings: Any) -> None:
        self.said: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._log = (lab.directory / f"nat-{place}.log").open("a")
        arguments = json.dumps({"settings": settings, "wanted": wanted})
        self.process = lab.popen(
            place,
            [sys.executable, "-m", "tests.nat_lab.run_nat", arguments],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(
        self, found: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_SECONDS, since: int = 0
    ) -> dict[str, Any]:
        """Wait until it says something, counting from its line C{since} on."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                for line in self.said[since:]:
                    if found(line):
                        return line
                since = len(self.said)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise AssertionError(f"not said within {seconds} s; last: {self.describe_last()}")
                self._news.wait(remaining)

    def wait_for_port(
        self, seconds: float = PATIENCE_SECONDS, since: int = 0, name: str = "front", **fields: Any
    ) -> dict[str, Any]:
        """Wait for a report in which the port C{name} has C{fields}."""

        def find(line: dict[str, Any]) -> dict[str, Any] | None:
            for port in line.get("ports", ()) if line["kind"] == "report" else ():
                if port["name"] == name and all(port[key] == value for key, value in fields.items()):
                    return port
            return None

        line = self.wait(lambda line: find(line) is not None, seconds, since)
        return find(line) or {}

    def wait_for_reasons(
        self, *reasons: str, name: str = "front", seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Wait for a report in which the port C{name} has failed, and C{reasons} are the last ones said."""

        def find(line: dict[str, Any]) -> dict[str, Any] | None:
            for port in line.get("ports", ()) if line["kind"] == "report" else ():
                said = tuple(finding["reason"] for finding in port["findings"])
                if (port["name"], port["state"], said[-len(reasons) :]) == (name, "failed", reasons):
                    return port
            return None

        return find(self.wait(lambda line: find(line) is not None, seconds)) or {}

    def describe_last(self) -> str:
        """The last report in words."""
        return next((line["text"] for line in reversed(self.said) if line["kind"] == "report"), "nothing")

    def count(self, name: str) -> int:
        """How often a counter was added to."""
        return sum(line["kind"] == "count" and line["name"] == name for line in self.said)

    def order(self, text: str) -> None:
        """Send a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def stop(self) -> dict[str, Any]:
        """End it by SIGTERM. @return: what it said last of all."""
        self.process.terminate()
        stopped = self.wait(lambda line: line["kind"] == "stopped")
        self._end()
        return stopped

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join(timeout=PATIENCE_SECONDS)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None and not stream.closed:
                stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.said.append(json.loads(line))
                self._news.notify_all()
