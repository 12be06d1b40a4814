"""Names are resolved and kept, and several addresses raced, on a clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.config.values import Target
from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.test.doubles import FakeDataPath, make_stream
from pmmux.test.tiny_reactor import TinyReactor
from pmmux.transport.connecting import (
    ATTEMPT_DELAY_SECONDS,
    FRESH_SECONDS,
    STALE_SECONDS,
    Connector,
    NameCache,
    interleave,
    literal_address,
)

V4, OTHER_V4, V6 = "192.0.2.1", "192.0.2.2", "2001:db8::1"


class FakeResolver:
    """Answers when its test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def resolveHostName(self, receiver: Any, host: str) -> Any:
        verifyObject(IResolutionReceiver, receiver)
        self.asked.append((host, receiver))
        receiver.resolutionBegan(self)
        return self

    def answer(self, *hosts: str) -> None:
        _, receiver = self.asked[-1]
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 0))
        receiver.resolutionComplete()


class ResolvingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = TinyReactor()
        self.resolver = self.reactor.nameResolver = FakeResolver()

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class LiteralTests(SynchronousTestCase):
    def test_literals(self) -> None:
        for host, expected in (
            (V4, Address(V4, 80)),
            (V6, Address(V6, 80, "ipv6")),
            ("fe80::1%eth0", Address("fe80::1%eth0", 80, "ipv6")),
            ("::ffff:192.0.2.1", Address(V4, 80)),
            ("web.example", None),
            ("1.2.3", None),
        ):
            self.assertEqual(literal_address(host, 80), expected)


class InterleaveTests(SynchronousTestCase):
    def test_families_in_turn(self) -> None:
        hosts = [(V6, "ipv6"), ("2001:db8::2", "ipv6"), (V4, "ipv4"), ("2001:db8::3", "ipv6")]
        self.assertEqual(
            [address.host for address in interleave(hosts, 80)], [V6, V4, "2001:db8::2", "2001:db8::3"]
        )


class NameCacheTests(ResolvingCase):
    def setUp(self) -> None:
        super().setUp()
        self.cache = NameCache(self.reactor)

    def resolve(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.cache.resolve("web.example"))

    def known(self, *hosts: str) -> None:
        waiting = self.resolve()
        self.resolver.answer(*hosts)
        self.successResultOf(waiting)

    def test_resolved_and_kept(self) -> None:
        waiting = self.resolve()
        self.assertNoResult(waiting)
        self.resolver.answer(V4, V6)
        self.assertEqual(self.successResultOf(waiting), [(V4, "ipv4"), (V6, "ipv6")])
        self.reactor.advance(FRESH_SECONDS - 1)
        self.assertEqual(self.successResultOf(self.resolve()), [(V4, "ipv4"), (V6, "ipv6")])
        self.assertEqual(len(self.resolver.asked), 1)

    def test_refreshed_without_waiting(self) -> None:
        self.known(V4)
        self.reactor.advance(FRESH_SECONDS)
        for _ in range(2):
            self.assertEqual(self.successResultOf(self.resolve()), [(V4, "ipv4")])
        self.assertEqual(len(self.resolver.asked), 2)
        self.resolver.answer(OTHER_V4)
        self.assertEqual(self.successResultOf(self.resolve()), [(OTHER_V4, "ipv4")])

    def test_last_addresses_are_kept_where_the_name_is_gone(self) -> None:
        self.known(V4)
        self.reactor.advance(FRESH_SECONDS)
        for asked in (2, 3):
            self.assertEqual(self.successResultOf(self.resolve()), [(V4, "ipv4")])
            self.assertEqual(len(self.resolver.asked), asked)
            self.resolver.answer()

    def test_not_for_ever(self) -> None:
        self.known(V4)
        self.reactor.advance(STALE_SECONDS)
        waiting = self.resolve()
        self.assertNoResult(waiting)
        self.resolver.answer()
        self.failureResultOf(waiting, UpstreamError)

    def test_no_address(self) -> None:
        waiting = self.resolve()
        self.resolver.answer()
        self.assertEqual(self.failureResultOf(waiting, UpstreamError).value.target, "web.example")


