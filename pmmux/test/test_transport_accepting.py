"""Accepting pauses at the limit and when descriptors run out, and goes on by itself."""

from __future__ import annotations

import errno
import resource
import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.test.tiny_reactor import TinyReactor
from pmmux.transport.accepting import (
    ACCEPTS_PER_TURN,
    EXHAUSTED_PAUSE_SECONDS,
    Acceptor,
    ConnectionLimit,
    connections_for,
    raise_descriptor_limit,
)


class FakeListening:
    """
    A listening socket.

    @ivar waiting: what C{_accept} comes to: an error number, or a connection.
    """

    family = socket.AF_INET

    def __init__(self, *waiting: int | str) -> None:
        self.waiting = list(waiting)

    def fileno(self) -> int:
        return 10_000

    def _accept(self) -> tuple[int, Any]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "try again")
        found = self.waiting.pop(0)
        if isinstance(found, int):
            raise OSError(found, "expected by the test")
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours.detach(), found


class AcceptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = TinyReactor()
        self.limit = ConnectionLimit(100)
        self.accepted: list[Any] = []

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def acceptor(self, *waiting: int | str) -> Acceptor:
        self.listening = FakeListening(*waiting)

        def take(sock: Any, peer: Any) -> None:
            self.limit.take()
            self.accepted.append(peer)
            sock.close()

        acceptor = Acceptor(self.reactor, self.listening, self.limit, take)
        acceptor.start()
        return acceptor

    def is_accepting(self, acceptor: Acceptor) -> bool:
        return acceptor in self.reactor.getReaders()

    def test_provides(self) -> None:
        acceptor = self.acceptor()
        verifyObject(IReadDescriptor, acceptor)
        acceptor.logPrefix()

    def test_real_socket(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.addCleanup(listening.close)
        found: list[Any] = []
        acceptor = Acceptor(
            self.reactor, listening, self.limit, lambda sock, peer: found.append((sock, peer))
        )
        acceptor.start()
        with socket.create_connection(listening.getsockname()) as client:
            self.reactor.run_until(lambda: found)
            self.assertEqual(found[0][1], client.getsockname())
            client.send(b"x")
            self.assertEqual(found[0][0].recv(1), b"x")
        found[0][0].close()
        acceptor.stop()
        self.assertEqual(self.reactor.getReaders(), [])

    def test_all_that_wait(self) -> None:
        self.acceptor("a", "b").doRead()
        self.assertEqual(self.accepted, ["a", "b"])

    def test_no_more_than_a_batch(self) -> None:
        acceptor = self.acceptor(*["x"] * (ACCEPTS_PER_TURN + 1))
        acceptor.doRead()
        self.assertEqual(len(self.accepted), ACCEPTS_PER_TURN)

    def test_clients_that_have_gone(self) -> None:
        acceptor = self.acceptor(errno.ECONNABORTED, "a")
        acceptor.doRead()
        self.assertTrue(self.is_accepting(acceptor))
        acceptor.doRead()
        self.assertEqual(self.accepted, ["a"])

    def test_descriptors_run_out(self) -> None:
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            acceptor = self.acceptor(code, "a")
            acceptor.doRead()
            self.assertFalse(self.is_accepting(acceptor))
            self.reactor.advance(EXHAUSTED_PAUSE_SECONDS)
            self.assertTrue(self.is_accepting(acceptor))
            acceptor.doRead()
            self.assertEqual(self.accepted.pop(), "a")
            acceptor.stop()

    def test_stopped_while_it_pauses(self) -> None:
        acceptor = self.acceptor(errno.EMFILE)
        acceptor.doRead()
        acceptor.stop()
        acceptor.resume()
        self.assertEqual(self.reactor.getReaders(), [])

    def test_limit(self) -> None:
        self.limit.maximum = 2
        acceptor = self.acceptor("a", "b", "c")
        acceptor.doRead()
        self.assertEqual(self.accepted, ["a", "b"])
        self.assertFalse(self.is_accepting(acceptor))
        self.limit.give_back()
        self.assertTrue(self.is_accepting(acceptor))
        acceptor.doRead()
        self.assertEqual(self.accepted, ["a", "b", "c"])

    def test_limit_is_shared(self) -> None:
        self.limit.maximum = 1
        first, second = self.acceptor("a"), self.acceptor("b")
        first.doRead()
        second.doRead()
        second._listening = self.listening
        self.assertFalse(self.is_accepting(second))
        self.limit.give_back()
        self.assertTrue(self.is_accepting(second))

    def test_stopped_at_the_limit(self) -> None:
        self.limit.maximum = 0
        acceptor = self.acceptor("a")
        acceptor.doRead()
        acceptor.stop()
        self.limit.maximum = 1
        self.limit.give_back()
        self.assertFalse(self.is_accepting(acceptor))

    def test_a_bug_does_not_end_accepting(self) -> None:
        """What the taker raises is its own: the next client is accepted."""
        acceptor = self.acceptor("a")
        self.listening.waiting[:] = ["a", "b"]

        def fail(sock: Any, peer: Any) -> None:
            sock.close()
            self.accepted.append(peer)
            raise ZeroDivisionError("expected by the test")

        acceptor._accepted = fail
        self.reactor.addReader(acceptor)
        acceptor.doRead()
        self.assertEqual(self.accepted, ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        acceptor.stop()


class DescriptorTests(SynchronousTestCase):
    def test_room_for_connections(self) -> None:
        self.assertEqual(connections_for(1256), 500)
        self.assertEqual(connections_for(100), 25)
        self.assertEqual(connections_for(1), 1)

    def test_limit_is_raised(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        self.assertEqual(raise_descriptor_limit(), hard)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], hard)
