"""Candidates are looked at one after the other, no further than asked for, and traced."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pmmux.candidates import TRACED_STEPS, Candidates
from pmmux.errors import OUTCOME_MALFORMED, RouteError
from pmmux.inspection import Inspection
from pmmux.members import Member
from pmmux.model import RouteTrace, Status, Step
from pmmux.test.doubles import make_inspection, make_member, run_now
from pmmux.test.hellos import client_hello
from pmmux.test.rules import BROKEN_HELLO, PROBE_NAMES, PROBES


class CandidatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.trace = RouteTrace()

    def make(self, inspection: Inspection, *members: Member, exclude: Iterable[str] = ()) -> Candidates:
        self.drawn: list[str] = []

        def draw() -> Iterable[Member]:
            for member in members:
                self.drawn.append(member.name)
                yield member

        return Candidates(iter(draw()), inspection, self.trace, frozenset(exclude))

    def test_in_order_and_no_further(self) -> None:
        inspection = make_inspection(b"SSH-2.0-x\r\n", probes=PROBES)
        candidates = self.make(
            inspection,
            make_member("http", {"detect": "http"}, PROBE_NAMES),
            make_member("ssh", {"detect": "ssh"}, PROBE_NAMES),
            make_member("any"),
        )
        self.assertEqual(run_now(anext(candidates)).name, "ssh")
        self.assertEqual(self.drawn, ["http", "ssh"])
        self.assertEqual(run_now(anext(candidates)).name, "any")
        self.assertRaises(StopAsyncIteration, run_now, anext(candidates))
        self.assertEqual(
            self.trace.steps,
            [
                Step("http", "no match", "", 11),
                Step("ssh", "match", "", 11),
                Step("any", "match", "", 11),
            ],
        )

    def test_only_those_that_are_offered(self) -> None:
        members = [make_member(status.value) for status in Status]
        for member, status in zip(members, Status, strict=True):
            member.status = status
        candidates = self.make(make_inspection(), *members)

        async def collect() -> list[str]:
            return [member.name async for member in candidates]

        self.assertEqual(run_now(collect()), ["unknown", "healthy", "degraded", "stabilizing"])
        skipped = [step for step in self.trace.steps if step.verdict == "unavailable"]
        self.assertEqual([step.reason for step in skipped], ["unhealthy", "draining", "stopped"])

    def test_not_those_excluded(self) -> None:
        candidates = self.make(make_inspection(), make_member("a"), make_member("b"), exclude=["a"])
        self.assertEqual(run_now(anext(candidates)).name, "b")

    def test_waits_for_its_own_verdict_only(self) -> None:
        inspection = make_inspection(b"S", probes=PROBES)
        candidates = self.make(
            inspection,
            make_member("http", {"detect": "http"}, PROBE_NAMES),
            make_member("ssh", {"detect": "ssh"}, PROBE_NAMES),
        )
        asked = Deferred.fromCoroutine(anext(candidates))
        for octet in b"SH-2.":
            self.assertNoResult(asked)
            self.assertEqual(self.trace.octets_needed, inspection.preview.size + 1)
            inspection.preview.feed(bytes((octet,)))
        inspection.preview.feed(b"0-x\r\n")
        self.assertEqual(self.successResultOf(asked).name, "ssh")
        self.assertEqual(self.trace.octets_needed, 0)

    def test_what_is_undecided_when_the_preview_is_final_does_not_match(self) -> None:
        inspection = make_inspection(b"SSH", probes=PROBES)
        candidates = self.make(
            inspection, make_member("ssh", {"detect": "ssh"}, PROBE_NAMES), make_member("any")
        )
        asked = Deferred.fromCoroutine(anext(candidates))
        inspection.preview.finish()
        self.assertEqual(self.successResultOf(asked).name, "any")

    def test_a_fault_ends_it(self) -> None:
        inspection = make_inspection(BROKEN_HELLO, probes=PROBES)
        candidates = self.make(
            inspection, make_member("named", {"sni": "a.b"}, PROBE_NAMES), make_member("any")
        )
        refused = self.assertRaises(RouteError, run_now, anext(candidates))
        self.assertEqual(refused.outcome, OUTCOME_MALFORMED)
        self.assertEqual(self.drawn, ["named"])
        self.assertEqual(self.trace.steps[-1].verdict, "malformed")

    def test_a_fault_nobody_asks_about_is_none(self) -> None:
        inspection = make_inspection(BROKEN_HELLO, probes=PROBES)
        candidates = self.make(inspection, make_member("any"))
        self.assertEqual(run_now(anext(candidates)).name, "any")

    def test_cancelled_while_it_waits(self) -> None:
        inspection = make_inspection(client_hello()[:20], probes=PROBES)
        candidates = self.make(inspection, make_member("named", {"sni": "a.b"}, PROBE_NAMES))
        asked = Deferred.fromCoroutine(anext(candidates))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        inspection.preview.end()

    def test_the_trace_is_bounded(self) -> None:
        members = [make_member(str(n), {"local-port": "1"}) for n in range(TRACED_STEPS + 9)]
        candidates = self.make(make_inspection(), *members)
        self.assertRaises(StopAsyncIteration, run_now, anext(candidates))
        self.assertEqual(len(self.trace.steps), TRACED_STEPS)
