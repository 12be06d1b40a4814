"""A session ends once, and its log line has what was known of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux import errors
from pmmux.model import Address, RouteTrace
from pmmux.router import Router
from pmmux.session import Session
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.doubles import FakeBackend, FakeRelay, FakeReporter, make_client, run_now


class Monitor:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.is_observing = False
        self.told: list[str] = []

    def answered(self, member: Any) -> None:
        self.told.append("answered")

    def early_reset(self, member: Any) -> None:
        self.told.append("early reset")


class SessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.finished: list[Any] = []
        self.router = Router(FirstAvailable(), FakeReporter())
        self.member = run_now(self.router.add(FakeBackend("web")))
        self.services = SimpleNamespace(
            clock=self.clock,
            router=self.router,
            monitor=Monitor(),
            finished=lambda session, outcome: self.finished.append((session, outcome)),
        )

    def make(self, remote: Address) -> Session:
        session = Session(
            self.services,
            7,
            "front",
            make_client(remote),
            self.clock.seconds(),
            self.member,
            "192.0.2.1:80",
            "tls",
            "shop.example.org",
            "",
            RouteTrace(),
        )
        self.router.opened(self.member)
        FakeRelay(None, None, None, session)
        return session

    def test_log_line(self) -> None:
        for remote, shown in (
            (Address("198.51.100.7", 5), "198.51.100.7:5"),
            (Address("2001:db8::1", 5, "ipv6"), "[2001:db8::1]:5"),
        ):
            session = self.make(remote)
            session.relay.octets_from_client = 3
            self.clock.advance(2)
            record = session.record(errors.OUTCOME_CLOSED)
            self.assertEqual(
                (record.client, record.duration_seconds, record.octets_from_client, record.sni),
                (shown, 2.0, 3, "shop.example.org"),
            )
            session.close(errors.OUTCOME_KILLED)

    def test_closed(self) -> None:
        session = self.make(Address("198.51.100.7", 5))
        self.assertEqual(self.member.active, 1)
        session.close(errors.OUTCOME_KILLED)
        self.assertEqual(self.finished, [(session, errors.OUTCOME_KILLED)])
        self.assertEqual(self.member.active, 0)

    def test_monitor_is_told(self) -> None:
        monitor = self.services.monitor
        monitor.is_observing = True
        for octets, outcome, told in (
            (5, errors.OUTCOME_CLOSED, "answered"),
            (0, errors.OUTCOME_CLOSED, "answered"),
            (0, errors.OUTCOME_RESET_BY_UPSTREAM, "early reset"),
            (0, errors.OUTCOME_RESET_BY_CLIENT, None),
        ):
            monitor.told.clear()
            session = self.make(Address("198.51.100.7", 5))
            session.relay.octets_from_upstream = octets
            session.close(outcome)
            self.assertEqual(monitor.told, [told] if told else [])

    def test_nobody_observes(self) -> None:
        self.make(Address("198.51.100.7", 5)).close(errors.OUTCOME_CLOSED)
        self.assertEqual(self.services.monitor.told, [])

    def test_before_its_relay(self) -> None:
        session = self.make(Address("198.51.100.7", 5))
        session.relay = None
        session.close(errors.OUTCOME_KILLED)
        self.assertEqual((session.octets_from_client, session.octets_from_upstream), (0, 0))
        self.assertEqual(session.record("").octets_from_upstream, 0)
