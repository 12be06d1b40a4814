"""What the express lane remembers; what it does is in L{pmmux.test.test_multiplexer}."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux import errors
from pmmux.express import Arrival, ExpressTrace
from pmmux.model import Attempt, Step
from pmmux.test.doubles import make_client, make_member


class ExpressTraceTests(SynchronousTestCase):
    def test_expanded(self) -> None:
        refused, chosen = make_member("a"), make_member("b")
        trace = ExpressTrace("first-available", [refused], chosen, 7).expand()
        self.assertEqual(trace.steps, [Step("a", "no match", "", 7), Step("b", "match", "", 7)])
        self.assertEqual(trace.attempts, [Attempt("b", chosen.backend.target)])
        self.assertEqual((trace.strategy, trace.chosen, trace.outcome), ("first-available", "b", "routed"))


class Lane:
    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.given_up: list[Any] = []

    def hear(self, arrival: Arrival, octets: bytes) -> None:
        self.heard.append(octets)

    def give_up(self, arrival: Arrival) -> None:
        self.given_up.append(arrival)


class ArrivalTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.arrival = Arrival(ours, make_client(), "front", 1, Clock().seconds())
        self.lane = self.arrival.lane = Lane()

    def test_hears_once_there_is_something(self) -> None:
        self.arrival.ready(0)
        self.assertEqual(self.lane.heard, [])
        self.theirs.send(b"hello")
        self.arrival.ready(0)
        self.assertEqual(self.lane.heard, [b"hello"])

    def test_the_end_is_heard_as_nothing(self) -> None:
        self.theirs.close()
        self.arrival.ready(0)
        self.assertEqual(self.lane.heard, [b""])

    def test_expires_and_closes(self) -> None:
        self.arrival.expire()
        self.assertEqual((self.arrival.timeout, self.arrival.closed_with), (None, ""))
        self.arrival.close(errors.OUTCOME_KILLED)
        self.assertEqual(self.arrival.closed_with, errors.OUTCOME_KILLED)
        self.assertEqual(self.lane.given_up, [self.arrival] * 2)
