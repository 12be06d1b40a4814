"""What is told to a service manager, and which sockets are taken from it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.systemd import Notifier, read_initial_environment, take_sockets
from pmmux.transport.handover import SocketPool, pool_of
from pmmux.transport.sockets import InheritedSocket, close_sockets


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = os.path.relpath(self.mktemp())
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.setblocking(False)

    def notifier(self, **environment: str) -> Notifier:
        name = f"@pmmux-unit-{os.getpid()}-{id(self)}"
        self.manager.bind("\0" + name[1:])
        self.environment = {"NOTIFY_SOCKET": name, **environment}
        made = Notifier(self.clock, self.environment, 7)
        self.addCleanup(made.close)
        return made

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.manager.recv(1000).decode())
            except BlockingIOError:
                return found

    def test_messages(self) -> None:
        notifier = self.notifier()
        notifier.ready("fine")
        notifier.reloading()
        notifier.stopping("bye")
        ready, reloading, stopping = self.heard()
        self.assertEqual(ready, "READY=1\nSTATUS=fine")
        self.assertTrue(reloading.startswith("RELOADING=1\nMONOTONIC_USEC="))
        self.assertEqual(stopping, "STOPPING=1\nSTATUS=bye")
        self.assertEqual(self.environment, {})

    def test_watchdog(self) -> None:
        notifier = self.notifier(WATCHDOG_USEC="2000000", WATCHDOG_PID="7")
        self.assertEqual(notifier.watchdog_seconds, 2.0)
        notifier.ready("fine")
        self.assertEqual(len(self.heard()), 2)
        self.clock.advance(0.9)
        self.assertEqual(self.heard(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])
        notifier.ready("again")
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=again"])
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_watchdog(self) -> None:
        for environment in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}):
            self.assertIsNone(Notifier(self.clock, dict(environment), 7).watchdog_seconds)
        foreign = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"}
        self.assertIsNone(Notifier(self.clock, foreign, 7).watchdog_seconds)

    def test_nobody_there(self) -> None:
        for place in ("", "relative", "@pmmux-nobody-listens-here"):
            notifier = Notifier(self.clock, {"NOTIFY_SOCKET": place}, 7)
            notifier.ready("fine")
            notifier.close()
            notifier.stopping("bye")


class TakingTests(SynchronousTestCase):
    def test_not_for_us(self) -> None:
        environment = {"LISTEN_PID": "8", "LISTEN_FDS": "2", "OTHER": "x"}
        self.assertEqual(take_sockets(environment, 7).left(), ())
        self.assertEqual(environment, {"OTHER": "x"})

    def test_what_cannot_be(self) -> None:
        for wrong in ({"LISTEN_FDS": "many"}, {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "one"}):
            self.assertRaises(ValueError, take_sockets, {"LISTEN_PID": "7", **wrong}, 7)

    def test_initial_environment(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(b"A=1\0LISTEN_FDS=2\0broken\0B=x=y\0")
        self.assertEqual(read_initial_environment(path), {"A": "1", "LISTEN_FDS": "2", "B": "x=y"})
        self.assertEqual(read_initial_environment(path + "-missing"), {})


class PoolTests(SynchronousTestCase):
    def open(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        opened = socket.socket(socket.AF_INET, kind)
        self.addCleanup(opened.close)
        opened.bind(("127.0.0.1", 0))
        return opened

    def take(self, pool: SocketPool, listener: str, kind: int, port: int, host: str = "127.0.0.1") -> bool:
        taken = pool.take(listener, kind, host, port)
        if taken is not None:
            taken.close()
        return taken is not None

    def test_by_address(self) -> None:
        stream, datagram = self.open(), self.open(socket.SOCK_DGRAM)
        pool = pool_of([("front", [stream, datagram])])
        port = stream.getsockname()[1]
        self.assertTrue(self.take(pool, "other", socket.SOCK_STREAM, port))
        self.assertFalse(self.take(pool, "other", socket.SOCK_STREAM, port, "127.0.0.2"))
        self.assertFalse(self.take(pool, "other", socket.SOCK_STREAM, port, "::1"))
        self.assertFalse(self.take(pool, "other", socket.SOCK_DGRAM, port))
        self.assertEqual(len(pool.left()), 1)

    def test_any_port_is_for_the_same_listener(self) -> None:
        pool = pool_of([("front", [self.open()])])
        self.assertFalse(self.take(pool, "other", socket.SOCK_STREAM, 0))
        self.assertTrue(self.take(pool, "front", socket.SOCK_STREAM, 0))

    def test_what_is_taken_outlives_the_pool(self) -> None:
        opened = self.open()
        pool = pool_of([("front", [opened])])
        taken = pool.take("front", socket.SOCK_STREAM, "127.0.0.1", 0)
        assert taken is not None
        self.addCleanup(taken.close)
        name = opened.getsockname()
        pool.close()
        self.assertEqual(opened.fileno(), -1)
        self.assertEqual(taken.getsockname(), name)

    def test_inherited_paths_stay(self) -> None:
        path = f"/tmp/pmmux-unit-{os.getpid()}.sock"
        opened = InheritedSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(os.unlink, path)
        opened.bind(path)
        pool = SocketPool()
        pool.add_inherited("front", opened)
        taken = pool.take_path(path)
        assert taken is not None
        close_sockets([taken])
        pool.close()
        self.assertTrue(os.path.exists(path))
