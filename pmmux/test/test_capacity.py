"""A backend's limit: who is let in, who waits, and that nobody is counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pmmux.capacity import Capacity, capacity_of
from pmmux.test.doubles import FakeBackend


class CapacityTests(SynchronousTestCase):
    def wait(self, capacity: Capacity) -> Deferred[bool]:
        waiting = capacity.wait()
        assert waiting is not None
        return waiting

    def test_room_for_those_that_are_connecting_too(self) -> None:
        capacity = Capacity(2, 10, 5.0)
        self.assertTrue(capacity.enter(0))
        self.assertTrue(capacity.enter(0))
        self.assertFalse(capacity.enter(0))
        # One of them is connected now, and counts there.
        capacity.leave_entrance(1)
        self.assertFalse(capacity.enter(1))
        # The other could not be.
        capacity.leave_entrance(1)
        self.assertTrue(capacity.enter(1))

    def test_first_come_first_served(self) -> None:
        capacity = Capacity(1, 10, 5.0)
        first, second = self.wait(capacity), self.wait(capacity)
        # Whoever comes later does not overtake.
        self.assertFalse(capacity.enter(0))
        capacity.wake(0)
        self.assertTrue(self.successResultOf(first))
        self.assertNoResult(second)
        capacity.leave_entrance(1)
        self.assertNoResult(second)
        capacity.wake(0)
        self.assertTrue(self.successResultOf(second))

    def test_one_that_does_not_connect_makes_room(self) -> None:
        capacity = Capacity(1, 10, 5.0)
        self.assertTrue(capacity.enter(0))
        waiting = self.wait(capacity)
        capacity.leave_entrance(0)
        self.assertTrue(self.successResultOf(waiting))

    def test_full_queue(self) -> None:
        capacity = Capacity(1, 1, 5.0)
        waiting = self.wait(capacity)
        self.assertIsNone(capacity.wait())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(capacity.waiting, 0)
        self.assertIsNotNone(capacity.wait())

    def test_no_queue(self) -> None:
        self.assertIsNone(Capacity(1, 0, 5.0).wait())

    def test_sent_away(self) -> None:
        capacity = Capacity(1, 10, 5.0)
        waiting = [self.wait(capacity) for _ in range(3)]
        capacity.send_away()
        self.assertEqual([self.successResultOf(each) for each in waiting], [False] * 3)
        self.assertEqual((capacity.waiting, capacity.entering), (0, 0))

    def test_none_configured(self) -> None:
        self.assertIsNone(capacity_of(FakeBackend("a")))

    @given(st.integers(1, 3), st.lists(st.sampled_from(("come", "connect", "fail", "end", "give up"))))
    def test_never_more_than_it_takes(self, maximum: int, steps: list[str]) -> None:
        capacity = Capacity(maximum, 3, 5.0)
        active = entered = 0
        waiting: list[Deferred[bool]] = []

        def let_in(is_in: bool) -> None:
            nonlocal entered
            entered += is_in

        for step in steps:
            if step == "come":
                if capacity.enter(active):
                    entered += 1
                elif (room := capacity.wait()) is not None:
                    room.addCallbacks(let_in, lambda failure: None)
                    waiting.append(room)
            elif step in ("connect", "fail") and entered:
                entered -= 1
                active += step == "connect"
                capacity.leave_entrance(active)
            elif step == "end" and active:
                active -= 1
                capacity.wake(active)
            elif step == "give up" and waiting:
                waiting.pop(0).cancel()
            self.assertLessEqual(active + entered, maximum)
            self.assertEqual(capacity.entering, entered)
            # Nobody waits while there is room.
            self.assertTrue(capacity.waiting == 0 or active + entered == maximum)
