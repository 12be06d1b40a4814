"""The TLS stream, on a transport that the test drives, against OpenSSL as the other side."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.test.doubles import make_stream
from pmmux.test.stream_doubles import HalfCloseableProtocol, RecordingProtocol
from pmmux.tls.certificates import now_utc
from pmmux.tls.contexts import ListenerTLS, TLSSettings, make_context
from pmmux.tls.faults import HandshakeFailed, explain
from pmmux.tls.selfsigned import make_key, make_self_signed
from pmmux.tls.stream import TLSStream

CERTIFICATE = make_self_signed("example.org", make_key(), now_utc(1_800_000_000))


class Peer:
    """The other side: OpenSSL in memory, and what it has been told."""

    def __init__(self, version: int = 0) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if version:
            context.set_max_proto_version(version)
        self.connection = SSL.Connection(context)
        self.connection.set_connect_state()
        self.received = b""
        self.is_ended = False

    def said(self) -> bytes:
        found = b""
        try:
            while True:
                found += self.connection.bio_read(65536)
        except SSL.WantReadError:
            return found

    def hear(self, octets: bytes) -> None:
        if octets:
            self.connection.bio_write(octets)
        try:
            self.connection.do_handshake()
            while True:
                self.received += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.is_ended = True

    def say(self, octets: bytes) -> bytes:
        self.connection.send(octets)
        return self.said()

    def end(self) -> bytes:
        self.connection.shutdown()
        return self.said()


class TLSStreamTests(SynchronousTestCase):
    version = 0

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = make_stream(self.clock)
        self.lower = self.below.transport
        self.closed: list[Any] = []
        self.below.closed = self.closed.append
        self.peer = Peer(self.version)
        connection = SSL.Connection(make_context(CERTIFICATE, TLSSettings(), ListenerTLS()))
        connection.set_accept_state()
        self.stream = TLSStream(connection, self.below)

    def exchange(self) -> None:
        """Let the other side hear what was written."""
        octets = self.lower.value()
        self.lower.clear()
        self.peer.hear(octets)

    def start(self, split: int = 0) -> Any:
        self.peer.hear(b"")
        hello = self.peer.said()
        self.lower.deliver(hello[: split or len(hello)])
        result = self.stream.start()
        if split:
            self.lower.deliver(hello[split:])
        return result

    def shake(self, protocol: Any = None, split: int = 0) -> Any:
        result = self.start(split)
        for _ in range(3):
            self.exchange()
            said = self.peer.said()
            if said:
                self.lower.deliver(said)
        self.assertIs(self.successResultOf(result), self.stream)
        protocol = protocol or HalfCloseableProtocol()
        self.stream.connect(protocol)
        return protocol

    def test_interface(self) -> None:
        verifyObject(ITCPTransport, self.stream)

    def test_both_ways(self) -> None:
        protocol = self.shake()
        self.lower.deliver(self.peer.say(b"hello"))
        self.assertEqual(protocol.received, b"hello")
        self.stream.write(b"and to you")
        self.exchange()
        self.assertEqual(self.peer.received, b"and to you")

    def test_hello_at_every_split(self) -> None:
        for split in (1, 5, 6, 100):
            self.setUp()
            self.shake(split=split)

    def test_octet_by_octet(self) -> None:
        protocol = self.shake()
        for octet in self.peer.say(b"hello"):
            self.lower.deliver(bytes((octet,)))
        self.assertEqual(protocol.received, b"hello")

    def test_much(self) -> None:
        protocol = self.shake()
        octets = bytes(range(256)) * 4096
        sealed = b""
        for at in range(0, len(octets), 16384):
            sealed += self.peer.say(octets[at : at + 16384])
        self.lower.deliver(sealed)
        self.assertTrue(protocol.received == octets)
        self.stream.write(octets)
        self.exchange()
        self.assertTrue(self.peer.received == octets)

    def test_data_with_the_end_of_the_handshake(self) -> None:
        result = self.start()
        self.exchange()
        finished = self.peer.said()
        self.lower.deliver(finished + self.peer.say(b"early"))
        self.successResultOf(result)
        protocol = HalfCloseableProtocol()
        self.stream.connect(protocol)
        self.assertEqual(protocol.received, b"early")

    def test_pausing(self) -> None:
        protocol = self.shake()
        self.stream.pauseProducing()
        self.assertFalse(self.lower.is_reading)
        self.lower.deliver(self.peer.say(b"later"), self.peer.end())
        self.assertEqual(protocol.told, ["made"])
        self.stream.resumeProducing()
        self.assertEqual(protocol.told, ["made", ("data", b"later"), "read ended"])
        self.assertTrue(self.lower.is_reading)

    def test_pausing_within_delivery(self) -> None:
        stream = self.stream

        class Pausing(HalfCloseableProtocol):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                stream.pauseProducing()

        protocol = self.shake(Pausing())
        self.lower.deliver(self.peer.say(b"hello") + self.peer.end())
        self.assertEqual(protocol.told, ["made", ("data", b"hello")])
        self.stream.resumeProducing()
        self.assertEqual(protocol.told[-1], "read ended")

    def test_peer_ends_first(self) -> None:
        protocol = self.shake()
        self.lower.deliver(self.peer.say(b"bye") + self.peer.end())
        self.assertEqual(protocol.told, ["made", ("data", b"bye"), "read ended"])
        self.stream.write(b"still here")
        self.stream.loseWriteConnection()
        self.assertTrue(self.lower.write_ended)
        self.assertEqual(protocol.told[-1], "write ended")
        self.exchange()
        self.assertEqual((self.peer.received, self.peer.is_ended), (b"still here", True))

    def test_we_end_first(self) -> None:
        protocol = self.shake()
        self.stream.write(b"bye")
        self.stream.loseWriteConnection()
        self.stream.write(b"not any more")
        self.exchange()
        self.assertEqual((self.peer.received, self.peer.is_ended), (b"bye", True))
        self.lower.deliver(self.peer.say(b"still here"), self.peer.end())
        self.assertEqual(protocol.received, b"still here")
        self.assertEqual(protocol.told[-1], "read ended")

    def test_end_without_close_notify(self) -> None:
        protocol = self.shake()
        self.lower.deliver(self.peer.say(b"bye"), b"")
        self.assertEqual(protocol.told[-2:], [("data", b"bye"), "read ended"])

    def test_protocol_without_half_close(self) -> None:
        protocol = self.shake(RecordingProtocol())
        self.lower.deliver(self.peer.end())
        self.assertTrue(self.lower.disconnecting)
        self.clock.advance(0)
        self.assertEqual(protocol.told[-1], ("lost", "ConnectionDone"))
        self.exchange()
        self.assertTrue(self.peer.is_ended)

    def test_closing_does_not_wait_for_a_producer_that_may_never_end(self) -> None:
        self.shake()
        self.stream.registerProducer(StringTransport(), True)
        self.stream.loseConnection()
        self.assertTrue(self.lower.disconnecting)
        self.assertIsNone(self.lower.producer)
        self.stream.unregisterProducer()
        self.exchange()
        self.assertTrue(self.peer.is_ended)

    def test_closing_waits_for_a_producer_that_is_asked(self) -> None:
        self.shake()
        self.stream.registerProducer(StringTransport(), False)
        self.stream.loseConnection()
        self.assertFalse(self.lower.disconnecting)
        self.stream.write(b"the last")
        self.stream.unregisterProducer()
        self.assertTrue(self.lower.disconnecting)
        self.exchange()
        self.assertEqual((self.peer.received, self.peer.is_ended), (b"the last", True))

    def test_lost(self) -> None:
        protocol = self.shake()
        self.lower.lose()
        self.assertEqual(protocol.told[-1], ("lost", "ConnectionLost"))
        self.stream.write(b"to nobody")
        self.assertEqual(self.closed, [])

    def test_peer_that_does_not_wait_for_our_goodbye(self) -> None:
        protocol = self.shake()
        self.lower.deliver(self.peer.end())
        self.stream.loseWriteConnection()
        self.lower.lose()
        self.assertEqual(protocol.told[-1], ("lost", "ConnectionDone"))

    def test_forged_record(self) -> None:
        protocol = self.shake()
        self.lower.deliver(self.peer.say(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertEqual(protocol.received, b"good")
        self.assertTrue(self.lower.aborted)

    def test_not_tls(self) -> None:
        result = self.stream.start()
        self.lower.deliver(b"GET / HTTP/1.0\r\n\r\n")
        error = self.failureResultOf(result, HandshakeFailed).value
        self.assertFalse(error.is_gone)
        # What still comes is not looked at.
        self.lower.deliver(b"more")

    def test_gone_in_the_handshake(self) -> None:
        for end in (lambda: self.lower.deliver(b""), lambda: self.lower.lose(None)):
            self.setUp()
            result = self.start(split=50)
            end()
            self.assertTrue(self.failureResultOf(result, HandshakeFailed).value.is_gone)
        self.assertEqual(len(self.closed), 1)

    def test_gone_before(self) -> None:
        self.lower.lose()
        self.assertTrue(self.failureResultOf(self.stream.start(), HandshakeFailed).value.is_gone)

    def test_cancelling(self) -> None:
        result = self.start(split=50)
        result.cancel()
        self.failureResultOf(result)
        self.lower.deliver(b"more")

    def test_explaining(self) -> None:
        self.assertEqual(explain(SSL.Error([("", "", "no shared cipher")])), "no shared cipher")
        self.assertEqual(explain(SSL.SysCallError(-1, "Unexpected EOF")), "the connection ended")
        self.assertEqual(explain(KeyError()), "KeyError")


class TLS12StreamTests(TLSStreamTests):
    version = SSL.TLS1_2_VERSION

    def test_data_with_the_end_of_the_handshake(self) -> None:
        """There is none: the client hears from the server last."""
