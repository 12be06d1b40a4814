"""How connections end: half-closes, resets, servers that close at once, and shutting down."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.case import (
    OnFastPath,
    OnPortablePath,
    PmmuxCase,
    one_upstream,
    read_all,
    read_exactly,
    reset,
)
from tests.support.peers import Peer, answer_with, echo
from tests.support.process import Pmmux, descriptors
from tests.support.waiting import wait_for

ANSWER = os.urandom(32 * 1024)
BIG = os.urandom(4 << 20)


class ClosingAtOnceTests:
    """The scenarios of the reference's own load tests: a server answers 32 KiB and closes at once."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = Peer(self, answer_with(ANSWER))
        self.pmmux = self.start(one_upstream(self.peer.port))
        self.before = descriptors(self.pmmux.pid)["socket"]

    def fetch(self, _: int = 0) -> bool:
        with socket.create_connection(("127.0.0.1", self.pmmux.port), timeout=20) as client:
            client.sendall(b"give\n")
            return read_all(client) == ANSWER

    def fetch_at_once(self, count: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            self.assertEqual(list(pool.map(self.fetch, range(count))), [True] * count)

    def test_every_scenario(self) -> None:
        counts = [self.in_sequence(), self.in_bursts(), self.all_at_once(), self.ramp(), self.intermittent()]
        finished = self.pmmux.wait_finished(sum(counts))
        self.assertEqual(self.pmmux.outcomes(), {"closed": sum(counts)})
        self.assertEqual({event["octets_from_upstream"] for event in finished}, {len(ANSWER)})
        self.assertEqual(self.peer.faults, [])
        self.wait_closed(self.pmmux, self.before)

    def in_sequence(self) -> int:
        for _ in range(100):
            self.assertTrue(self.fetch())
        return 100

    def in_bursts(self) -> int:
        for _ in range(5):
            self.fetch_at_once(10)
            time.sleep(0.05)
        return 50

    def all_at_once(self) -> int:
        self.fetch_at_once(50)
        return 50

    def ramp(self) -> int:
        counts = (1, 2, 5, 10, 20)
        for count in counts:
            self.fetch_at_once(count)
        return sum(counts)

    def intermittent(self) -> int:
        for pause in range(50):
            self.assertTrue(self.fetch())
            time.sleep(0.002 * (pause % 10))
        return 50


class FastClosingAtOnceTests(ClosingAtOnceTests, OnFastPath, PmmuxCase):
    pass


class PortableClosingAtOnceTests(ClosingAtOnceTests, OnPortablePath, PmmuxCase):
    pass


class HalfCloseTests:
    """One side's end of data is the other's, and nothing else."""

    def relay(self, more: str = "") -> tuple[Pmmux, socket.socket, socket.socket]:
        """A connection through pmmux. @return: with both its ends."""
        listening = self.listen()
        pmmux = self.start(one_upstream(listening.getsockname()[1], more))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        upstream = self.accept(listening)
        self.assertEqual(read_exactly(upstream, 5), b"hello")
        return pmmux, client, upstream

    def test_client_ends_first(self) -> None:
        pmmux, client, upstream = self.relay()
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(upstream.recv(1), b"")
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(upstream.sendall, BIG)
            self.assertEqual(read_exactly(client, len(BIG)), BIG)
            sent.result(20)
        upstream.sendall(b"the last")
        upstream.close()
        self.assertEqual(read_all(client), b"the last")
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(
            (line["outcome"], line["octets_from_client"], line["octets_from_upstream"]),
            ("closed", 5, len(BIG) + 8),
        )

    def test_upstream_ends_first(self) -> None:
        pmmux, client, upstream = self.relay()
        upstream.sendall(b"bye")
        upstream.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(client), b"bye")
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(client.sendall, BIG)
            self.assertEqual(read_exactly(upstream, len(BIG)), BIG)
            sent.result(20)
        client.sendall(b"the last")
        client.close()
        self.assertEqual(read_all(upstream), b"the last")
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(
            (line["outcome"], line["octets_from_client"], line["octets_from_upstream"]),
            ("closed", 5 + len(BIG) + 8, 3),
        )

    def test_end_within_the_preview(self) -> None:
        # The client has said everything and ended before pmmux looked, and before it was routed.
        peer = Peer(self, lambda sock: sock.sendall(read_all(sock)[::-1] * 3))
        pmmux = self.start(one_upstream(peer.port))
        for _ in range(20):
            client = self.connect(pmmux)
            client.sendall(b"abc")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(client), b"cbacbacba")
        self.assertEqual({line["outcome"] for line in pmmux.wait_finished(20)}, {"closed"})

    def test_end_while_undecided(self) -> None:
        peer = Peer(self, lambda sock: sock.sendall(read_all(sock)[::-1]))
        pmmux = self.start(
            one_upstream(peer.port, condition="preview = hex:616263646566")
            + "[backend rest]\nprotocol = noop\n"
        )
        client = self.connect(pmmux)
        client.sendall(b"abc")
        time.sleep(0.2)
        client.sendall(b"def")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(client), b"fedcba")

    def test_end_while_a_slow_reader_has_much_to_read(self) -> None:
        _, client, upstream = self.relay()
        more_than_buffers_hold = BIG * 6
        with ThreadPoolExecutor(1) as pool:

            def send_and_end() -> None:
                client.sendall(more_than_buffers_hold)
                client.shutdown(socket.SHUT_WR)

            pool.submit(send_and_end)
            time.sleep(0.5)
            self.assertTrue(read_all(upstream) == more_than_buffers_hold)
        upstream.sendall(b"got it")
        upstream.close()
        self.assertEqual(read_all(client), b"got it")

    def test_both_end_at_the_same_time(self) -> None:
        _, client, upstream = self.relay()
        for end in (client, upstream):
            end.sendall(b"x" * 1000)
            end.shutdown(socket.SHUT_WR)
        self.assertEqual(len(read_all(client)), 1000)
        self.assertEqual(len(read_all(upstream)), 1000)

    def test_upstream_that_speaks_and_ends_at_once(self) -> None:
        peer = Peer(self, lambda sock: sock.sendall(b"220 not now\r\n"))
        pmmux = self.start(one_upstream(peer.port))
        for _ in range(20):
            self.assertEqual(read_all(self.connect(pmmux)), b"220 not now\r\n")


