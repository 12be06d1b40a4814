"""The poller tells owners once, and one that fails harms nobody else."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.test.tiny_reactor import TinyReactor
from pmmux.transport.poller import (
    IN,
    LUCK_LOST_AT_ONCE,
    MOST_LUCK,
    OUT,
    POLLS_FOR_AN_ANSWER,
    READ_HANG_UP,
    READING_AND_WRITING,
    ROUNDS_PER_TURN,
    TURNS_WITHOUT_LUCK,
    Poller,
)


class Owner:
    def __init__(self, then: Any = None) -> None:
        self.events: list[int] = []
        self.was_broken = 0
        self.then = then

    def ready(self, events: int) -> None:
        self.events.append(events)
        if self.then is not None:
            self.then()

    def broken(self) -> None:
        self.was_broken += 1


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = TinyReactor()
        self.poller = Poller(self.reactor)
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        self.addCleanup(self.poller.close)

    def test_provides(self) -> None:
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual(self.reactor.getReaders(), [self.poller])
        self.poller.logPrefix()

    def test_tells_once(self) -> None:
        owner = Owner()
        self.poller.add(self.ours.fileno(), owner)
        self.poller.doRead()
        self.assertEqual(owner.events, [])
        self.theirs.send(b"x")
        self.poller.doRead()
        self.poller.doRead()
        self.assertEqual(owner.events, [IN])
        self.theirs.send(b"y")
        self.poller.doRead()
        self.assertEqual(owner.events, [IN, IN])

    def test_tells_again_when_asked(self) -> None:
        owner = Owner()
        self.poller.add(self.ours.fileno(), owner)
        self.theirs.send(b"x")
        self.poller.doRead()
        self.poller.again(self.ours.fileno())
        self.poller.doRead()
        self.assertEqual(owner.events, [IN, IN])
        self.poller.again(self.ours.fileno(), READING_AND_WRITING)
        self.poller.doRead()
        self.assertEqual(owner.events[-1], IN | OUT)

    def test_tells_of_what_is_ready_already(self) -> None:
        owner = Owner()
        self.theirs.send(b"x")
        self.theirs.shutdown(socket.SHUT_WR)
        self.poller.add(self.ours.fileno(), owner)
        self.poller.doRead()
        self.assertEqual(owner.events, [IN | READ_HANG_UP])

    def test_given_to_another(self) -> None:
        first, second = Owner(), Owner()
        self.poller.add(self.ours.fileno(), first)
        self.poller.give(self.ours.fileno(), second)
        self.theirs.send(b"x")
        self.poller.doRead()
        self.assertEqual((first.events, second.events), ([], [IN]))

    def test_forgotten_in_the_same_batch(self) -> None:
        """Nobody is told of a descriptor that another owner has just closed."""
        more, theirs = socket.socketpair()
        self.addCleanup(more.close)
        self.addCleanup(theirs.close)

        def forget_both() -> None:
            for each in (self.ours, more):
                self.poller.forget(each.fileno())

        owners = [Owner(forget_both), Owner(forget_both)]
        for sock, owner in zip((self.ours, more), owners, strict=True):
            self.poller.add(sock.fileno(), owner)
        for each in (self.theirs, theirs):
            each.send(b"x")
        self.poller.doRead()
        self.assertEqual(sum(len(owner.events) for owner in owners), 1)
        self.assertEqual(self.poller.owners, {})
        self.poller.forget(12345)

    def test_one_that_fails(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError("expected by the test")

        more, theirs = socket.socketpair()
        self.addCleanup(more.close)
        self.addCleanup(theirs.close)
        owners = [Owner(fail), Owner()]
        for sock, owner in zip((self.ours, more), owners, strict=True):
            self.poller.add(sock.fileno(), owner)
        for each in (self.theirs, theirs):
            each.send(b"x")
        self.poller.doRead()
        self.assertEqual([owner.was_broken for owner in owners], [1, 0])
        self.assertEqual([len(owner.events) for owner in owners], [1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_removed_and_still_open(self) -> None:
        owner = Owner()
        self.poller.add(self.ours.fileno(), owner)
        self.poller.remove(self.ours.fileno())
        self.theirs.send(b"x")
        self.poller.doRead()
        self.assertEqual((owner.events, self.ours.recv(1)), ([], b"x"))

    def test_closed(self) -> None:
        poller = Poller(self.reactor)
        poller.close()
        self.assertEqual(self.reactor.getReaders(), [self.poller])


class AnswerTests(SynchronousTestCase):
    """After a lone event another is waited for, as long as that comes to something."""

    def setUp(self) -> None:
        self.poller = Poller(TinyReactor())
        self.addCleanup(self.poller.close)
        self.owner = Owner()
        self.poller.give(3, self.owner)
        self.polls = 0
        self.found: list[int] = []
        self.poller._poll = self.poll

    def poll(self, timeout: int, limit: int) -> list[tuple[int, int]]:
        """Answers with as many events as C{found} says for the next poll."""
        self.assertEqual(timeout, 0, "others in the reactor wait")
        self.polls += 1
        return [(3, IN)] * (self.found.pop(0) if self.found else 0)

    def turn(self, *found: int) -> int:
        """@return: how often it was polled."""
        self.polls, self.found = 0, list(found)
        self.poller.doRead()
        self.assertEqual(self.found, [], "events were taken and not told")
        return self.polls

    def test_idle(self) -> None:
        """Nothing is waited for where nothing came."""
        self.assertEqual(self.turn(), 1)
        self.assertEqual(self.turn(5, 0), 2)

    def test_met(self) -> None:
        self.assertEqual(self.turn(1, 0, 0, 1), 4 + POLLS_FOR_AN_ANSWER)
        self.assertEqual(len(self.owner.events), 2)

    def test_not_met(self) -> None:
        """What came to nothing is tried again much later."""
        self.assertEqual(self.turn(1), 1 + POLLS_FOR_AN_ANSWER)
        for _ in range(TURNS_WITHOUT_LUCK):
            self.assertEqual(self.turn(1), 1)
        self.assertEqual(self.turn(1), 1 + POLLS_FOR_AN_ANSWER)

    def test_luck_lasts(self) -> None:
        """Some that are not met do not outweigh those that were; their number is bounded."""
        for _ in range(10):
            self.turn(*[1] * ROUNDS_PER_TURN)
        for _ in range(MOST_LUCK // LUCK_LOST_AT_ONCE + 1):
            self.assertEqual(self.turn(1), 1 + POLLS_FOR_AN_ANSWER)
        self.assertEqual(self.turn(1), 1)

    def test_others_have_their_turn(self) -> None:
        """A flow that is answered without end does not keep the reactor; no event is taken and dropped."""
        self.assertEqual(self.turn(*[1] * ROUNDS_PER_TURN), ROUNDS_PER_TURN)
        self.assertEqual(self.turn(*[9] * ROUNDS_PER_TURN), ROUNDS_PER_TURN)
        self.assertEqual(len(self.owner.events), 10 * ROUNDS_PER_TURN)
