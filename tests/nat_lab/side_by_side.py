"""
Tests that mostly wait, run side by side: trial runs one after the other.

Where a whole module is loaded, the first test starts them all in a few threads, and each test then
takes the result of its own. Tests that are named one by one run as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from twisted.trial.runner import TestLoader, TestSuite
from twisted.trial.unittest import SynchronousTestCase

# They share two cores in CI, and some measure seconds.
WORKERS = 4

Key = tuple[type, str]


class _Ahead:
    """The tests that are known to be wanted, and those that run or ran ahead."""

    def __init__(self) -> None:
        self._wanted: list[Key] = []
        self._started: dict[Key, Future[None]] = {}
        self._lock = threading.Lock()

    def want(self, keys: Iterable[Key]) -> None:
        self._wanted.extend(keys)

    def take(self, key: Key) -> None:
        """Wait for the test's end, and raise what it raised."""
        with self._lock:
            if key in self._wanted:
                pool = ThreadPoolExecutor(WORKERS)
                for each in self._wanted:
                    self._started[each] = pool.submit(_perform, *each)
                self._wanted.clear()
                pool.shutdown(wait=False)
            started = self._started.pop(key, None)
        if started is None:
            _perform(*key)
        else:
            started.result()


_ahead = _Ahead()


class SideBySideCase(SynchronousTestCase):
    """
    A case whose tests use nothing that they would have to share: neither the reactor nor trial's own
    cleaning up.
    """

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self.endings = ExitStack()

    def run(self, result: Any) -> None:
        """For trial: in place of the test, wait for it."""
        key = (type(self), self._testMethodName)
        setattr(self, self._testMethodName, lambda: _ahead.take(key))
        super().run(result)

    def begin(self) -> None:
        """In place of C{setUp}."""

    def at_end(self, act: Callable[..., Any], *arguments: Any) -> None:
        """In place of C{addCleanup}."""
        self.endings.callback(act, *arguments)


def _perform(case: type[SideBySideCase], name: str) -> None:
    performed = case(name)
    with performed.endings:
        performed.begin()
        getattr(performed, name)()


def make_suite(*cases: type[SideBySideCase]) -> TestSuite:
    """What a module's C{testSuite} is to return."""
    loader = TestLoader()
    suite = TestSuite([loader.loadClass(case) for case in cases])
    for case in cases:
        names = sorted(loader.methodPrefix + name for name in loader.getTestCaseNames(case))
        _ahead.want((case, name) for name in names)
    return suite