class FastHalfCloseTests(HalfCloseTests, OnFastPath, PmmuxCase):
    pass


class PortableHalfCloseTests(HalfCloseTests, OnPortablePath, PmmuxCase):
    pass


class ResetTests:
    """A reset is passed on as one."""

    def relay(self) -> tuple[Pmmux, socket.socket, socket.socket]:
        listening = self.listen()
        pmmux = self.start(one_upstream(listening.getsockname()[1]))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        upstream = self.accept(listening)
        self.assertEqual(read_exactly(upstream, 5), b"hello")
        upstream.sendall(b"yes")
        self.assertEqual(read_exactly(client, 3), b"yes")
        return pmmux, client, upstream

    def check_outcome(self, pmmux: Pmmux, outcome: str) -> None:
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(line["outcome"], outcome)

    def test_by_client(self) -> None:
        pmmux, client, upstream = self.relay()
        reset(client)
        self.assert_reset(upstream)
        self.check_outcome(pmmux, "reset-by-client")

    def test_by_upstream(self) -> None:
        pmmux, client, upstream = self.relay()
        reset(upstream)
        self.assert_reset(client)
        self.check_outcome(pmmux, "reset-by-upstream")

    def test_by_client_after_its_end(self) -> None:
        pmmux, client, upstream = self.relay()
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(upstream.recv(1), b"")
        reset(client)
        # Its data had ended before; what tells is that nothing can be sent any more.
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            for _ in range(100):
                upstream.sendall(b"x")
                time.sleep(0.02)
        self.check_outcome(pmmux, "reset-by-client")

    def test_by_upstream_after_its_end(self) -> None:
        pmmux, client, upstream = self.relay()
        upstream.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")
        reset(upstream)
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            for _ in range(100):
                client.sendall(b"x")
                time.sleep(0.02)
        self.check_outcome(pmmux, "reset-by-upstream")

    def test_by_client_while_the_upstream_does_not_read(self) -> None:
        pmmux, client, upstream = self.relay()
        client.setblocking(False)
        sent = 0
        try:
            while True:
                sent += client.send(BIG)
        except BlockingIOError:
            pass
        reset(client)
        with self.assertRaises(ConnectionResetError):
            read_all(upstream)
        self.check_outcome(pmmux, "reset-by-client")

    def test_after_octets_that_nobody_read_yet(self) -> None:
        # The reset overtakes them; what the upstream gets must not look complete.
        ends = []

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"!")
            time.sleep(0.05)
            try:
                read_all(sock)
            except ConnectionResetError:
                ends.append("reset")
            else:
                ends.append("ended")

        peer = Peer(self, serve)
        pmmux = self.start(one_upstream(peer.port))
        for _ in range(100):
            client = self.connect(pmmux)
            client.sendall(b"begin")
            self.assertEqual(read_exactly(client, 1), b"!")
            client.sendall(b"x" * 100_000)
            reset(client)
        pmmux.wait_finished(100)
        wait_for(lambda: len(ends) == 100, "the upstream's part")
        self.assertEqual(set(ends), {"reset"})
        self.assertEqual(set(pmmux.outcomes()), {"reset-by-client"})

    def test_while_undecided(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, condition="detect = tls"))
        client = self.connect(pmmux)
        client.sendall(b"\x16\x03\x01")
        time.sleep(0.1)
        reset(client)
        self.check_outcome(pmmux, "client-gone")
        self.assertEqual(peer.served, 0)


