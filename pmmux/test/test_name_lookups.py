"""Connections that want a name while it is being looked up share the lookup."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.errors import UpstreamError
from pmmux.test.test_transport_connecting import V4, FakeResolver
from pmmux.transport.connecting import NameCache


class SharedLookupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = self.clock.nameResolver = FakeResolver()  # type: ignore[attr-defined]
        self.names = NameCache(self.clock)

    def resolve(self, name: str = "web.example") -> Deferred[list[tuple[str, str]]]:
        return Deferred.fromCoroutine(self.names.resolve(name))

    def test_one_lookup(self) -> None:
        waiting = [self.resolve() for _ in range(3)]
        self.resolve("other.example")
        self.assertEqual([name for name, _ in self.resolver.asked], ["web.example", "other.example"])
        self.resolver.asked.pop()
        self.resolver.answer(V4)
        for each in waiting:
            self.assertEqual(self.successResultOf(each), [(V4, "ipv4")])

    def test_one_that_does_not_wait_any_longer(self) -> None:
        first, second = self.resolve(), self.resolve()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.resolver.answer(V4)
        self.assertEqual(self.successResultOf(second), [(V4, "ipv4")])

    def test_all_fail_and_the_next_one_asks_again(self) -> None:
        waiting = [self.resolve() for _ in range(2)]
        self.resolver.answer()
        for each in waiting:
            self.failureResultOf(each, UpstreamError)
        self.resolve()
        self.assertEqual(len(self.resolver.asked), 2)
