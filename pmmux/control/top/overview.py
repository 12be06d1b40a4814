"""What C{pmmuxctl top} shows, from what a running pmmux says of itself. Pure: no terminal, no socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from pmmux.control.tables import Column, cell, clock_text, octets_text, seconds_text, table

HISTORY = 60
CELL_LIMIT_CHARACTERS = 40
_BARS = " ▁▂▃▄▅▆▇█"

BACKEND_COLUMNS: tuple[Column, ...] = (
    ("name", "BACKEND"),
    ("status", "STATUS"),
    ("active", "OPEN"),
    ("rate", "NEW/S"),
    ("routed", "ROUTED"),
    ("connect", "CONNECT"),
    ("answer", "ANSWER"),
    ("check", "CHECK"),
    ("error", "ERROR"),
    ("target", "TARGET"),
)
ROUTE_COLUMNS: tuple[Column, ...] = (
    ("ended", "ENDED"),
    ("client", "CLIENT"),
    ("protocol", "PROTOCOL"),
    ("name", "NAME"),
    ("backend", "BACKEND"),
    ("outcome", "OUTCOME"),
    ("in", "IN"),
    ("out", "OUT"),
    ("took", "TOOK"),
)


@frozen(slots=True)
class Line:
    """
    One row of a table.

    @ivar identity: what it is about: a backend's name, a connection's number.
    @ivar style: C{"good"}, C{"bad"}, C{"aside"} or empty.
    """

    identity: Any
    text: str
    style: str = ""


@define
class Overview:
    """
    What was said last, and how fast it changes.

    @ivar status: the result of C{status}.
    @ivar connections_per_second: accepted.
    @ivar failures_per_second: of those that were not routed.
    @ivar octets_in_per_second: from clients.
    @ivar octets_out_per_second: to clients.
    """

    status: Mapping[str, Any] = field(factory=dict)
    backends: Sequence[Mapping[str, Any]] = ()
    routes: Sequence[Mapping[str, Any]] = ()
    connections_per_second: float = 0.0
    failures_per_second: float = 0.0
    octets_in_per_second: float = 0.0
    octets_out_per_second: float = 0.0
    _history: deque[float] = field(factory=lambda: deque(maxlen=HISTORY))
    _rates: dict[str, float] = field(factory=dict)
    _times: dict[tuple[str, str], float] = field(factory=dict)
    _taken_at: float | None = None

    def take(
        self,
        status: Mapping[str, Any],
        backends: Sequence[Mapping[str, Any]],
        routes: Sequence[Mapping[str, Any]],
        seconds: float,
    ) -> None:
        """
        Take in what is said now.

        @param seconds: when, on a clock that only goes on.
        """
        passed = 0.0 if self._taken_at is None else seconds - self._taken_at
        # Another process: nothing is to be compared.
        if passed > 0 and status.get("pid") == self.status.get("pid"):
            before = self.status
            self.connections_per_second = _rate(before, status, "connections_total", passed)
            self.failures_per_second = _rate(before, status, "connections_failed", passed)
            self.octets_in_per_second = _rate(before, status, "octets_from_clients", passed)
            self.octets_out_per_second = _rate(before, status, "octets_to_clients", passed)
            self._history.append(self.octets_in_per_second + self.octets_out_per_second)
            routed = {each["name"]: each["routed"] for each in self.backends}
            self._rates = {
                each["name"]: max(0, each["routed"] - routed[each["name"]]) / passed
                for each in backends
                if each["name"] in routed
            }
            self._take_times(backends)
        else:
            self._times.clear()
        self.status, self.backends, self.routes, self._taken_at = status, backends, routes, seconds

    def _take_times(self, backends: Sequence[Mapping[str, Any]]) -> None:
        """How long connecting and answering took since the last time; what has none keeps its last."""
        before = {each["name"]: each for each in self.backends}
        for now in backends:
            name = now["name"]
            then = before.get(name, now)
            for what in ("connects", "answers"):
                count = now[what] - then[what]
                if count > 0:
                    took = now[f"{what}_sum_seconds"] - then[f"{what}_sum_seconds"]
                    self._times[name, what] = max(0.0, took) / count

    def heading(self) -> str:
        """Who it is."""
        status = self.status
        up = seconds_text(status.get("uptime_seconds"))
        memory = octets_text(status.get("memory_octets") or 0)
        return (
            f"pmmux {cell(status.get('version'))}  process {cell(status.get('pid'))}  up {up}  "
            f"memory {memory}  descriptors {cell(status.get('descriptors_open'))}"
        )

    def totals(self) -> list[str]:
        """How it does, in two lines that fit a narrow screen."""
        status = self.status
        came_in, went_out = map(octets_text, (self.octets_in_per_second, self.octets_out_per_second))
        return [
            f"open {status.get('connections_open', 0)}  UDP sessions {status.get('sessions_open', 0)}  "
            f"new {self.connections_per_second:.1f}/s  refused {self.failures_per_second:.1f}/s",
            f"in {came_in}/s  out {went_out}/s  {self.sparkline()}",
        ]

    def sparkline(self) -> str:
        """The throughput of the last time, the newest to the right, against its highest."""
        highest = max(self._history, default=0.0)
        if not highest:
            return ""
        steps = len(_BARS) - 1
        return "".join(_BARS[round(each / highest * steps)] for each in self._history)

    def backend_lines(self) -> list[Line]:
        """The titles, and a line for each backend."""
        rows = [
            {
                **each,
                "rate": f"{self._rates.get(each['name'], 0.0):.1f}",
                "connect": seconds_text(self._times.get((each["name"], "connects"), each["connect_seconds"])),
                "answer": seconds_text(self._times.get((each["name"], "answers"), each["answer_seconds"])),
                "check": seconds_text(each["check_seconds"]),
            }
            for each in self.backends
        ]
        styles = [_status_style(each["status"]) for each in self.backends]
        return _lines(rows, BACKEND_COLUMNS, "name", styles, "there are no backends")

    def route_lines(self, refused_only: bool = False) -> list[Line]:
        """The titles, and a line for each of the last routes, the newest first."""
        shown = [each for each in self.routes if not (refused_only and each["backend"])]
        rows = [
            {
                **each,
                "ended": clock_text(each["time"]),
                "name": each["sni"] or each["host"],
                "in": octets_text(each["octets_from_client"]),
                "out": octets_text(each["octets_from_upstream"]),
                "took": seconds_text(each["duration_seconds"]),
            }
            for each in shown
        ]
        styles = ["" if each["backend"] else "bad" for each in shown]
        return _lines(rows, ROUTE_COLUMNS, "id", styles, "no connection has ended yet")


def _rate(before: Mapping[str, Any], now: Mapping[str, Any], name: str, seconds: float) -> float:
    # What is open is added up when asked for: a number may fall a little when it is told again.
    change: float = now[name] - before[name]
    return max(0.0, change) / seconds


def _status_style(status: str) -> str:
    if status in ("unhealthy", "degraded"):
        return "bad"
    return "aside" if status in ("draining", "stopped") else "good"


def _lines(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    identity: str,
    styles: Sequence[str],
    empty: str,
) -> list[Line]:
    head, *written = table(rows, columns, empty, CELL_LIMIT_CHARACTERS)
    lines = (Line(row[identity], text, style) for row, text, style in zip(rows, written, styles, strict=True))
    return [Line(None, head, "title"), *lines]
