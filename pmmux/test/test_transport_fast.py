"""What only the fast path does: connecting and relaying without waiting, and when descriptors run out."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.defer import Deferred

from pmmux import errors
from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.test.data_path_case import LIMITS, DataPathCase, fill
from pmmux.test.doubles import FakeRelayOwner
from pmmux.test.stream_doubles import HalfCloseableProtocol
from pmmux.transport.fast import FastDataPath
from pmmux.transport.flow import Flow
from pmmux.transport.flow_end import FEWEST_TO_BE_BULK_OCTETS, SHORT_OCTETS, SHORT_READS_OF_A_CHAT
from pmmux.transport.poller import IN
from pmmux.transport.relaying import Relay
from pmmux.transport.stream import Stream


class ConnectNowTests(DataPathCase):
    def test_on_this_machine(self) -> None:
        listening, where = self.listen()
        sock, sent = self.path.connect_now(where, b"hello")
        self.assertEqual(sent, 5)
        self.assertEqual(self.accept(listening).recv(9), b"hello")
        sock.close()

    def test_refused(self) -> None:
        listening, where = self.listen()
        listening.close()
        self.assertIsNone(self.path.connect_now(where, b"x"))

    def test_slow_targets_are_not_tried_for_a_while(self) -> None:
        listening, where = self.listen()
        listening.listen(0)
        filling = []
        for _ in range(3):
            each = socket.socket()
            self.sockets.append(each)
            each.setblocking(False)
            each.connect_ex((where.host, where.port))
            filling.append(each)
        self.assertIsNone(self.path.connect_now(where, b"x"))
        for _ in range(2):
            self.accept(listening)
        self.assertIsNone(self.path.connect_now(where, b"x"))
        self.reactor.advance(31)
        sock, _ = self.path.connect_now(where, b"x")
        sock.close()

    def test_no_descriptor_is_left(self) -> None:
        def refuse(family: str) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.path._open = refuse
        where = Address("127.0.0.1", 1)
        self.assertIsNone(self.path.connect_now(where, b"x"))
        error = self.failureResultOf(Deferred.fromCoroutine(self.path.connect(where, 1.0)), UpstreamError)
        self.assertEqual(error.value.reason, "Too many open files")

    def test_congestion_control(self) -> None:
        path = FastDataPath(self.reactor, LIMITS, "reno")
        sock = path._open("ipv4")
        self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"reno"))
        sock.close()
        path.close()
        path = FastDataPath(self.reactor, LIMITS, "no such algorithm")
        _, where = self.listen()
        self.failureResultOf(Deferred.fromCoroutine(path.connect(where, 1.0)), UpstreamError)
        path.close()


class RelayNowTests(DataPathCase):
    def setUp(self) -> None:
        super().setUp()
        self.owner = FakeRelayOwner()
        self.outcomes = self.owner.outcomes

    def test_with_what_was_read(self) -> None:
        client, below = self.pair()
        upstream, above = self.pair()
        client.send(b" and more")
        flow = self.path.relay_now(below, False, above, b"read before", 4, self.owner)
        self.assertEqual(self.read(upstream, 16), b" before and more")
        self.assertEqual(flow.octets_from_client, 20)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_registered_with_another_owner(self) -> None:
        client, below = self.pair()
        upstream, above = self.pair()

        class Arrival:
            def ready(self, events: int) -> None:
                """It has read nothing."""

            def broken(self) -> None:
                """It cannot be."""

        self.path.poller.add(below.fileno(), Arrival())
        client.send(b"told to the other")
        self.reactor.settle()
        self.path.relay_now(below, True, above, b"", 0, self.owner)
        self.assertEqual(self.read(upstream, 17), b"told to the other")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_either_gone(self) -> None:
        for who, outcome in (
            ("client", errors.OUTCOME_RESET_BY_CLIENT),
            ("upstream", errors.OUTCOME_RESET_BY_UPSTREAM),
        ):
            self.outcomes.clear()
            ends = {}
            ends["client"], below = self.pair()
            ends["upstream"], above = self.pair()
            ends[who].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            ends[who].close()
            self.path.relay_now(below, False, above, b"x", 0, self.owner)
            self.reactor.run_until(lambda: self.outcomes)
            self.assertEqual(self.outcomes, [outcome])

    def test_what_waits_for_the_client(self) -> None:
        """What the upstream has said goes out to a client that was slow to take it."""
        client, below = self.pair()
        upstream, above = self.pair()
        before = fill(below.send)
        flow = Flow(self.path, below, above, self.owner)
        flow.begin(flow.client, b"", False, False)
        self.reactor.settle()
        flow.begin(flow.upstream, b"said early", False, False)
        self.reactor.settle()
        self.assertEqual(self.read(client, len(before) + 10)[len(before) :], b"said early")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)

    def test_a_bug_ends_that_one_only(self) -> None:
        _, below = self.pair()
        _, above = self.pair()
        flow = self.path.relay_now(below, False, above, b"", 0, self.owner)
        flow.client.broken()
        self.assertEqual(self.outcomes, [errors.OUTCOME_INTERNAL_ERROR])


class ChatTests(DataPathCase):
    """Short messages to and fro, after enough of them were seen."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = FakeRelayOwner()
        self.outcomes = self.owner.outcomes
        self.client, below = self.pair()
        self.upstream, above = self.pair()
        self.flow = self.path.relay_now(below, False, above, b"", 0, self.owner)
        for number in range(SHORT_READS_OF_A_CHAT + 1):
            self.exchange(b"%d" % number, b"and %d" % number)
        ends = (self.flow.client, self.flow.upstream)
        self.assertEqual({end.short_reads for end in ends}, {SHORT_READS_OF_A_CHAT})
        self.counted = self.flow.octets_from_client, self.flow.octets_from_upstream

    def exchange(self, question: bytes, answer: bytes) -> None:
        self.client.send(question)
        self.assertEqual(self.read(self.upstream, len(question)), question)
        self.upstream.send(answer)
        self.assertEqual(self.read(self.client, len(answer)), answer)

    def close_both(self) -> None:
        self.client.close()
        self.upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_goes_on(self) -> None:
        self.exchange(b"one more", b"and more")
        self.assertEqual(self.flow.octets_from_client, self.counted[0] + 8)
        self.assertEqual(self.flow.octets_from_upstream, self.counted[1] + 8)
        self.assertEqual(self.owner.heard, 1)
        self.close_both()

    def test_a_longer_message(self) -> None:
        """It goes on in one piece with what was read of it, and the chat has to begin anew."""
        for size in (SHORT_OCTETS - 1, SHORT_OCTETS, SHORT_OCTETS + 1, 100_000):
            octets = bytes(number % 251 for number in range(size))
            self.exchange(octets, octets)
        self.assertEqual(self.flow.client.short_reads, 0)
        self.exchange(b"short", b"again")
        self.close_both()

    def test_the_end_of_one_side(self) -> None:
        self.client.send(b"last words")
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.upstream), b"last words")
        self.upstream.send(b"the answer")
        self.assertEqual(self.read(self.client, 10), b"the answer")
        self.close_both()

    def test_an_event_from_before_the_end(self) -> None:
        """What the poller saw before the end came tells nothing of it."""
        self.client.shutdown(socket.SHUT_WR)
        self.flow.client.ready(IN)
        self.assertEqual(self.read_to_end(self.upstream), b"")
        self.flow.client.ready(IN)
        self.assertEqual(self.outcomes, [])
        self.close_both()

    def test_an_event_for_nothing(self) -> None:
        self.flow.client.ready(IN)
        self.exchange(b"it", b"lives")
        self.close_both()

    def test_a_reset(self) -> None:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.client.close()
        self.flow.client.ready(IN)
        self.assertEqual(self.outcomes, [errors.OUTCOME_RESET_BY_CLIENT])
        self.assert_reset(self.upstream)

    def test_the_other_is_gone(self) -> None:
        self.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.upstream.close()
        self.client.send(b"too late")
        self.flow.client.ready(IN)
        self.assertEqual(self.outcomes, [errors.OUTCOME_RESET_BY_UPSTREAM])
        self.assert_reset(self.client)

    def test_a_slow_reader(self) -> None:
        """What it does not take waits, and what follows waits behind it."""
        before = fill(self.flow.upstream.sock.send)
        self.client.send(b"first")
        self.reactor.settle()
        self.assertIsNotNone(self.flow.upstream.pending)
        self.client.send(b" second")
        self.reactor.settle()
        found = self.read(self.upstream, len(before) + 12)
        self.assertEqual(found[len(before) :], b"first second")
        self.exchange(b"and", b"on")
        self.close_both()


