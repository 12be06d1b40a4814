"""The smaller parts of datagram sessions: idle queue, admission, options, log budget."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pmmux.datagrams import admission as admission_module
from pmmux.datagrams.admission import (
    LOOP_WINDOW_SECONDS,
    ROUNDS_FROM_UPSTREAMS,
    Admission,
    can_be_answered,
    site_of,
)
from pmmux.datagrams.idle import IdleQueue
from pmmux.datagrams.log_budget import LogBudget
from pmmux.datagrams.options import (
    BACKEND_OPTIONS,
    LISTENER_OPTIONS,
    SessionLimits,
    amplification_limit,
    refuses_low_ports,
)
from pmmux.errors import ConfigurationError
from pmmux.test.doubles import read_options


@define(eq=False, slots=False)
class _Item:
    count: int = 0
    moves: int = 0
    expired: list[float] = field(factory=list)
    clock: Clock = field(factory=Clock)

    def progress(self) -> int:
        return self.count

    def moved(self) -> None:
        self.moves += 1

    def expire(self) -> None:
        self.expired.append(self.clock.seconds())


class IdleQueueTests(SynchronousTestCase):
    """Items that fall silent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = IdleQueue(self.clock, 60.0)

    def run_for(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.pump([1.0] * seconds)

    def test_expires(self) -> None:
        """Between 1 and 1.25 times the limit after the last progress."""
        item = _Item(clock=self.clock)
        self.queue.add(item)
        self.run_for(40)
        item.count += 1
        self.run_for(100)
        self.assertEqual(len(item.expired), 1)
        self.assertTrue(100 <= item.expired[0] <= 115, item.expired)
        self.assertEqual(item.moves, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lives_on(self) -> None:
        """An item that moves is not expired, one that does not is, whatever their order."""
        items = [_Item(clock=self.clock) for _ in range(10)]
        for item in items:
            self.queue.add(item)
            self.run_for(1)
        for _ in range(12):
            self.run_for(10)
            for item in items[::2]:
                item.count += 1
        self.assertEqual([len(item.expired) for item in items], [0, 1] * 5)

    def test_discard(self) -> None:
        """What is discarded leaves nothing behind."""
        items = [_Item(clock=self.clock) for _ in range(3)]
        for item in items:
            self.queue.add(item)
        for item in items:
            self.queue.discard(item)
            self.queue.discard(item)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_discards_others_while_expiring(self) -> None:
        """An item's end may be that of others."""
        items = [_Item(clock=self.clock) for _ in range(3)]
        for item in items:
            self.queue.add(item)
        items[0].expire = lambda: self.queue.discard(items[1])  # type: ignore[method-assign]
        self.run_for(100)
        self.assertEqual([len(item.expired) for item in items], [0, 0, 1])


class AdmissionTests(SynchronousTestCase):
    """Who may begin."""

    def test_sources(self) -> None:
        """Addresses that can be one client's."""
        for host in ("192.0.2.1", "127.0.0.1", "223.255.255.255", "2001:db8::1", "::1", "fe80::1%eth0"):
            self.assertTrue(can_be_answered(host, 1), host)
        for host in ("0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1", "ff05::2"):
            self.assertFalse(can_be_answered(host, 1), host)
        self.assertFalse(can_be_answered("192.0.2.1", 0))

    def test_sites(self) -> None:
        """An IPv4 address, an IPv6 /64."""
        self.assertEqual(site_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(site_of("2001:db8::1"), site_of("2001:db8::ffff:1"))
        self.assertEqual(site_of("fe80::1%eth0"), site_of("fe80::2"))
        self.assertNotEqual(site_of("2001:db8::1"), site_of("2001:db8:0:1::1"))

    def test_same_beginnings_are_forgotten(self) -> None:
        """What is counted is counted for a window, and no more of it than can be held."""
        clock = Clock()
        admission = Admission(clock, SessionLimits(10), {"192.0.2.1"})

        def begin(host: str, octets: bytes) -> str:
            return admission.refusal(host, admission.beginning(host, octets), "203.0.113.1")

        refusals = [begin("192.0.2.1", b"x") for _ in range(70)]
        self.assertEqual(refusals.count(""), ROUNDS_FROM_UPSTREAMS)
        self.assertEqual((begin("192.0.2.2", b"x"), begin("192.0.2.1", b"y")), ("", ""))
        clock.advance(LOOP_WINDOW_SECONDS)
        self.assertEqual(begin("192.0.2.1", b"x"), "")
        self.patch(admission_module, "COUNTED_LIMIT", 1)
        self.assertEqual({begin("192.0.2.1", b"y") for _ in range(70)}, {""})
        self.assertIn("loop", [begin("192.0.2.1", b"x") for _ in range(70)][-1])
        admission.answered(("198.51.100.1", 1))


class OptionTests(SynchronousTestCase):
    """What the configuration may say."""

    def test_listener(self) -> None:
        """As written, or the defaults."""
        limits = SessionLimits.of(read_options(LISTENER_OPTIONS, {}, "listener"), 4096, 1000)
        self.assertEqual(limits, SessionLimits(4096, False, 0, 0, 1000))
        written = {
            "affinity": "message",
            "max-sessions": "7",
            "max-sessions-per-address": "3",
            "max-new-sessions-per-second": "2",
        }
        limits = SessionLimits.of(read_options(LISTENER_OPTIONS, written, "listener"), 4096, 1000)
        self.assertEqual(limits, SessionLimits(7, True, 3, 2, 1000))

    def test_backend(self) -> None:
        """Defaults depend on whether it is QUIC."""
        absent = read_options(BACKEND_OPTIONS, {})
        self.assertEqual([amplification_limit(absent, is_quic) for is_quic in (True, False)], [3.0, 0.0])
        self.assertEqual([refuses_low_ports(absent, is_quic) for is_quic in (True, False)], [True, False])
        off = read_options(BACKEND_OPTIONS, {"amplification-limit": "off", "refuse-low-ports": "false"})
        self.assertEqual((amplification_limit(off, True), refuses_low_ports(off, True)), (0.0, False))
        stated = read_options(BACKEND_OPTIONS, {"amplification-limit": "2.5", "refuse-low-ports": "true"})
        self.assertEqual((amplification_limit(stated, False), refuses_low_ports(stated, False)), (2.5, True))

    def test_faults(self) -> None:
        """What is refused."""
        for written in (
            {"amplification-limit": "0"},
            {"amplification-limit": "nan"},
            {"refuse-low-ports": "53"},
        ):
            with self.assertRaises(ConfigurationError):
                read_options(BACKEND_OPTIONS, written)
        for listener in ({"affinity": "packet"}, {"max-sessions": "0"}):
            with self.assertRaises(ConfigurationError):
                read_options(LISTENER_OPTIONS, listener, "listener")


class LogBudgetTests(SynchronousTestCase):
    """So many lines a second."""

    def test_budget(self) -> None:
        """What is over is told as a number."""
        clock = Clock()
        budget = LogBudget(clock, 3)
        clock.advance(1)
        with capturedLogs() as events:
            self.assertEqual([budget.allows() for _ in range(5)], [True] * 3 + [False] * 2)
            clock.advance(1)
            self.assertTrue(budget.allows())
            clock.advance(1)
            self.assertTrue(budget.allows())
        self.assertEqual([event["count"] for event in events], [2])
