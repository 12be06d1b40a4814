"""Listening sockets: all of a listener or none, and nothing left behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pmmux.errors import ListenError
from pmmux.model import Address
from pmmux.transport.sockets import (
    AcceptedClient,
    ListeningOptions,
    address_of,
    close_sockets,
    open_stream_sockets,
    set_listening_options,
)


class AddressTests(SynchronousTestCase):
    def test_families(self) -> None:
        for name, family, expected in (
            (("192.0.2.1", 80), socket.AF_INET, Address("192.0.2.1", 80)),
            (("2001:db8::1", 80, 0, 0), socket.AF_INET6, Address("2001:db8::1", 80, "ipv6")),
            (("::ffff:192.0.2.1", 80, 0, 0), socket.AF_INET6, Address("192.0.2.1", 80)),
            (("fe80::1%eth0", 80, 0, 2), socket.AF_INET6, Address("fe80::1", 80, "ipv6")),
            ("/run/x", socket.AF_UNIX, Address("/run/x", 0, "unix")),
            ("", socket.AF_UNIX, Address("", 0, "unix")),
            (None, socket.AF_UNIX, Address("", 0, "unix")),
            (b"\0abstract", socket.AF_UNIX, Address("\0abstract", 0, "unix")),
        ):
            self.assertEqual(address_of(name, family), expected)


class OpenTests(SynchronousTestCase):
    def open(self, *binds: str, port: int | None = None, unix_path: str | None = None) -> list[socket.socket]:
        opened = open_stream_sockets("front", binds, port, unix_path, 5)
        self.addCleanup(close_sockets_once, opened)
        return opened

    def reach(self, opened: list[socket.socket], host: str) -> bool:
        try:
            socket.create_connection((host, opened[0].getsockname()[1]), 1.0).close()
        except OSError:
            return False
        return True

    def test_all_addresses_of_both_families(self) -> None:
        opened = self.open()
        self.assertEqual(len(opened), 1)
        self.assertTrue(self.reach(opened, "127.0.0.1"))
        self.assertTrue(self.reach(opened, "::1"))

    def test_one_address(self) -> None:
        opened = self.open("127.0.0.1")
        self.assertTrue(self.reach(opened, "127.0.0.1"))
        self.assertFalse(self.reach(opened, "::1"))
        self.assertFalse(opened[0].getblocking())

    def test_families_are_separate_where_they_are_written(self) -> None:
        opened = self.open("::", "0.0.0.0")
        self.assertEqual(len({each.getsockname()[1] for each in opened}), 1)
        self.assertEqual(opened[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)

    def test_a_port_chosen_by_the_system_is_one_for_all(self) -> None:
        opened = self.open("127.0.0.1", "::1")
        self.assertEqual(opened[0].getsockname()[1], opened[1].getsockname()[1])

    def test_port_in_use(self) -> None:
        taken = self.open("127.0.0.1")
        port = taken[0].getsockname()[1]
        error = self.assertRaises(ListenError, self.open, "127.0.0.1", port=port)
        self.assertEqual((error.listener, error.address), ("front", f"127.0.0.1:{port}"))
        self.assertIn("another program", str(error))

    def test_nothing_stays_open(self) -> None:
        taken = self.open("127.0.0.1")
        port = taken[0].getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))
        self.assertRaises(ListenError, self.open, "::1", "127.0.0.1", port=port)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.open("::1", port=port)

    def test_an_address_that_is_not_ours(self) -> None:
        for host, written in (("192.0.2.1", "192.0.2.1:1"), ("2001:db8::1", "[2001:db8::1]:1")):
            error = self.assertRaises(ListenError, self.open, host, port=1)
            self.assertEqual(error.address, written)

    def test_not_an_address(self) -> None:
        self.assertRaises(ListenError, self.open, "example", port=1)

    def test_accepted_sockets_do_not_delay(self) -> None:
        opened = self.open("127.0.0.1")
        with socket.create_connection(opened[0].getsockname()):
            opened[0].setblocking(True)
            accepted, _ = opened[0].accept()
            self.assertTrue(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertTrue(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            accepted.close()


class OptionTests(OpenTests):
    def test_as_configured(self) -> None:
        opened = self.open("127.0.0.1", "::1")
        set_listening_options("front", opened, ListeningOptions("reno", 3, True))
        for each in opened:
            name = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            self.assertEqual(name.rstrip(b"\0"), b"reno")
            # In retransmissions, which the system counts in.
            self.assertGreater(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT), 0)
            self.assertGreater(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN), 0)

    def test_nothing_asked_for(self) -> None:
        (opened,) = self.open("127.0.0.1")
        before = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        set_listening_options("front", [opened], ListeningOptions())
        self.assertEqual(opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16), before)
        for number in (socket.TCP_DEFER_ACCEPT, socket.TCP_FASTOPEN):
            self.assertEqual(opened.getsockopt(socket.IPPROTO_TCP, number), 0)

    def test_inherited_by_what_is_accepted(self) -> None:
        opened = self.open("127.0.0.1")
        set_listening_options("front", opened, ListeningOptions("reno"))
        with socket.create_connection(opened[0].getsockname()):
            opened[0].setblocking(True)
            accepted, _ = opened[0].accept()
            with accepted:
                name = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                self.assertEqual(name.rstrip(b"\0"), b"reno")

    def test_no_such_algorithm(self) -> None:
        opened = self.open("127.0.0.1")
        options = ListeningOptions("no-such-one")
        error = self.assertRaises(ListenError, set_listening_options, "front", opened, options)
        self.assertIn("congestion-control: the system has no such algorithm", str(error))

    def test_unix_sockets_have_none_of_them(self) -> None:
        opened = self.open(unix_path=self.mktemp())
        set_listening_options("front", opened, ListeningOptions("no-such-one", 3, True))


class UnixTests(OpenTests):
    def test_opened_and_removed(self) -> None:
        path = self.mktemp()
        opened = self.open(unix_path=path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        close_sockets(opened)
        self.assertFalse(os.path.exists(path))

    def test_stale_one_is_replaced(self) -> None:
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        self.open(unix_path=path)

    def test_live_one_is_left_alone(self) -> None:
        path = self.mktemp()
        self.open(unix_path=path)
        error = self.assertRaises(ListenError, self.open, unix_path=path)
        self.assertEqual(error.address, f"unix:{path}")
        self.assertTrue(os.path.exists(path))

    def test_a_file_is_left_alone(self) -> None:
        path = Path(self.mktemp())
        path.write_text("precious")
        self.assertRaises(ListenError, self.open, unix_path=str(path))
        self.assertEqual(path.read_text(), "precious")

    def test_impossible_paths(self) -> None:
        for path in ("/nowhere/at/all", "x" * 200):
            self.assertRaises(ListenError, self.open, unix_path=path)

    def test_a_path_that_may_not_be_written(self) -> None:
        # Nobody may make anything here, root neither.
        error = self.assertRaises(ListenError, self.open, unix_path="/proc/x")
        self.assertNotIn("1024", str(error))


class AcceptedClientTests(SynchronousTestCase):
    def test_addresses_are_made_when_asked_for(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listening.getsockname())
        for each in (listening, client):
            self.addCleanup(each.close)
        accepted, peer = listening.accept()
        made = AcceptedClient(accepted, peer, None)
        local = Address("127.0.0.1", listening.getsockname()[1])
        self.assertEqual(made.local, local)
        self.assertEqual(made.remote, Address("127.0.0.1", client.getsockname()[1]))
        accepted.close()
        self.assertEqual(made.local, local)
        self.assertEqual(made.transport, "tcp")
        fixed = Address("192.0.2.1", 1)
        self.assertIs(AcceptedClient(accepted, peer, fixed).local, fixed)


def close_sockets_once(opened: list[socket.socket]) -> None:
    close_sockets([each for each in opened if each.fileno() >= 0])
