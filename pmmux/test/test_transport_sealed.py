"""Relaying on the fast path where one side speaks TLS, or both: real sockets, OpenSSL at the far ends."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL

from pmmux import errors
from pmmux.test.data_path_case import LIMITS, DataPathCase
from pmmux.test.doubles import FakeRelayOwner
from pmmux.test.test_tls_stream import CERTIFICATE, Peer
from pmmux.test.tiny_reactor import read_available
from pmmux.tls.contexts import ListenerTLS, TLSSettings, make_context
from pmmux.transport.fast import FastDataPath
from pmmux.transport.sealed import SealedFlow
from pmmux.transport.sealing import PIECE_OCTETS, PublicSealing

SMALL_OCTETS = 65536
MUCH = bytes(range(256)) * 8192


def shaken() -> tuple[Peer, Any]:
    """A peer, and our side of its connection, after the handshake."""
    peer = Peer()
    ours = SSL.Connection(make_context(CERTIFICATE, TLSSettings(), ListenerTLS()))
    ours.set_accept_state()
    peer.hear(b"")
    for _ in range(2):
        ours.bio_write(peer.said())
        with contextlib.suppress(SSL.WantReadError):
            ours.do_handshake()
        peer.hear(ours.bio_read(65536))
    return peer, ours


class Far:
    """The far end of a sealed side."""

    def __init__(self, peer: Peer, sock: socket.socket) -> None:
        self.peer = peer
        self.sock = sock
        self.is_gone = False
        self.unsent = b""

    def say(self, octets: bytes) -> None:
        for at in range(0, len(octets), 16384):
            self.unsent += self.peer.say(octets[at : at + 16384])
        self.push()

    def end(self) -> None:
        self.unsent += self.peer.end()
        self.push()

    def push(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def hear(self) -> bytes:
        self.push()
        octets = read_available(self.sock)
        self.is_gone = self.is_gone or octets == b""
        if octets:
            self.peer.hear(octets)
        return self.peer.received


class SealedFlowTests(DataPathCase):
    buffer_octets = 0
    is_public = False

    def setUp(self) -> None:
        super().setUp()
        if self.buffer_octets:
            self.path.close()
            self.path = FastDataPath(self.reactor, LIMITS, buffer_octets=self.buffer_octets)
        if self.is_public:
            self.path.sealing = PublicSealing(self.path.buffer)
        self.owner = FakeRelayOwner()

    def relay(self, is_upstream_sealed: bool = False) -> tuple[Far, Any]:
        """A sealed client, and a plain or sealed upstream."""
        peer, seal = shaken()
        client, below = self.pair()
        upstream, above = self.pair()
        for each in (client, below, upstream, above):
            # The system is not to swallow it all.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_OCTETS)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_OCTETS)
        other, other_seal = shaken() if is_upstream_sealed else (None, None)
        flow = SealedFlow(self.path, below, seal, above, other_seal, self.owner)
        flow.begin(flow.client, b"", False, False)
        flow.begin(flow.upstream, b"", False, False)
        return Far(peer, client), upstream if other is None else Far(other, upstream)

    def read_sealed(self, far: Far, size: int) -> bytes:
        self.reactor.run_until(lambda: len(far.hear()) >= size)
        return far.peer.received

    def test_both_ways(self) -> None:
        far, upstream = self.relay()
        far.say(b"hello")
        self.assertEqual(self.read(upstream, 5), b"hello")
        upstream.send(b"and to you")
        self.assertEqual(self.read_sealed(far, 10), b"and to you")
        self.assertEqual(self.owner.relay.octets_from_client, 5)
        self.assertEqual(self.owner.relay.octets_from_upstream, 10)
        far.end()
        self.assertEqual(self.read_to_end(upstream), b"")
        upstream.close()
        self.reactor.run_until(lambda: self.owner.outcomes)
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_CLOSED])
        far.hear()
        self.assertTrue(far.peer.is_ended)

    def test_much_from_the_client(self) -> None:
        far, upstream = self.relay()
        far.say(MUCH)
        found = b""

        def enough() -> bool:
            nonlocal found
            far.push()
            found += read_available(upstream) or b""
            return len(found) >= len(MUCH)

        self.reactor.run_until(enough)
        self.assertTrue(found == MUCH)

    def test_slow_upstream_stops_the_client(self) -> None:
        far, upstream = self.relay()
        far.say(MUCH * 4)
        for _ in range(50):
            far.push()
            self.reactor.turn()
        left = len(far.unsent)
        self.assertGreater(left, 0)
        found = b""
        while len(found) < 4 * len(MUCH):
            far.push()
            found += read_available(upstream) or b""
            self.reactor.turn()
        self.assertTrue(found == MUCH * 4)

    def test_slow_client_stops_the_upstream(self) -> None:
        far, upstream = self.relay()
        left = MUCH * 4
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                left = left[upstream.send(left) :]
            self.reactor.turn()
        self.assertGreater(len(left), 0)

        def enough() -> bool:
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                left = left[upstream.send(left) :]
            return len(far.hear()) >= 4 * len(MUCH)

        self.reactor.run_until(enough)
        self.assertTrue(far.peer.received == MUCH * 4)

    def test_what_openssl_holds_is_not_forgotten(self) -> None:
        """The poller tells of the socket alone: many records that were read in few pieces."""
        far, upstream = self.relay()
        size = 6 * PIECE_OCTETS
        far.say(MUCH[:size])
        found = b""

        def enough() -> bool:
            nonlocal found
            far.push()
            found += read_available(upstream) or b""
            return len(found) >= size

        self.reactor.run_until(enough)

    def test_client_ends_first(self) -> None:
        far, upstream = self.relay()
        far.say(b"bye")
        far.end()
        self.assertEqual(self.read_to_end(upstream), b"bye")
        upstream.send(b"still here")
        upstream.shutdown(socket.SHUT_WR)
        self.reactor.run_until(lambda: far.hear() == b"still here" and far.peer.is_ended)
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_CLOSED])

    def test_upstream_ends_first(self) -> None:
        far, upstream = self.relay()
        upstream.send(b"bye")
        upstream.shutdown(socket.SHUT_WR)
        self.reactor.run_until(lambda: far.hear() == b"bye" and far.peer.is_ended and far.is_gone)
        far.say(b"still here")
        self.assertEqual(self.read(upstream, 10), b"still here")
        self.assertEqual(self.owner.outcomes, [])
        far.end()
        self.reactor.run_until(lambda: self.owner.outcomes)

    def test_end_without_goodbye(self) -> None:
        far, upstream = self.relay()
        far.say(b"bye")
        far.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(upstream), b"bye")

    def test_resets_are_passed_on(self) -> None:
        far, upstream = self.relay()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        upstream.close()
        self.assert_reset(far.sock)
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_RESET_BY_UPSTREAM])

    def test_forged_record(self) -> None:
        far, upstream = self.relay()
        far.say(b"good")
        self.assertEqual(self.read(upstream, 4), b"good")
        far.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assert_reset(upstream)
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_RESET_BY_CLIENT])

    def test_sealed_on_both_sides(self) -> None:
        far, other = self.relay(is_upstream_sealed=True)
        far.say(b"hello")
        self.assertEqual(self.read_sealed(other, 5), b"hello")
        other.say(MUCH)
        self.reactor.run_until(lambda: other.push() or len(far.hear()) >= len(MUCH))
        self.assertTrue(far.peer.received == MUCH)
        other.end()
        self.reactor.run_until(lambda: far.hear() and far.peer.is_ended)
        far.end()
        self.reactor.run_until(lambda: self.owner.outcomes)
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_CLOSED])

    def test_idle_and_half_closed(self) -> None:
        self.relay()
        self.owner.relay.expire()
        self.assertEqual(self.owner.outcomes, [errors.OUTCOME_IDLE_TIMEOUT])

    def test_what_was_said_before(self) -> None:
        """Octets that a preview has held, and those that OpenSSL has been fed with."""
        peer, seal = shaken()
        client, below = self.pair()
        upstream, above = self.pair()
        seal.bio_write(peer.say(b" fed"))
        flow = SealedFlow(self.path, below, seal, above, None, self.owner)
        self.path.poller.add(below.fileno(), flow.client)
        flow.begin(flow.client, b"held", False, True)
        flow.begin(flow.upstream, b"", False, False)
        self.assertEqual(self.read(upstream, 8), b"held fed")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.owner.outcomes)


class SmallBufferTests(SealedFlowTests):
    """The same where pieces are smaller than records."""

    buffer_octets = 5000


class PublicSealingTests(SealedFlowTests):
    """The same by pyOpenSSL's public calls alone."""

    is_public = True
