"""The portable relay, step by step; what it owes as a whole is in L{pmmux.test.test_transport_data_paths}."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux import errors
from pmmux.test.doubles import FakeRelayOwner, make_stream
from pmmux.transport.interfaces import IRelay
from pmmux.transport.relaying import Relay, RelayLimits
from pmmux.transport.timeouts import ProgressWheel


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = FakeRelayOwner()
        self.outcomes = self.owner.outcomes
        self.client = make_stream(self.clock)
        self.upstream = make_stream(self.clock)
        self.below, self.above = self.client.transport, self.upstream.transport

    def tearDown(self) -> None:
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self) -> Relay:
        self.wheel = ProgressWheel(self.clock)
        return Relay(self.client, self.upstream, RelayLimits(60.0, 10.0), self.wheel, self.owner)

    def end(self, relay: Relay) -> None:
        relay.close(errors.OUTCOME_KILLED)
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [errors.OUTCOME_KILLED])

    def test_provides(self) -> None:
        relay = self.start()
        verifyObject(IRelay, relay)
        verifyObject(IPushProducer, relay._client)
        self.end(relay)

    def test_preview_goes_first(self) -> None:
        self.below.deliver(b"said ")
        self.above.deliver(b"welcome")
        self.client.pause()
        relay = self.start()
        self.below.deliver(b"more")
        self.assertEqual((self.above.value(), self.below.value()), (b"said more", b"welcome"))
        self.assertTrue(self.below.is_reading and self.above.is_reading)
        self.end(relay)

    def test_half_close_order(self) -> None:
        self.start()
        self.below.deliver(b"question", b"")
        self.assertTrue(self.above.write_ended)
        self.assertFalse(self.below.write_ended)
        self.assertEqual(self.outcomes, [])
        self.above.deliver(b"answer", b"")
        self.assertTrue(self.below.write_ended)
        self.assertEqual(self.below.value(), b"answer")
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [errors.OUTCOME_CLOSED])
        self.assertFalse(self.below.aborted or self.above.aborted)

    def test_back_pressure(self) -> None:
        relay = self.start()
        self.above.producer.pauseProducing()
        self.assertFalse(self.below.is_reading)
        self.assertTrue(self.above.is_reading)
        self.above.producer.resumeProducing()
        self.assertTrue(self.below.is_reading)
        self.end(relay)

    def test_a_producer_that_is_stopped_closes_nothing(self) -> None:
        """The loss itself says whether it was a reset, and it comes next."""
        relay = self.start()
        self.above.producer.stopProducing()
        self.clock.advance(0)
        self.assertTrue(self.below.connected)
        self.end(relay)

    def test_reset_is_passed_on(self) -> None:
        for who, other, outcome in (
            ("below", "above", errors.OUTCOME_RESET_BY_CLIENT),
            ("above", "below", errors.OUTCOME_RESET_BY_UPSTREAM),
        ):
            self.setUp()
            self.start()
            getattr(self, who).lose(ConnectionLost())
            self.assertTrue(getattr(self, other).aborted)
            self.clock.advance(0)
            self.assertEqual(self.outcomes, [outcome])

    def test_gone_before(self) -> None:
        for gone, outcome in (
            (("below",), errors.OUTCOME_RESET_BY_CLIENT),
            (("above",), errors.OUTCOME_RESET_BY_UPSTREAM),
            (("below", "above"), errors.OUTCOME_RESET_BY_CLIENT),
        ):
            self.setUp()
            for who in gone:
                getattr(self, who).lose(ConnectionLost())
            self.start()
            self.clock.advance(0)
            self.assertEqual(self.outcomes, [outcome])
            self.assertFalse(self.below.connected or self.above.connected)

    def test_close_says_the_first_outcome(self) -> None:
        relay = self.start()
        relay.close(errors.OUTCOME_DRAIN_TIMEOUT)
        relay.close(errors.OUTCOME_KILLED)
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [errors.OUTCOME_DRAIN_TIMEOUT])
