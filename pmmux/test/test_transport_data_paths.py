"""One suite over both data paths: what a transport and a relay owe to whoever is on them."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from pmmux import errors
from pmmux.errors import UpstreamError
from pmmux.model import Address
from pmmux.preview import Preview
from pmmux.test.data_path_case import LIMITS, DataPathCase, fill
from pmmux.test.doubles import FakeRelayOwner
from pmmux.test.stream_doubles import HalfCloseableProtocol, RecordingProtocol
from pmmux.transport.interfaces import IDataPath, IRelay


class TransportSemantics:
    """What L{ITCPTransport} promises."""

    def test_provides(self: Any) -> None:
        verifyObject(IDataPath, self.path)
        protocol = RecordingProtocol()
        self.connect_protocol(protocol)
        verifyObject(ITCPTransport, protocol.transport)
        verifyObject(IPushProducer, protocol.transport)
        verifyObject(IConsumer, protocol.transport)
        protocol.transport.loseConnection()

    def test_reads_and_writes(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        self.assertEqual(protocol.told, ["made"])
        theirs.send(b"hello")
        self.reactor.run_until(lambda: protocol.received == b"hello")
        protocol.transport.write(b"a")
        protocol.transport.write(b"")
        protocol.transport.writeSequence([b"b", b"c"])
        self.assertEqual(self.read(theirs, 3), b"abc")
        theirs.close()
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionDone"))

    def test_addresses(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs, ours = self.pair()
        name = ours.getsockname()
        self.connect_protocol(protocol, (theirs, ours))
        host, peer = protocol.transport.getHost(), protocol.transport.getPeer()
        self.assertEqual((host.host, host.port), name)
        self.assertEqual((peer.host, peer.port), theirs.getsockname())
        protocol.transport.loseConnection()
        self.reactor.settle()
        protocol.transport.getPeer()

    def test_options(self: Any) -> None:
        protocol = RecordingProtocol()
        self.connect_protocol(protocol)
        for enabled in (True, False):
            protocol.transport.setTcpNoDelay(enabled)
            self.assertEqual(bool(protocol.transport.getTcpNoDelay()), enabled)
            protocol.transport.setTcpKeepAlive(enabled)
            self.assertEqual(bool(protocol.transport.getTcpKeepAlive()), enabled)
        protocol.transport.loseConnection()

    def test_lose_connection_writes_what_waits(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        octets = bytes(range(256)) * 40_000
        protocol.transport.write(octets)
        protocol.transport.loseConnection()
        self.assertTrue(protocol.transport.disconnecting)
        self.assertEqual(self.read_to_end(theirs), octets)
        self.reactor.run_until(lambda: protocol.told == ["made", ("lost", "ConnectionDone")])

    def test_loss_is_told_in_a_later_turn(self: Any) -> None:
        for close in ("loseConnection", "abortConnection"):
            protocol = RecordingProtocol()
            self.connect_protocol(protocol)
            getattr(protocol.transport, close)()
            self.assertEqual(protocol.told, ["made"])
            self.reactor.run_until(lambda protocol=protocol: len(protocol.told) == 2)

    def test_abort_resets(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        protocol.transport.write(b"x" * 5_000_000)
        protocol.transport.abortConnection()
        protocol.transport.abortConnection()
        protocol.transport.write(b"too late")
        self.assert_reset(theirs)
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionAborted"))

    def test_reset_by_the_peer(self: Any) -> None:
        protocol = HalfCloseableProtocol()
        theirs = self.connect_protocol(protocol)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        theirs.close()
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionLost"))
        protocol.transport.write(b"too late")
        protocol.transport.loseConnection()
        self.reactor.settle()
        self.assertEqual(protocol.told.count(("lost", "ConnectionLost")), 1)

    def test_half_close_by_the_peer(self: Any) -> None:
        protocol = HalfCloseableProtocol()
        theirs = self.connect_protocol(protocol)
        theirs.send(b"question")
        theirs.shutdown(socket.SHUT_WR)
        self.reactor.run_until(lambda: protocol.told[-1] == "read ended")
        self.assertEqual(protocol.told, ["made", ("data", b"question"), "read ended"])
        protocol.transport.write(b"answer")
        self.assertEqual(self.read(theirs, 6), b"answer")
        protocol.transport.loseConnection()
        self.assertEqual(self.read_to_end(theirs), b"")
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionDone"))

    def test_half_close_by_us(self: Any) -> None:
        protocol = HalfCloseableProtocol()
        theirs = self.connect_protocol(protocol)
        octets = bytes(range(256)) * 40_000
        protocol.transport.write(octets)
        protocol.transport.loseWriteConnection()
        self.assertNotIn("write ended", protocol.told)
        self.assertEqual(self.read_to_end(theirs), octets)
        self.reactor.run_until(lambda: "write ended" in protocol.told)
        theirs.send(b"still heard")
        self.reactor.run_until(lambda: protocol.received == b"still heard")
        theirs.close()
        self.reactor.run_until(lambda: protocol.told[-1] == "read ended")
        protocol.transport.loseConnection()

    def test_pause_and_resume(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        protocol.transport.pauseProducing()
        theirs.send(b"one")
        self.reactor.settle()
        self.assertEqual(protocol.received, b"")
        protocol.transport.resumeProducing()
        self.reactor.run_until(lambda: protocol.received == b"one")
        protocol.transport.pauseProducing()
        protocol.transport.resumeProducing()
        theirs.send(b"two")
        self.reactor.run_until(lambda: protocol.received == b"onetwo")
        protocol.transport.loseConnection()

    def test_paused_from_within(self: Any) -> None:
        class Slow(RecordingProtocol):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()

        protocol = Slow()
        theirs = self.connect_protocol(protocol)
        theirs.send(b"one")
        self.reactor.settle()
        theirs.send(b"two")
        self.reactor.settle()
        self.assertEqual(protocol.received, b"one")
        protocol.transport.resumeProducing()
        self.reactor.run_until(lambda: protocol.received == b"onetwo")
        protocol.transport.loseConnection()

    def test_streaming_producer_is_paused_and_resumed(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        told: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                told.append("pause")

            def resumeProducing(self) -> None:
                told.append("resume")

            def stopProducing(self) -> None:
                told.append("stop")

        protocol.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, protocol.transport.registerProducer, Producer(), True)
        octets = b"x" * 10_000_000
        protocol.transport.write(octets)
        self.reactor.settle()
        self.assertEqual(set(told), {"pause"})
        self.assertEqual(len(self.read(theirs, len(octets))), len(octets))
        self.reactor.run_until(lambda: told[-1] == "resume")
        self.assertEqual(told.count("resume"), 1)
        protocol.transport.unregisterProducer()
        protocol.transport.loseConnection()

    def test_pulled_producer_is_asked_for_each_piece(self: Any) -> None:
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        pieces = [b"a" * 100_000, b"b" * 100_000, b"c"]
        expected = b"".join(pieces)

        class Producer:
            def resumeProducing(self) -> None:
                if pieces:
                    protocol.transport.write(pieces.pop(0))
                else:
                    protocol.transport.unregisterProducer()
                    protocol.transport.loseConnection()

            def stopProducing(self) -> None:
                """Never called here."""

        protocol.transport.registerProducer(Producer(), False)
        self.assertEqual(self.read_to_end(theirs), expected)

    def test_lose_connection_with_a_paused_producer(self: Any) -> None:
        """The producer may go on; the connection is closed when it says that it is done."""
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)
        transport = protocol.transport

        class Producer:
            left = 3

            def pauseProducing(self) -> None:
                """It is paused between any two calls."""

            def resumeProducing(self) -> None:
                self.left -= 1
                if self.left:
                    transport.write(b"y" * 10_000_000)
                else:
                    transport.unregisterProducer()

            def stopProducing(self) -> None:
                """Never called here."""

        transport.registerProducer(Producer(), True)
        transport.write(b"y" * 10_000_000)
        transport.loseConnection()
        self.assertEqual(len(self.read_to_end(theirs)), 30_000_000)
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionDone"))

    def test_lose_connection_with_an_idle_producer(self: Any) -> None:
        """One that streams and is not paused is not waited for: HTTP servers leave theirs registered."""
        protocol = RecordingProtocol()
        theirs = self.connect_protocol(protocol)

        class Producer:
            def pauseProducing(self) -> None:
                """Nothing to pause."""

            def resumeProducing(self) -> None:
                """Nothing to give."""

            def stopProducing(self) -> None:
                """Nothing to stop."""

        protocol.transport.registerProducer(Producer(), True)
        protocol.transport.loseConnection()
        self.assertEqual(self.read_to_end(theirs), b"")
        self.reactor.run_until(lambda: protocol.told[-1] == ("lost", "ConnectionDone"))

    def test_register_producer_when_it_is_lost(self: Any) -> None:
        protocol = RecordingProtocol()
        self.connect_protocol(protocol)
        protocol.transport.abortConnection()
        self.reactor.settle()
        stopped: list[bool] = []

        class Producer:
            def stopProducing(self) -> None:
                stopped.append(True)

        protocol.transport.registerProducer(Producer(), True)
        self.assertEqual(stopped, [True])

    def test_much_both_ways(self: Any) -> None:
        protocol = HalfCloseableProtocol()
        theirs = self.connect_protocol(protocol)
        sent = fill(theirs.send)
        protocol.transport.write(sent)
        self.assertEqual(self.read(theirs, len(sent)), sent)
        self.reactor.run_until(lambda: len(protocol.received) == len(sent))
        self.assertEqual(protocol.received, sent)
        protocol.transport.loseConnection()

    def test_unix_sockets(self: Any) -> None:
        listening, where = self.listen(socket.AF_UNIX)
        theirs = socket.socket(socket.AF_UNIX)
        self.sockets.append(theirs)
        theirs.connect(where.host)
        theirs.setblocking(False)
        ours, _ = listening.accept()
        ours.setblocking(False)
        protocol = HalfCloseableProtocol()
        self.connect_protocol(protocol, (theirs, ours))
        theirs.send(b"hello")
        self.reactor.run_until(lambda: protocol.received == b"hello")
        protocol.transport.getHost()
        protocol.transport.getPeer()
        protocol.transport.abortConnection()
        self.reactor.settle()
        self.assertEqual(protocol.told[-1], ("lost", "ConnectionAborted"))


class ConnectSemantics:
    """What L{IDataPath.connect} promises."""

    def connect(self: Any, target: Address, timeout_seconds: float = 5.0) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.path.connect(target, timeout_seconds))

    def test_connects(self: Any) -> None:
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            listening, where = self.listen(family)
            stream = self.result(self.connect(where))
            theirs = self.accept(listening)
            protocol = HalfCloseableProtocol()
            theirs.send(b"welcome")
            stream.hand_over(protocol)
            protocol.transport.write(b"hello")
            self.assertEqual(self.read(theirs, 5), b"hello")
            self.reactor.run_until(lambda protocol=protocol: protocol.received == b"welcome")
            protocol.transport.loseConnection()
            self.assertEqual(self.read_to_end(theirs), b"")

    def test_refused(self: Any) -> None:
        listening, where = self.listen()
        listening.close()
        waiting = self.connect(where)
        self.reactor.settle()
        error = self.failureResultOf(waiting, UpstreamError).value
        self.assertEqual((error.target, error.reason), (str(where), "connection refused"))

    def test_no_unix_socket(self: Any) -> None:
        waiting = self.connect(Address(self.mktemp(), 0, "unix"))
        self.reactor.settle()
        self.failureResultOf(waiting, UpstreamError)

    def slow_target(self: Any) -> Address:
        """An address that never answers: its backlog is full."""
        listening, where = self.listen()
        listening.listen(0)
        for _ in range(3):
            filling = socket.socket()
            filling.setblocking(False)
            filling.connect_ex((where.host, where.port))
            self.sockets.append(filling)
        return where

    def test_time_out(self: Any) -> None:
        waiting = self.connect(self.slow_target(), 3.0)
        self.reactor.settle()
        self.assertNoResult(waiting)
        self.reactor.advance(2.9)
        self.reactor.settle()
        self.assertNoResult(waiting)
        self.reactor.advance(0.2)
        self.reactor.settle()
        self.assertIn("within 3 s", self.failureResultOf(waiting, UpstreamError).value.reason)

    def test_cancelled(self: Any) -> None:
        waiting = self.connect(self.slow_target())
        self.reactor.settle()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_abandoned(self: Any) -> None:
        listening, where = self.listen()
        stream = self.result(self.connect(where))
        theirs = self.accept(listening)
        stream.transport.abortConnection()
        self.assert_reset(theirs)


class RelaySemantics:
    """What L{IDataPath.relay} promises."""

    def relay(self: Any, *said: bytes) -> None:
        """Relay between C{client} and C{upstream}; the client has said C{said} before."""
        self.owner = FakeRelayOwner()
        self.outcomes = self.owner.outcomes
        self.stream, self.client = self.make_stream()
        for each in said:
            if each:
                self.client.send(each)
            else:
                self.client.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        listening, where = self.listen()
        upstream = self.result(Deferred.fromCoroutine(self.path.connect(where, 5.0)))
        self.upstream = self.accept(listening)
        self.before_relay()
        self.subject = self.path.relay(self.stream, upstream, LIMITS, self.owner)
        verifyObject(IRelay, self.subject)

    def before_relay(self: Any) -> None:
        """What happens while the upstream is connected."""

    def expect(self: Any, outcome: str) -> None:
        self.reactor.run_until(lambda: self.outcomes)
        self.reactor.settle()
        self.assertEqual(self.outcomes, [outcome])

    def close_both(self: Any) -> None:
        self.client.close()
        self.upstream.close()
        self.expect(errors.OUTCOME_CLOSED)

    def test_both_ways(self: Any) -> None:
        self.relay(b"said before ")
        self.client.send(b"and after")
        self.assertEqual(self.read(self.upstream, 21), b"said before and after")
        self.upstream.send(b"answer")
        self.assertEqual(self.read(self.client, 6), b"answer")
        self.assertEqual((self.subject.octets_from_client, self.subject.octets_from_upstream), (21, 6))
        self.close_both()

    def test_owner_is_told(self: Any) -> None:
        self.relay(b"question")
        self.read(self.upstream, 8)
        self.assertEqual((self.owner.relay, self.owner.heard), (self.subject, 0))
        for answer in (b"first", b"second"):
            self.upstream.send(answer)
            self.read(self.client, len(answer))
            self.assertEqual(self.owner.heard, 1)
        self.close_both()

    def test_upstream_speaks_first(self: Any) -> None:
        self.before_relay = lambda: self.upstream.send(b"220 welcome")
        self.relay()
        self.assertEqual(self.read(self.client, 11), b"220 welcome")
        self.assertEqual(self.owner.heard, 1)
        self.close_both()

    def test_client_ends_first(self: Any) -> None:
        self.relay(b"question")
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.upstream), b"question")
        self.upstream.send(b"a long answer")
        self.assertEqual(self.read(self.client, 13), b"a long answer")
        self.assertEqual(self.outcomes, [])
        self.upstream.close()
        self.assertEqual(self.read_to_end(self.client), b"")
        self.expect(errors.OUTCOME_CLOSED)

    def test_upstream_ends_first(self: Any) -> None:
        self.relay(b"question")
        self.upstream.send(b"answer")
        self.upstream.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.client), b"answer")
        self.client.send(b" and more")
        self.assertEqual(self.read(self.upstream, 17), b"question and more")
        self.assertEqual(self.outcomes, [])
        self.client.close()
        self.assertEqual(self.read_to_end(self.upstream), b"")
        self.expect(errors.OUTCOME_CLOSED)

    def test_client_ended_before(self: Any) -> None:
        self.relay(b"question", b"")
        self.assertEqual(self.read_to_end(self.upstream), b"question")
        self.upstream.send(b"answer")
        self.upstream.close()
        self.assertEqual(self.read_to_end(self.client), b"answer")
        self.expect(errors.OUTCOME_CLOSED)

    def test_client_said_nothing_and_ended(self: Any) -> None:
        self.relay(b"")
        self.assertEqual(self.read_to_end(self.upstream), b"")
        self.upstream.close()
        self.expect(errors.OUTCOME_CLOSED)

    def test_client_gone_before(self: Any) -> None:
        def leave() -> None:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.client.close()
            self.reactor.settle()

        self.before_relay = leave
        self.relay(b"x")
        self.assert_reset(self.upstream)
        self.expect(errors.OUTCOME_RESET_BY_CLIENT)

    def test_upstream_gone_before(self: Any) -> None:
        def leave() -> None:
            self.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.upstream.close()
            self.reactor.settle()

        self.before_relay = leave
        self.relay(b"x")
        self.assert_reset(self.client)
        self.expect(errors.OUTCOME_RESET_BY_UPSTREAM)

    def test_reset_is_passed_on(self: Any) -> None:
        for who, other, outcome in (
            ("client", "upstream", errors.OUTCOME_RESET_BY_CLIENT),
            ("upstream", "client", errors.OUTCOME_RESET_BY_UPSTREAM),
        ):
            self.relay(b"x")
            self.read(self.upstream, 1)
            leaving = getattr(self, who)
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            leaving.close()
            self.assert_reset(getattr(self, other))
            self.expect(outcome)

    def test_reset_after_a_half_close(self: Any) -> None:
        self.relay(b"x")
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.upstream), b"x")
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.client.close()
        self.reactor.settle()
        if not self.outcomes:
            # Whoever does not look at a side that has ended finds it out by writing.
            self.upstream.send(b"x")
        self.expect(errors.OUTCOME_RESET_BY_CLIENT)
        self.assert_broken(self.upstream)

    def test_back_pressure(self: Any) -> None:
        """What a slow reader does not take is not read from the other side for ever."""
        self.relay()
        sent = b""
        for _ in range(200):
            taken = fill(self.upstream.send)
            sent += taken
            self.reactor.turn()
            if not taken:
                break
        else:
            self.fail("it reads without end")
        self.reactor.settle()
        self.assertLess(self.subject.octets_from_upstream, 40_000_000)
        self.client.send(b"the other way is open")
        self.assertEqual(self.read(self.upstream, 21), b"the other way is open")
        self.upstream.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.client), sent)
        self.client.close()
        self.expect(errors.OUTCOME_CLOSED)

    def test_both_ends_come_after_what_waits(self: Any) -> None:
        self.relay()
        to_client = fill(self.upstream.send)
        for _ in range(20):
            self.reactor.turn()
            to_client += fill(self.upstream.send)
        self.upstream.close()
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.assertEqual(self.outcomes, [])
        try:
            received = self.read_to_end(self.client)
        except ConnectionResetError:
            # The upstream had not read our end: the kernel resets it.
            received = to_client
        self.assertEqual(len(received), len(to_client))
        self.reactor.run_until(lambda: self.outcomes)

    def test_closed(self: Any) -> None:
        self.relay(b"x")
        self.subject.close(errors.OUTCOME_DRAIN_TIMEOUT)
        self.subject.close(errors.OUTCOME_KILLED)
        self.assert_reset(self.client)
        self.assert_reset(self.upstream)
        self.expect(errors.OUTCOME_DRAIN_TIMEOUT)

    def test_idle(self: Any) -> None:
        self.relay(b"x")
        for _ in range(2):
            self.pass_time(LIMITS.idle_seconds * 0.9)
            self.client.send(b"x")
            self.reactor.settle()
        self.assertEqual(self.outcomes, [])
        self.pass_time(LIMITS.idle_seconds * 1.3)
        self.expect(errors.OUTCOME_IDLE_TIMEOUT)
        self.assert_reset(self.client)

    def test_half_closed_for_too_long(self: Any) -> None:
        self.relay(b"x")
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.pass_time(LIMITS.half_closed_seconds * 0.9)
        self.assertEqual(self.outcomes, [])
        self.pass_time(LIMITS.half_closed_seconds * 0.6)
        self.expect(errors.OUTCOME_HALF_CLOSED_TIMEOUT)
        self.assert_broken(self.upstream)

    def pass_time(self: Any, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.reactor.advance(1)

    def test_many_small_pieces(self: Any) -> None:
        self.relay()
        sent = b""
        for number in range(100):
            piece = bytes((number,)) * (number + 1)
            self.client.send(piece)
            sent += piece
            if number % 3 == 0:
                self.reactor.turn()
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to_end(self.upstream), sent)
        self.upstream.close()
        self.expect(errors.OUTCOME_CLOSED)


class FastTransportTests(TransportSemantics, DataPathCase):
    """L{TransportSemantics} on the fast path."""


class PortableTransportTests(TransportSemantics, DataPathCase):
    """The same on Twisted's transports."""

    is_fast = False


class FastConnectTests(ConnectSemantics, DataPathCase):
    """L{ConnectSemantics} on the fast path."""


class PortableConnectTests(ConnectSemantics, DataPathCase):
    """The same on Twisted's transports."""

    is_fast = False


class FastRelayTests(RelaySemantics, DataPathCase):
    """L{RelaySemantics} on the fast path."""


class PortableRelayTests(RelaySemantics, DataPathCase):
    """The same on Twisted's transports."""

    is_fast = False


class PreviewedTests(DataPathCase):
    """A stream whose first octets were read before it was one."""

    def test_what_was_read_before_comes_first(self) -> None:
        for is_fast in (True, False):
            if not is_fast:
                self.tearDown()
                self.is_fast = False
                self.setUp()
            preview = Preview(32768)
            preview.feed(b"before ")
            stream, client = self.make_stream(preview)
            client.send(b"after")
            self.reactor.run_until(lambda stream=stream: stream.preview.octets == b"before after")
            stream.transport.abortConnection()
            self.reactor.settle()
