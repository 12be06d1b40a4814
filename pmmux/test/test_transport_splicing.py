"""Tests for L{pmmux.transport.splicing}."""

import contextlib
import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from pmmux.transport.splicing import MOST_PIPES, POOLED_PIPES, Pipe, PipePool


class PipeTests(SynchronousTestCase):
    """Octets from one socket to another, through a pipe."""

    def setUp(self) -> None:
        self.pipe = Pipe()
        self.addCleanup(self.pipe.close)
        self.source, self.near = self.make_pair()
        self.far, self.sink = self.make_pair()

    def make_pair(self) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
            self.addCleanup(sock.close)
        return pair

    def test_moves(self) -> None:
        """What is taken from the one is given to the other, in order."""
        self.source.sendall(b"some octets")
        self.assertEqual(self.pipe.fill(self.near.fileno()), 11)
        self.assertEqual(self.pipe.held, 11)
        self.assertEqual(self.pipe.drain(self.far.fileno()), 11)
        self.assertEqual(self.pipe.held, 0)
        self.assertEqual(self.sink.recv(100), b"some octets")

    def test_nothing_now(self) -> None:
        """An empty socket is told from one that has ended."""
        self.assertRaises(BlockingIOError, self.pipe.fill, self.near.fileno())
        self.source.shutdown(socket.SHUT_WR)
        self.assertEqual(self.pipe.fill(self.near.fileno()), 0)

    def test_slow_reader(self) -> None:
        """What the other does not take stays, and goes out when it does: every octet, in order."""
        payload = bytes(range(256)) * 4096
        sent = taken = 0
        received = bytearray()
        while len(received) < len(payload):
            if sent < len(payload):
                with contextlib.suppress(BlockingIOError):
                    sent += self.source.send(payload[sent:])
            if not self.pipe.held and taken < sent:
                taken += self.pipe.fill(self.near.fileno())
            self.pipe.drain(self.far.fileno())
            with contextlib.suppress(BlockingIOError):
                received += self.sink.recv(30_000)
        self.assertEqual(bytes(received), payload)

    def test_other_side_gone(self) -> None:
        """An error of the socket is raised, and the octets are still counted as held."""
        self.source.sendall(b"lost")
        self.pipe.fill(self.near.fileno())
        self.sink.close()
        self.assertRaises(OSError, self.pipe.drain, self.far.fileno())
        self.assertEqual(self.pipe.held, 4)

    def test_close_twice(self) -> None:
        """Closing is idempotent."""
        self.pipe.close()
        self.pipe.close()
        self.assertFalse(self.pipe.is_open)


class PipePoolTests(SynchronousTestCase):
    """Pipes are used again while they are empty."""

    def setUp(self) -> None:
        self.before = len(os.listdir("/proc/self/fd"))
        self.pool = PipePool()

    def test_is_used_again(self) -> None:
        """An empty one is kept."""
        pipe = self.pool.take()
        assert pipe is not None
        self.pool.give_back(pipe)
        self.assertIs(self.pool.take(), pipe)
        self.pool.give_back(pipe)
        self.pool.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.before)

    def test_full_one_is_not(self) -> None:
        """One that holds octets would give them to somebody else."""
        pipe = self.pool.take()
        assert pipe is not None
        pipe.held = 1
        self.pool.give_back(pipe)
        self.assertFalse(pipe.is_open)
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.before)

    def test_bounds(self) -> None:
        """There is a most, and no more than a few are kept."""
        pipes = [self.pool.take() for _ in range(MOST_PIPES)]
        self.assertNotIn(None, pipes)
        self.assertIs(self.pool.take(), None)
        for pipe in pipes:
            assert pipe is not None
            self.pool.give_back(pipe)
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.before + 2 * POOLED_PIPES)
        self.pool.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.before)