class FastResetTests(ResetTests, OnFastPath, PmmuxCase):
    pass


class PortableResetTests(ResetTests, OnPortablePath, PmmuxCase):
    pass


class ShutdownTests:
    """SIGTERM: nothing new is accepted, what there is may end, and what does not is closed."""

    def test_under_load_no_octet_is_lost(self) -> None:
        def serve(sock: socket.socket) -> None:
            sock.recv(100)
            for start in range(0, len(BIG), 1 << 17):
                sock.sendall(BIG[start : start + (1 << 17)])
                time.sleep(0.03)

        peer = Peer(self, serve)
        pmmux = self.start(one_upstream(peer.port, "drain-timeout = 20s"))
        clients = [self.connect(pmmux) for _ in range(10)]
        for client in clients:
            client.sendall(b"give")
            self.assertEqual(read_exactly(client, 1000), BIG[:1000])
        pmmux.send_signal(signal.SIGTERM)
        wait_for(lambda: not self.accepts(pmmux), "the listener closed")
        with ThreadPoolExecutor(10) as pool:
            for found in pool.map(read_all, clients):
                self.assertTrue(found == BIG[1000:])
        for client in clients:
            client.close()
        self.assertEqual(pmmux.wait(), 0)
        outcomes = pmmux.outcomes()
        self.assertEqual(outcomes["closed"], 10)
        # Those that only asked whether it listens still.
        self.assertLessEqual(set(outcomes), {"closed", "client-gone", "reset-by-client"})

    def test_what_does_not_end_is_closed(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, "drain-timeout = 1s"))
        relayed, silent = self.connect(pmmux), self.connect(pmmux)
        relayed.sendall(b"hello")
        self.assertEqual(read_exactly(relayed, 5), b"hello")
        started_at = time.monotonic()
        pmmux.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        relayed.sendall(b"still")
        self.assertEqual(read_exactly(relayed, 5), b"still")
        self.assertEqual(pmmux.wait(), 0)
        self.assertTrue(0.9 <= time.monotonic() - started_at <= 5)
        self.assert_ended(relayed)
        self.assert_ended(silent)
        self.assertEqual(pmmux.outcomes(), {"drain-timeout": 2})

    def test_undecided_is_closed_too(self) -> None:
        pmmux = self.start(one_upstream(1, "drain-timeout = 500", "detect = tls"))
        silent, begun = self.connect(pmmux), self.connect(pmmux)
        begun.sendall(b"\x16")
        time.sleep(0.2)
        self.assertEqual(pmmux.stop(), 0)
        self.assert_ended(silent)
        self.assert_ended(begun)
        self.assertEqual(pmmux.outcomes(), {"drain-timeout": 2})

    def test_silence_decides_nothing_any_more(self) -> None:
        # A server that speaks first would be reached by the silence that the end of the drain is.
        listening = self.listen()
        mail = f"[backend mail]\nprotocol = pass\ntarget = 127.0.0.1:{listening.getsockname()[1]}\n"
        pmmux = self.start(
            one_upstream(1, "drain-timeout = 500\ndetect-timeout = 20s", "detect = tls") + mail
        )
        silent = self.connect(pmmux)
        time.sleep(0.2)
        self.assertEqual(pmmux.stop(seconds=5), 0)
        self.assert_ended(silent)
        self.assertEqual(pmmux.outcomes(), {"drain-timeout": 1})
        listening.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listening.accept()

    def test_second_signal_hurries(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, "drain-timeout = 60s"))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        read_exactly(client, 5)
        pmmux.send_signal(signal.SIGTERM)
        wait_for(lambda: not self.accepts(pmmux), "the listener closed")
        self.assertEqual(pmmux.stop(signal.SIGINT, 5), 0)

    def test_idle_process_ends_at_once(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            pmmux = self.start(one_upstream(1, "drain-timeout = 60s"))
            self.assertEqual(pmmux.stop(number, 5), 0)

    def accepts(self, pmmux: Pmmux) -> bool:
        try:
            socket.create_connection(("127.0.0.1", pmmux.port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True


class FastShutdownTests(ShutdownTests, OnFastPath, PmmuxCase):
    pass


class PortableShutdownTests(ShutdownTests, OnPortablePath, PmmuxCase):
    pass
