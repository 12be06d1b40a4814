"""Which backend a connection gets: the same however its octets arrive, and always in time."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.case import (
    OnFastPath,
    OnPortablePath,
    PmmuxCase,
    needs,
    one_upstream,
    read_all,
    read_exactly,
    reset,
)
from tests.support.peers import Peer, all_answer_with, echo
from tests.support.process import Pmmux
from tests.support.servers import start_tls_server

NAMES = ("one", "two", "web", "api", "http2", "ssh", "postgresql", "redis", "mqtt", "rest")
PACE_SECONDS = 0.004
FAST_PACE_SECONDS = 0.0005


def client_hello(name: str) -> bytes:
    """What a real client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same hello, in TLS records of C{size} octets."""
    body = hello[5:]
    return b"".join(
        hello[:3] + len(body[start : start + size]).to_bytes(2, "big") + body[start : start + size]
        for start in range(0, len(body), size)
    )


SAID = {
    "one": client_hello("one.example.org"),
    "two": in_records(client_hello("TWO.example.org"), 1),
    "web": b"GET / HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: x\r\n\r\n",
    "api": b"POST /api/thing?a=b HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 2\r\n\r\n{}",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "postgresql": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "redis": b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
    "mqtt": b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test",
    "rest": b"\x80\x81\x82 what nobody speaks\r\n",
}


class DecisionTests:
    """Property: any split or pause of the same octets gives the same backend."""

    def start_with_all(self, more: str = "") -> Pmmux:
        ports = all_answer_with(self, NAMES)
        conditions = {
            "one": "sni = one.example.org",
            "two": "property[tls.sni] = two\\.example\\.org",
            "api": "path = /api/.*",
            "web": "detect = http",
            "rest": "",
        }
        sections = "".join(
            f"[backend {name}]\nprotocol = pass\ntarget = 127.0.0.1:{ports[name]}\n"
            f"{conditions.get(name, f'detect = {name}')}\n"
            for name in sorted(NAMES, key=lambda name: (name == "rest", name))
        )
        return self.start(f"[pmmux]\n{more}\n[listener front]\nbind = 127.0.0.1\nport = ?\n{sections}")

    def backend_of(self, pmmux: Pmmux, pieces: list[bytes], pace_seconds: float = PACE_SECONDS) -> str:
        with socket.create_connection(("127.0.0.1", pmmux.port), timeout=20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
                if len(pieces) > 1:
                    time.sleep(pace_seconds)
            client.shutdown(socket.SHUT_WR)
            return read_all(client).decode().strip()

    def check_all(
        self, pmmux: Pmmux, cuts: list[tuple[str, list[bytes]]], pace_seconds: float = PACE_SECONDS
    ) -> None:
        with ThreadPoolExecutor(32) as pool:
            found = list(pool.map(lambda cut: self.backend_of(pmmux, cut[1], pace_seconds), cuts))
        wrong = [
            f"{name} in {[len(piece) for piece in pieces]}: {got}"
            for (name, pieces), got in zip(cuts, found, strict=True)
            if got != name
        ]
        self.assertEqual(wrong, [])

    def test_in_one_piece(self) -> None:
        self.check_all(self.start_with_all(), [(name, [octets]) for name, octets in SAID.items()])

    def test_in_two_pieces(self) -> None:
        chance = random.Random(5)
        cuts = []
        for name, octets in SAID.items():
            places = range(1, len(octets))
            for place in sorted(chance.sample(places, min(len(places), 60))):
                cuts.append((name, [octets[:place], octets[place:]]))
        self.check_all(self.start_with_all(), cuts)

    def test_in_random_pieces(self) -> None:
        chance = random.Random(6)
        cuts = []
        for name, octets in SAID.items():
            for _ in range(20):
                places = sorted(
                    chance.sample(range(1, len(octets)), min(len(octets) - 1, chance.randint(2, 12)))
                )
                cuts.append((name, [octets[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]))
        self.check_all(self.start_with_all(), cuts)

    def test_octet_by_octet(self) -> None:
        cuts = [
            (name, [octets[place : place + 1] for place in range(len(octets))])
            for name, octets in SAID.items()
        ]
        pmmux = self.start_with_all("detect-timeout = 20s\nselection-timeout = 20s")
        self.check_all(pmmux, cuts, FAST_PACE_SECONDS)

    def test_one_octet_each_fifth_of_a_second(self) -> None:
        pmmux = self.start_with_all("detect-timeout = 20s\nselection-timeout = 20s")
        said = SAID["ssh"][:14] + b"\r\n"
        pieces = [said[place : place + 1] for place in range(len(said))]
        self.assertEqual(self.backend_of(pmmux, pieces, 0.2), "ssh")

    def test_what_was_said_arrives_whole(self) -> None:
        said: dict[int, bytes] = {}

        def keep(sock: socket.socket) -> None:
            octets = read_all(sock)
            said[octets[-1]] = octets
            sock.sendall(b"done")

        peer = Peer(self, keep)
        pmmux = self.start(one_upstream(peer.port, condition="detect = ssh"))
        whole = b"SSH-2.0-x\r\n" + bytes(range(256)) * 100
        for number, place in enumerate((1, 4, 8, 11, 500)):
            client = self.connect(pmmux)
            client.sendall(whole[:place])
            time.sleep(0.05)
            client.sendall(whole[place:] + bytes([number]))
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(client), b"done")
            self.assertTrue(said[number] == whole + bytes([number]))

    @needs("openssl")
    def test_handshake_in_small_pieces(self) -> None:
        server = start_tls_server(self, "one.example.org")
        pmmux = self.start(one_upstream(server.port, condition="sni = one.example.org"))
        context = ssl.create_default_context(cafile=server.certificate)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="one.example.org")
        sock = self.connect(pmmux)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                octets = outgoing.read()
                for start in range(0, len(octets), 50):
                    sock.sendall(octets[start : start + 50])
                    time.sleep(0.002)
                incoming.write(sock.recv(65536))
        self.assertEqual(client.version(), "TLSv1.3")


class FastDecisionTests(DecisionTests, OnFastPath, PmmuxCase):
    pass


class PortableDecisionTests(DecisionTests, OnPortablePath, PmmuxCase):
    pass


class DeadlineTests:
    """Property: no timer is lost or begun anew, whatever a client does in its time."""

    def outcome_of(self, pmmux: Pmmux) -> tuple[str, float]:
        (line,) = pmmux.wait_finished(1)
        return line["outcome"], line["duration_seconds"]

    def test_silence_ends_at_the_detect_timeout(self) -> None:
        pmmux = self.start(one_upstream(1, "detect-timeout = 700", "detect = tls"))
        client = self.connect(pmmux)
        self.assert_ended(client)
        outcome, seconds = self.outcome_of(pmmux)
        self.assertIn(outcome, ("no-backend", "client-gone"))
        self.assertTrue(0.6 <= seconds <= 2, seconds)

    def test_octets_do_not_prolong_it(self) -> None:
        pmmux = self.start(one_upstream(1, "detect-timeout = 700", r"preview = a*b"))
        client = self.connect(pmmux)
        started_at = time.monotonic()
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            while time.monotonic() - started_at < 5:
                client.sendall(b"a")
                time.sleep(0.05)
        self.assertTrue(0.6 <= time.monotonic() - started_at <= 2)
        self.assertEqual(self.outcome_of(pmmux)[0], "no-backend")

    def test_late_first_octet_does_not_prolong_it(self) -> None:
        pmmux = self.start(one_upstream(1, "detect-timeout = 1s", "detect = tls"))
        client = self.connect(pmmux)
        started_at = time.monotonic()
        time.sleep(0.7)
        client.sendall(b"\x16")
        self.assert_ended(client)
        self.assertLess(time.monotonic() - started_at, 1.6)

    def test_selection_timeout_is_the_bound(self) -> None:
        pmmux = self.start(one_upstream(1, "detect-timeout = 20s\nselection-timeout = 700", "detect = tls"))
        client = self.connect(pmmux)
        client.sendall(b"\x16")
        self.assert_ended(client)
        outcome, seconds = self.outcome_of(pmmux)
        self.assertEqual(outcome, "selection-timeout")
        self.assertTrue(0.6 <= seconds <= 2, seconds)

    def test_server_that_speaks_first_is_reached_in_time(self) -> None:
        def greet(sock: socket.socket) -> None:
            sock.sendall(b"220 hello\r\n")
            sock.sendall(read_all(sock))

        peer = Peer(self, greet)
        config = one_upstream(1, "detect-timeout = 500", "detect = tls")
        pmmux = self.start(f"{config}\n[backend mail]\nprotocol = pass\ntarget = 127.0.0.1:{peer.port}\n")
        client = self.connect(pmmux)
        started_at = time.monotonic()
        client.sendall(b"\x16")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(client), b"220 hello\r\n\x16")
        self.assertLess(time.monotonic() - started_at, 0.4)
        silent = self.connect(pmmux)
        started_at = time.monotonic()
        self.assertEqual(read_exactly(silent, 4), b"220 ")
        self.assertTrue(0.4 <= time.monotonic() - started_at <= 2)

    def test_connect_timeout(self) -> None:
        full = self.listen(backlog=0)
        for _ in range(4):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        config = one_upstream(full.getsockname()[1], "connect-timeout = 700\nconnect-retries = 0")
        pmmux = self.start(config)
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.assert_ended(client)
        outcome, seconds = self.outcome_of(pmmux)
        self.assertEqual(outcome, "connect-failed")
        self.assertTrue(0.6 <= seconds <= 2.5, seconds)

    def check_idle(self, pmmux: Pmmux, client: socket.socket, outcome: str) -> None:
        # A connection is looked at some times within its limit, at most once a second.
        started_at = time.monotonic()
        self.assert_ended(client)
        self.assertTrue(0.9 <= time.monotonic() - started_at <= 4.5)
        self.assertEqual(self.outcome_of(pmmux)[0], outcome)

    def test_idle_timeout(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port, "idle-timeout = 1s"))
        client = self.connect(pmmux)
        for _ in range(6):
            client.sendall(b"hello")
            self.assertEqual(read_exactly(client, 5), b"hello")
            time.sleep(0.3)
        client.sendall(b"hello")
        self.assertEqual(read_exactly(client, 5), b"hello")
        self.check_idle(pmmux, client, "idle-timeout")

    def test_idle_timeout_of_a_backend_that_answers_itself(self) -> None:
        pmmux = self.start(
            "[pmmux]\nidle-timeout = 1s\n[listener front]\nbind = 127.0.0.1\nport = ?\n"
            "[backend rest]\nprotocol = noop\n"
        )
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.check_idle(pmmux, client, "idle-timeout")

    def test_half_closed_timeout(self) -> None:
        listening = self.listen()
        pmmux = self.start(one_upstream(listening.getsockname()[1], "half-closed-timeout = 1s"))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        upstream = self.accept(listening)
        self.assertEqual(read_exactly(upstream, 5), b"hello")
        client.shutdown(socket.SHUT_WR)
        self.check_idle(pmmux, client, "half-closed-timeout")
        self.assert_ended(upstream)

    def test_half_closed_before_it_was_routed(self) -> None:
        # The end came with the preview: what counts from it must survive the hand-over.
        listening = self.listen()
        pmmux = self.start(
            one_upstream(listening.getsockname()[1], "half-closed-timeout = 1s", "preview = hex:68656c6c6f")
        )
        client = self.connect(pmmux)
        client.sendall(b"hel")
        time.sleep(0.1)
        client.sendall(b"lo")
        client.shutdown(socket.SHUT_WR)
        upstream = self.accept(listening)
        self.assertEqual(read_all(upstream), b"hello")
        self.check_idle(pmmux, client, "half-closed-timeout")

    def test_half_closed_lives_while_octets_move(self) -> None:
        listening = self.listen()
        pmmux = self.start(one_upstream(listening.getsockname()[1], "half-closed-timeout = 1s"))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        upstream = self.accept(listening)
        self.assertEqual(read_all(upstream), b"hello")
        for _ in range(9):
            upstream.sendall(b"x")
            self.assertEqual(read_exactly(client, 1), b"x")
            time.sleep(0.3)
        upstream.close()
        self.assertEqual(read_all(client), b"")
        self.assertEqual(self.outcome_of(pmmux)[0], "closed")

    def test_half_closed_with_a_slow_reader(self) -> None:
        # All octets are with the system, and the reader is at work on them: that is progress.
        octets = bytes(range(256)) * 4096
        listening = self.listen()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        pmmux = self.start(one_upstream(listening.getsockname()[1], "half-closed-timeout = 1s"))
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.settimeout(20)
        client.connect(("127.0.0.1", pmmux.port))
        client.sendall(b"give")
        upstream = self.accept(listening)
        self.assertEqual(read_exactly(upstream, 4), b"give")
        upstream.sendall(octets)
        upstream.close()
        got = b""
        started_at = time.monotonic()
        while more := client.recv(32 << 10):
            got += more
            if time.monotonic() - started_at < 5:
                time.sleep(0.2)
        self.assertTrue(got == octets)
        client.close()

    def test_reset_before_it_is_accepted_or_routed(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(one_upstream(peer.port))
        for octets in (b"", b"hello"):
            for _ in range(50):
                client = self.connect(pmmux)
                if octets:
                    client.sendall(octets)
                reset(client)
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.assertEqual(read_exactly(client, 5), b"hello")
        client.close()
        pmmux.wait_finished(1)
        self.assertLessEqual(set(pmmux.outcomes()), {"client-gone", "reset-by-client", "closed"})


class FastDeadlineTests(DeadlineTests, OnFastPath, PmmuxCase):
    pass


class PortableDeadlineTests(DeadlineTests, OnPortablePath, PmmuxCase):
    pass
