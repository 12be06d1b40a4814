"""A coroutine begun without a Deferred behaves as one begun with one."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pmmux.coroutines import start


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Any] = []

    async def steps(self, *waits: Any) -> None:
        for wait in waits:
            try:
                self.told.append(await wait)
            except Exception as error:
                self.told.append(type(error).__name__)
        self.told.append("end")

    def test_one_that_never_waits(self) -> None:
        self.assertIsNone(start(self.steps()))
        self.assertIsNone(start(self.steps(succeed(1), succeed(2))))
        self.assertEqual(self.told, ["end", 1, 2, "end"])

    def test_one_that_waits(self) -> None:
        waits: list[Deferred[int]] = [Deferred(), Deferred()]
        ended = start(self.steps(*waits))
        self.assertNoResult(ended)
        waits[0].callback(1)
        self.assertEqual(self.told, [1])
        waits[1].callback(2)
        self.assertIsNone(self.successResultOf(ended))
        self.assertEqual(self.told, [1, 2, "end"])

    def test_failures_reach_it(self) -> None:
        wait: Deferred[int] = Deferred()
        ended = start(self.steps(wait, succeed(2)))
        wait.errback(ValueError())
        self.successResultOf(ended)
        self.assertEqual(self.told, ["ValueError", 2, "end"])

    def test_cancelled_where_it_waits(self) -> None:
        cancelled: list[Any] = []
        wait: Deferred[int] = Deferred(cancelled.append)
        ended = start(self.steps(succeed(0), wait))
        ended.cancel()
        self.successResultOf(ended)
        self.assertEqual(cancelled, [wait])
        self.assertEqual(self.told, [0, CancelledError.__name__, "end"])

    def test_cancelled_at_a_later_wait(self) -> None:
        waits: list[Deferred[int]] = [Deferred(), Deferred()]
        ended = start(self.steps(*waits))
        waits[0].callback(1)
        ended.cancel()
        self.assertEqual(self.told, [1, CancelledError.__name__, "end"])
        self.successResultOf(ended)

    def test_what_it_raises_at_once(self) -> None:
        async def fail() -> None:
            raise ValueError

        self.assertRaises(ValueError, start, fail())

    def test_what_it_raises_later(self) -> None:
        wait: Deferred[None] = Deferred()

        async def fail() -> None:
            await wait
            raise ValueError

        ended = start(fail())
        wait.callback(None)
        self.failureResultOf(ended, ValueError)