class ConnectorTests(ResolvingCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = FakeDataPath()
        self.connector = Connector(self.reactor, self.path)

    def connect(self, target: Target | None = None, *hosts: str) -> Deferred[Any]:
        waiting = Deferred.fromCoroutine(self.connector.connect(target or Target("web.example", 80), 5.0))
        if hosts:
            self.resolver.answer(*hosts)
        return waiting

    @property
    def tried(self) -> list[str]:
        return [address.host for address, _ in self.path.connecting]

    def fail_last(self, why: str = "connection refused") -> None:
        address, attempt = self.path.connecting[-1]
        attempt.errback(UpstreamError(str(address), why))

    def win(self, place: int) -> Any:
        stream = make_stream(self.reactor)
        self.path.connecting[place][1].callback(stream)
        return stream

    def test_literals_need_no_resolver(self) -> None:
        for target, expected in (
            (Target(V4, 80), Address(V4, 80)),
            (Target(V6, 80), Address(V6, 80, "ipv6")),
            (Target("", 0, "/run/x"), Address("/run/x", 0, "unix")),
        ):
            for _ in range(2):
                waiting = self.connect(target)
                self.assertEqual(self.path.connecting[-1][0], expected)
                stream = self.win(-1)
                self.assertIs(self.successResultOf(waiting), stream)
        self.assertEqual(self.resolver.asked, [])

    def test_one_address(self) -> None:
        waiting = self.connect(None, V4)
        self.assertEqual(self.tried, [V4])
        stream = self.win(0)
        self.assertIs(self.successResultOf(waiting), stream)

    def test_one_after_the_other(self) -> None:
        waiting = self.connect(None, V6, V4, OTHER_V4)
        self.assertEqual(self.tried, [V6])
        self.reactor.advance(ATTEMPT_DELAY_SECONDS)
        self.assertEqual(self.tried, [V6, V4])
        self.reactor.advance(ATTEMPT_DELAY_SECONDS)
        self.assertEqual(self.tried, [V6, V4, OTHER_V4])
        stream = self.win(1)
        self.assertIs(self.successResultOf(waiting), stream)
        self.assertEqual([address.host for address in self.path.cancelled], [V6, OTHER_V4])

    def test_the_next_at_once_where_one_fails(self) -> None:
        waiting = self.connect(None, V6, V4)
        self.fail_last()
        self.assertEqual(self.tried, [V6, V4])
        stream = self.win(1)
        self.assertIs(self.successResultOf(waiting), stream)

    def test_all_fail(self) -> None:
        waiting = self.connect(None, V6, V4)
        self.reactor.advance(ATTEMPT_DELAY_SECONDS)
        self.path.connecting[0][1].errback(UpstreamError("[2001:db8::1]:80", "no route"))
        self.assertNoResult(waiting)
        self.fail_last()
        error = self.failureResultOf(waiting, UpstreamError).value
        self.assertIn("no route", error.reason)
        self.assertIn("192.0.2.1:80: connection refused", error.reason)

    def test_who_comes_second_is_closed(self) -> None:
        waiting = self.connect(None, V6, V4)
        self.reactor.advance(ATTEMPT_DELAY_SECONDS)
        late = self.path.connecting[0][1]
        late._canceller = lambda _: late.callback(second)
        second = make_stream(self.reactor)
        first = self.win(1)
        self.assertIs(self.successResultOf(waiting), first)
        self.assertTrue(second.transport.aborted)
        self.reactor.advance(0)

    def test_time_out_over_all(self) -> None:
        for hosts in ((), (V4,), (V6, V4)):
            self.connector = Connector(self.reactor, self.path)
            waiting = self.connect(None, *hosts)
            self.reactor.pump([1, 1, 1, 1, 0.9])
            self.assertNoResult(waiting)
            self.reactor.advance(0.2)
            error = self.failureResultOf(waiting, UpstreamError).value
            self.assertEqual(error.reason, "not connected within 5 s")
            self.assertEqual(len(self.path.cancelled), len(self.path.connecting))

    def test_cancelled(self) -> None:
        for hosts in ((), (V4,), (V6, V4)):
            self.connector = Connector(self.reactor, self.path)
            waiting = self.connect(None, *hosts)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.assertEqual(len(self.path.cancelled), len(self.path.connecting))

    def test_resolver_answers_too_late(self) -> None:
        waiting = self.connect()
        self.reactor.advance(5)
        self.failureResultOf(waiting, UpstreamError)
        self.resolver.answer(V4)
        self.assertEqual(self.path.connecting, [])
