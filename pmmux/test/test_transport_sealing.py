"""OpenSSL's calls, by what pyOpenSSL makes public and by what it wraps: the same comes of both."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from pmmux.test.test_tls_stream import CERTIFICATE, Peer
from pmmux.test.test_transport_sealed import shaken
from pmmux.tls.contexts import ListenerTLS, TLSSettings, make_context
from pmmux.transport import sealing
from pmmux.transport.buffer import SharedBuffer
from pmmux.transport.sealing import (
    BROKEN,
    DRY,
    ENDED,
    FULL,
    SEALED_OCTETS,
    DirectSealing,
    PublicSealing,
    make_sealing,
)

BUFFER_OCTETS = 65536
MUCH = bytes(range(256)) * (3 * SEALED_OCTETS // 256)


class PublicSealingTests(SynchronousTestCase):
    kind: type[PublicSealing] = PublicSealing

    def setUp(self) -> None:
        self.buffer = SharedBuffer(BUFFER_OCTETS)
        self.sealing = self.kind(self.buffer)

    def feed(self, seal: Any, octets: bytes) -> None:
        self.buffer.view[: len(octets)] = octets
        self.sealing.feed_read(seal, len(octets))

    def opened(self, seal: Any, room: int = BUFFER_OCTETS) -> tuple[bytes, int]:
        size, why = self.sealing.open(seal, room)
        return bytes(self.buffer.view[:size]), why

    def test_handshake(self) -> None:
        peer = Peer()
        ours = SSL.Connection(make_context(CERTIFICATE, TLSSettings(), ListenerTLS()))
        ours.set_accept_state()
        peer.hear(b"")
        self.assertFalse(self.sealing.shake(ours))
        self.assertEqual(bytes(self.sealing.take(ours)), b"")
        self.sealing.feed(ours, peer.said())
        self.assertFalse(self.sealing.shake(ours))
        peer.hear(bytes(self.sealing.take(ours)))
        self.feed(ours, peer.said())
        self.assertTrue(self.sealing.shake(ours))

    def test_handshake_that_fails(self) -> None:
        ours = SSL.Connection(make_context(CERTIFICATE, TLSSettings(), ListenerTLS()))
        ours.set_accept_state()
        self.sealing.feed(ours, b"GET / HTTP/1.0\r\n\r\n")
        self.assertRaises(SSL.Error, self.sealing.shake, ours)

    def test_what_a_callback_raises(self) -> None:
        """It is told, and not kept for the next connection."""
        context = make_context(CERTIFICATE, TLSSettings(), ListenerTLS(alpn=(b"h2",)))
        for offered, expected in (([b"other"], "no application protocol in common"), ([b"h2"], "")):
            ours = SSL.Connection(context)
            ours.set_accept_state()
            peer = Peer()
            peer.connection.set_alpn_protos(offered)
            peer.hear(b"")
            self.sealing.feed(ours, peer.said())
            said = ""
            try:
                self.sealing.shake(ours)
            except Exception as error:
                said = str(error)
            self.assertEqual(said, expected)

    def test_opening(self) -> None:
        peer, ours = shaken()
        self.assertEqual(self.opened(ours), (b"", DRY))
        self.feed(ours, peer.say(b"one") + peer.say(b"two"))
        self.assertEqual(self.opened(ours), (b"onetwo", DRY))
        self.feed(ours, peer.say(b"three"))
        self.assertEqual(self.opened(ours, 4), (b"thre", FULL))
        self.assertEqual(self.opened(ours, 4), (b"e", DRY))
        self.feed(ours, peer.say(b"four") + peer.end())
        self.assertEqual(self.opened(ours), (b"four", ENDED))
        self.assertEqual(self.opened(ours), (b"", ENDED))

    def test_forged(self) -> None:
        """What came before it counts; it is no other connection's fault."""
        peer, ours = shaken()
        record = bytearray(peer.say(b"forged"))
        record[-1] ^= 1
        self.feed(ours, peer.say(b"true"))
        self.feed(ours, bytes(record))
        found, why = self.opened(ours)
        self.assertIn((found, why), ((b"true", BROKEN), (b"", BROKEN)))
        self.assertEqual(self.opened(ours), (b"", BROKEN))
        other, theirs = shaken()
        self.assertEqual(self.opened(theirs), (b"", DRY))
        self.feed(theirs, other.say(b"well"))
        self.assertEqual(self.opened(theirs), (b"well", DRY))

    def test_sealing(self) -> None:
        for octets in (b"x", MUCH[:BUFFER_OCTETS], MUCH):
            peer, ours = shaken()
            self.sealing.seal(ours, memoryview(octets))
            sealed = bytes(self.sealing.take(ours))
            self.assertGreater(len(sealed), len(octets))
            peer.hear(sealed)
            self.assertTrue(peer.received == octets)
            self.assertEqual(bytes(self.sealing.take(ours)), b"")

    def test_sealing_after_the_end(self) -> None:
        _, ours = shaken()
        ours.shutdown()
        self.assertRaises(SSL.Error, self.sealing.seal, ours, b"late")


class DirectSealingTests(PublicSealingTests):
    kind = DirectSealing


class ChoiceTests(SynchronousTestCase):
    def test_direct(self) -> None:
        self.assertIsInstance(make_sealing(SharedBuffer(BUFFER_OCTETS)), DirectSealing)

    def test_another_pyopenssl(self) -> None:
        """Where what it wraps is called otherwise, its public calls remain."""
        self.patch(sealing.SSL, "Connection", lambda context: object())
        self.assertIs(type(make_sealing(SharedBuffer(BUFFER_OCTETS))), PublicSealing)