class BulkTests(DataPathCase):
    """What a side gives at a time decides whether it is spliced."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = FakeRelayOwner()
        self.client, below = socket.socketpair()
        self.upstream, above = socket.socketpair()
        self.sockets += [self.client, self.upstream]
        for each in self.sockets:
            each.setblocking(False)
        self.flow = self.path.relay_now(below, False, above, b"", 0, self.owner)

    def pass_on(self, octets: bytes) -> None:
        self.assertEqual(self.client.send(octets), len(octets))
        self.assertEqual(self.read(self.upstream, len(octets)), octets)

    def test_much_and_little(self) -> None:
        self.pass_on(bytes(FEWEST_TO_BE_BULK_OCTETS - 1))
        self.assertFalse(self.flow.client.is_bulk)
        for _ in range(2):
            self.pass_on(bytes(number % 251 for number in range(FEWEST_TO_BE_BULK_OCTETS)))
            self.assertTrue(self.flow.client.is_bulk)
        self.pass_on(b"little")
        self.assertFalse(self.flow.client.is_bulk)
        self.pass_on(b"and less")
        self.assertEqual(self.flow.octets_from_client, 3 * FEWEST_TO_BE_BULK_OCTETS - 1 + 14)
        self.close_both()

    def test_much_and_the_end(self) -> None:
        octets = bytes(number % 251 for number in range(FEWEST_TO_BE_BULK_OCTETS))
        self.client.send(octets)
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.upstream), octets)
        self.close_both()

    def close_both(self) -> None:
        self.client.close()
        self.upstream.close()
        self.reactor.run_until(lambda: self.owner.outcomes == [errors.OUTCOME_CLOSED])


class MixedTests(DataPathCase):
    """A stream that is not plain is relayed as Twisted's would be."""

    def test_what_waits_to_be_written_goes_first(self) -> None:
        stream, client = self.make_stream()
        stream.transport.write(b"x" * 10_000_000)
        listening, where = self.listen()
        upstream = self.result(Deferred.fromCoroutine(self.path.connect(where, 5.0)))
        theirs = self.accept(listening)
        owner = FakeRelayOwner()
        relay = self.path.relay(stream, upstream, LIMITS, owner)
        self.assertIsInstance(relay, Relay)
        theirs.send(b"answer")
        self.assertEqual(self.read(client, 10_000_006)[-6:], b"answer")
        client.close()
        theirs.close()
        self.reactor.run_until(lambda: owner.outcomes == [errors.OUTCOME_CLOSED])


class StreamTests(DataPathCase):
    def test_a_protocol_that_fails(self) -> None:
        class Broken(HalfCloseableProtocol):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError("expected by the test")

        protocol = Broken()
        theirs = self.connect_protocol(protocol)
        theirs.send(b"x")
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionAborted"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_event_for_its_predecessor(self) -> None:
        protocol = HalfCloseableProtocol()
        self.connect_protocol(protocol)
        stream = protocol.transport
        self.assertIsInstance(stream, Stream)
        stream.ready(0xFFF & ~0x8)
        self.assertEqual(protocol.told, ["made"])
        stream.loseConnection()
        stream.ready(0x1)

    def test_one_that_talks_without_end_lets_others_have_their_turn(self) -> None:
        busy, quiet = HalfCloseableProtocol(), HalfCloseableProtocol()
        first, second = self.connect_protocol(busy), self.connect_protocol(quiet)
        fill(first.send)
        second.send(b"x")
        self.reactor.turn()
        self.assertEqual(quiet.received, b"x")
        for protocol in (busy, quiet):
            protocol.transport.abortConnection()
