"""L{pmmux.health.machine}: the table, and the reference's rules against it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.health.machine import TRANSITIONS, Input, Tally, transition
from pmmux.model import Status

U, H, X, D, S = (
    Status.UNKNOWN,
    Status.HEALTHY,
    Status.UNHEALTHY,
    Status.DEGRADED,
    Status.STABILIZING,
)
CHECKED = (U, H, X, D, S)

# By status, what follows the six results, in the order of Input.
EXPECTED = {
    U: (H, S, H, X, D, X),
    H: (H, S, H, X, D, X),
    X: (H, S, H, X, D, X),
    D: (H, S, H, D, D, X),
    S: (S, S, H, X, D, X),
    Status.DRAINING: (Status.DRAINING,) * 6,
    Status.STOPPED: (Status.STOPPED,) * 6,
}
RESULTS = tuple(Input)[:6]


class TableTests(SynchronousTestCase):
    def test_has_every_state_and_input_and_no_other(self) -> None:
        self.assertEqual(set(TRANSITIONS), {(status, event) for status in Status for event in Input})

    def test_results(self) -> None:
        for status, row in EXPECTED.items():
            for event, following in zip(RESULTS, row, strict=True):
                with self.subTest(status=status, event=event):
                    self.assertIs(transition(status, event), following)

    def test_drain(self) -> None:
        for status in Status:
            expected = Status.STOPPED if status is Status.STOPPED else Status.DRAINING
            self.assertIs(transition(status, Input.DRAIN), expected)

    def test_stop(self) -> None:
        for status in Status:
            self.assertIs(transition(status, Input.STOP), Status.STOPPED)


def by_the_rules(
    status: Status, passed: bool, previous: bool | None, in_a_row: int, threshold: int
) -> Status:
    """The rules of the reference, word for word."""
    if passed:
        if status is not H and in_a_row >= threshold:
            return H
        if previous is False or status is S:
            return S
        return H
    if status is not X and in_a_row >= threshold:
        return X
    if previous is True or status is D:
        return D
    return X


class TallyTests(SynchronousTestCase):
    def run_all(self, results: str, failures: int = 3, recoveries: int = 5) -> str:
        tally = Tally()
        letters = {U: "u", H: "h", X: "x", D: "d", S: "s"}
        return "".join(
            letters[tally.passed(recoveries) if result == "+" else tally.failed(failures)]
            for result in results
        )

    def test_first_result_decides(self) -> None:
        self.assertEqual(self.run_all("+"), "h")
        self.assertEqual(self.run_all("-"), "x")

    def test_one_failure_does_not_exclude(self) -> None:
        self.assertEqual(self.run_all("+-+++++"), "hdssssh")

    def test_failures_in_a_row_exclude(self) -> None:
        self.assertEqual(self.run_all("+---"), "hddx")

    def test_recovery(self) -> None:
        self.assertEqual(self.run_all("---+++++"), "xxxssssh")

    def test_relapse_while_stabilizing(self) -> None:
        self.assertEqual(self.run_all("---+----"), "xxxsddxx")

    def test_thresholds_of_one(self) -> None:
        self.assertEqual(self.run_all("+-+-", 1, 1), "hxhx")

    def test_reset(self) -> None:
        tally = Tally()
        tally.failed(3)
        tally.reset()
        self.assertEqual((tally.status, tally.failures, tally.successes), (U, 0, 0))

    @given(st.lists(st.booleans(), max_size=40), st.integers(1, 8), st.integers(1, 8))
    def test_is_what_the_rules_say(self, results: list[bool], failures: int, recoveries: int) -> None:
        tally = Tally()
        status, previous, in_a_row = U, None, 0
        for passed in results:
            in_a_row = in_a_row + 1 if passed is previous else 1
            threshold = recoveries if passed else failures
            status = by_the_rules(status, passed, previous, in_a_row, threshold)
            self.assertIs(tally.passed(recoveries) if passed else tally.failed(failures), status)
            self.assertEqual(tally.successes if passed else tally.failures, in_a_row)
            previous = passed
