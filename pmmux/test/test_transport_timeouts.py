"""Time-outs come when they are due, neither earlier nor much later, and leave nothing behind."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.transport.timeouts import ProgressWheel, Timeout, TimeoutQueue


class TimeoutQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = TimeoutQueue(self.clock, 5.0)
        self.expired: list[tuple[str, float]] = []

    def add(self, name: str) -> Timeout:
        return self.queue.add(lambda: self.expired.append((name, self.clock.seconds())))

    def test_expires_when_due(self) -> None:
        self.add("a")
        self.clock.advance(1)
        self.add("b")
        self.clock.advance(3.9)
        self.assertEqual(self.expired, [])
        self.clock.pump([0.1, 0.9, 0.1])
        self.assertEqual([name for name, _ in self.expired], ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        first, second = self.add("a"), self.add("b")
        self.queue.cancel(first)
        self.queue.cancel(first)
        self.clock.advance(5)
        self.assertEqual(self.expired, [("b", 5.0)])
        self.queue.cancel(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_when_all_are_cancelled(self) -> None:
        for timeout in [self.add("a"), self.add("b")]:
            self.queue.cancel(timeout)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_reactor_call_for_all(self) -> None:
        for name in "abc":
            self.add(name)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_cancelled_while_others_expire(self) -> None:
        later: list[Timeout] = []
        self.queue.add(lambda: self.queue.cancel(later[0]))
        later.append(self.add("b"))
        self.clock.advance(5)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([], []))

    def test_one_added_by_another_does_not_hold_up_the_rest(self) -> None:
        self.queue.add(lambda: self.add("new") and None)
        self.clock.advance(1)
        self.add("b")
        self.clock.advance(4)
        self.clock.advance(1)
        self.assertEqual(self.expired, [("b", 6.0)])
        self.clock.advance(4)
        self.assertEqual(self.expired[-1], ("new", 10.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failure_does_not_hold_up_the_rest(self) -> None:
        def fail() -> None:
            raise ValueError("expected by the test")

        self.queue.add(fail)
        self.add("b")
        self.assertRaises(ValueError, self.clock.advance, 5)
        self.clock.advance(0)
        self.assertEqual(self.expired, [("b", 5.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(0, 2)),
                st.tuples(st.just("cancel"), st.integers(0, 9)),
                st.tuples(st.just("advance"), st.integers(1, 7)),
            ),
            max_size=25,
        )
    )
    def test_each_at_its_time(self, steps: list[tuple[str, int]]) -> None:
        """C{add} with 1 or 2 adds one more when it expires."""
        clock = Clock()
        queue = TimeoutQueue(clock, 5.0)
        expected: dict[int, float] = {}
        expired: dict[int, float] = {}
        timeouts: list[Timeout] = []

        def add(more: int) -> None:
            number = len(timeouts)
            expected[number] = clock.seconds() + 5.0

            def expire() -> None:
                expired[number] = clock.seconds()
                if more:
                    add(more - 1)

            timeouts.append(queue.add(expire))

        for kind, value in steps:
            if kind == "add":
                add(value)
            elif kind == "cancel":
                if value < len(timeouts):
                    queue.cancel(timeouts[value])
                    if value not in expired:
                        expected.pop(value, None)
            else:
                for _ in range(value):
                    clock.advance(1)
        for _ in range(20):
            clock.advance(1)
        self.assertEqual(expired, expected)
        self.assertEqual(clock.getDelayedCalls(), [])


class Item:
    """Something to be watched."""

    def __init__(self, clock: Clock, wheel: ProgressWheel | None = None) -> None:
        self.clock = clock
        self.watch: Any = None
        self.moved = 0
        self.expired_at: list[float] = []
        self.wheel = wheel

    def progress(self) -> int:
        return self.moved

    def expire(self) -> None:
        self.expired_at.append(self.clock.seconds())


class ProgressWheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = ProgressWheel(self.clock)

    def run_for(self, seconds: int) -> None:
        for _ in range(seconds * 4):
            self.clock.advance(0.25)

    def test_expires_within_its_bounds(self) -> None:
        for limit in (0.1, 1.0, 4.0, 10.0, 60.0):
            item = Item(self.clock)
            begun_at = self.clock.seconds()
            self.wheel.add(item, limit)
            self.run_for(int(limit * 1.25) + 5)
            (expired_at,) = item.expired_at
            self.assertGreaterEqual(expired_at - begun_at, limit - 1)
            self.assertLessEqual(expired_at - begun_at, max(limit * 1.25, limit + 3))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_progress_keeps_it(self) -> None:
        item = Item(self.clock)
        self.wheel.add(item, 8.0)
        for _ in range(10):
            self.run_for(6)
            item.moved += 1
        self.assertEqual(item.expired_at, [])
        self.run_for(13)
        self.assertEqual(len(item.expired_at), 1)

    def test_removed(self) -> None:
        """Young, watched, or never watched: harmless each time."""
        for wait in (0, 3):
            item = Item(self.clock)
            self.wheel.add(item, 4.0)
            self.run_for(wait)
            self.wheel.remove(item)
            self.wheel.remove(item)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.run_for(20)
        self.assertEqual(item.expired_at, [])

    def test_added_again_after_it_was_removed(self) -> None:
        item = Item(self.clock)
        self.wheel.add(item, 4.0)
        self.wheel.remove(item)
        self.wheel.add(item, 10.0)
        self.run_for(9)
        self.assertEqual(item.expired_at, [])
        self.run_for(6)
        self.assertEqual(len(item.expired_at), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changed(self) -> None:
        for change in (self.wheel.change, self.wheel.change_soon):
            for wait in (0, 5):
                shorter, longer = Item(self.clock), Item(self.clock)
                self.wheel.add(shorter, 100.0)
                self.wheel.add(longer, 10.0)
                self.run_for(wait)
                begun_at = self.clock.seconds()
                change(shorter, 4.0)
                change(longer, 40.0)
                self.run_for(30)
                (expired_at,) = shorter.expired_at
                self.assertTrue(4 <= expired_at - begun_at <= 8)
                self.assertEqual(longer.expired_at, [])
                self.run_for(30)
                self.assertEqual(len(longer.expired_at), 1)
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changed_when_it_is_gone(self) -> None:
        for change in (self.wheel.change, self.wheel.change_soon):
            item = Item(self.clock)
            self.wheel.add(item, 10.0)
            self.wheel.remove(item)
            change(item, 1.0)
            self.run_for(10)
            self.assertEqual(item.expired_at, [])

    def test_expired_once_however_late(self) -> None:
        items = [Item(self.clock) for _ in range(3)]
        for item in items:
            self.wheel.add(item, 5.0)
        self.clock.advance(1000)
        self.run_for(10)
        self.assertEqual([len(item.expired_at) for item in items], [1, 1, 1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_removed_by_another(self) -> None:
        first, second = Item(self.clock), Item(self.clock)
        first.expire = lambda: self.wheel.remove(second)
        self.wheel.add(first, 4.0)
        self.wheel.add(second, 4.0)
        self.run_for(20)
        self.assertEqual(second.expired_at, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_added_by_another(self) -> None:
        first, second = Item(self.clock), Item(self.clock)
        first.expire = lambda: self.wheel.add(second, 4.0)
        self.wheel.add(first, 4.0)
        self.run_for(20)
        self.assertEqual(len(second.expired_at), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failure_does_not_hold_up_the_rest(self) -> None:
        def fail() -> None:
            raise ValueError("expected by the test")

        items = [Item(self.clock) for _ in range(3)]
        items[1].expire = fail
        for item in items:
            self.wheel.add(item, 4.0)
        self.assertRaises(ValueError, self.run_for, 20)
        self.run_for(20)
        self.assertEqual([len(item.expired_at) for item in (items[0], items[2])], [1, 1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_call_for_all(self) -> None:
        for _ in range(100):
            self.wheel.add(Item(self.clock), 60.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
