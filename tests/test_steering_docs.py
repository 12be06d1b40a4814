"""The pages about seeing and steering say what the program does."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pmmux.control import exits, protocol
from pmmux.metrics.catalogue import DURATION, STANDARD_METRICS, Metric
from pmmux.metrics.prometheus_names import family_name, sample_names
from tests.support.process import ROOT

DOCS = ROOT / "docs"
_PROMETHEUS_NAME = re.compile(r"\bpmmux_[a-z_]+\b")
_PROCESS = "pmmux_process_"


def known_names() -> set[str]:
    return {name for metric in STANDARD_METRICS for name in sample_names(metric)}


class ControlPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        sys.path.insert(0, str(DOCS))
        self.addCleanup(sys.path.remove, str(DOCS))
        import generate_control

        self.page: Any = generate_control
        self.text = generate_control.PAGE.read_text(encoding="utf-8")

    def test_commands(self) -> None:
        self.assertEqual(self.text, self.page.render(self.text), "run python docs/generate_control.py")

    def test_error_codes(self) -> None:
        used = {
            value
            for name, value in vars(protocol).items()
            if name.isupper() and isinstance(value, str) and re.fullmatch("[a-z-]+", value)
        }
        written = set(re.findall(r"^\| `([a-z-]+)` \|", self.text, re.MULTILINE))
        self.assertLessEqual(used, written)

    def test_exit_statuses(self) -> None:
        statuses = {value for name, value in vars(exits).items() if name.isupper()}
        written = {int(found) for found in re.findall(r"^\| (\d+) \|", self.text, re.MULTILINE)}
        self.assertLessEqual(statuses, written)

    def test_limits(self) -> None:
        self.assertIn(f"{protocol.REQUEST_LIMIT_OCTETS:,} octets", self.text)
        self.assertIn(f"at most {protocol.ID_LIMIT_CHARACTERS} characters", self.text.replace("\n", " "))

    def test_examples_are_right(self) -> None:
        for line in re.findall("^→ (.*)$", self.text, re.MULTILINE):
            self.assertIsInstance(protocol.parse_request(line.encode()), protocol.Request, line)
        for line in re.findall("^← (.*)$", self.text, re.MULTILINE):
            self.assertIn("id", json.loads(line))


class ObservabilityPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = (DOCS / "observability.md").read_text(encoding="utf-8")

    def rows(self) -> dict[str, list[str]]:
        table = self.text.partition("<!-- metrics -->\n")[2].partition("<!-- end -->")[0]
        cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
        return {row[0].strip("`"): row[1:] for row in cells}

    def prometheus_cell(self, metric: Metric) -> str:
        if metric.kind == DURATION:
            return f"`{family_name(metric)}` (histogram)"
        return f"`{sample_names(metric)[0]}`"

    def test_every_metric_with_its_unit_and_meaning(self) -> None:
        rows = self.rows()
        self.assertEqual(list(rows), [metric.name for metric in STANDARD_METRICS])
        for metric in STANDARD_METRICS:
            name, _, unit, description, bad = rows[metric.name]
            expected = (self.prometheus_cell(metric), metric.unit, metric.description)
            self.assertEqual((name, unit, description), expected)
            self.assertGreater(len(bad), 5)

    def test_alarms_ask_for_what_there_is(self) -> None:
        for line in re.findall("expr: (.*)$", self.text, re.MULTILINE):
            for name in _PROMETHEUS_NAME.findall(line):
                self.assertTrue(name in known_names() or name.startswith(_PROCESS), name)


class DashboardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))

    def test_panels_ask_for_what_there_is(self) -> None:
        expressions = [target["expr"] for panel in self.dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(expressions), 15)
        for expression in expressions:
            names = _PROMETHEUS_NAME.findall(expression)
            self.assertTrue(names, expression)
            for name in names:
                self.assertTrue(name in known_names() or name.startswith(_PROCESS), name)
            for opening, closing in ("()", "{}", "[]"):
                self.assertEqual(expression.count(opening), expression.count(closing), expression)

    def test_panels_do_not_overlap(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken.add((x, y))
        self.assertEqual(
            len({panel["id"] for panel in self.dashboard["panels"]}), len(self.dashboard["panels"])
        )
