"""The express lane that terminates TLS, from end to end: real sockets, OpenSSL as the client."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL

from pmmux import errors
from pmmux.negotiators.socket import negotiator as socket_negotiator
from pmmux.negotiators.tls import Terminating, TLSNegotiator
from pmmux.terminating import TerminatingLane, make_lane
from pmmux.test.authority import Authority
from pmmux.test.doubles import FakeNegotiator
from pmmux.test.hellos import client_hello
from pmmux.test.test_multiplexer import MultiplexerCase
from pmmux.test.test_tls_stream import Peer
from pmmux.test.test_transport_sealed import Far
from pmmux.tls.certificates import Certificate
from pmmux.tls.contexts import ListenerContexts, ListenerTLS, TLSSettings
from pmmux.tls.store import CertificateStore
from pmmux.transport.sealing import PublicSealing
from pmmux.transport.timeouts import TimeoutQueue

SHOP = Authority().issue("shop.example.org")
NAME = b"shop.example.org"
DETECT, NEGOTIATION = 3.0, 4.0


class LaneTests(MultiplexerCase):
    version = 0
    requires = False
    is_public = False

    def setUp(self) -> None:
        super().setUp()
        if self.is_public:
            self.path.sealing = PublicSealing(self.path.buffer)
        store = CertificateStore((), False, lambda: 0.0)
        store.add(Certificate("shop", SHOP.certificate, SHOP.key, SHOP.chain, ("shop.example.org",)))
        terminating = Terminating(
            self.requires,
            ("passed.example.org",),
            ListenerContexts(store, TLSSettings(), ListenerTLS(), self.reactor.seconds),
            TimeoutQueue(self.reactor, DETECT),
            TimeoutQueue(self.reactor, 5.0),
        )
        services = self.multiplexer.course_services
        self.services = services.with_negotiators([socket_negotiator, TLSNegotiator(terminating)])
        self.multiplexer.services_for = lambda spec: self.services

    def far(self, name: bytes = NAME) -> Far:
        peer = Peer(self.version)
        peer.connection.set_tlsext_host_name(name)
        far = Far(peer, self.client())
        far.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.hear(b"")
        far.unsent = peer.said()
        return far

    def shake(self, far: Far, said: bytes = b"") -> None:
        """Until the client's handshake is complete; C{said} goes with the end of it."""

        def shaken() -> bool:
            far.push()
            octets = _read(far.sock)
            if octets:
                far.peer.hear(octets)
                far.unsent += far.peer.said()
            try:
                far.peer.connection.do_handshake()
            except SSL.WantReadError:
                return False
            return True

        self.reactor.run_until(shaken)
        if said:
            far.unsent += far.peer.say(said)
        far.push()

    def finish(self, far: Far, upstream: socket.socket) -> Any:
        """Let both ends go. @return: the access record."""
        upstream.close()
        far.sock.close()
        self.reactor.run_until(lambda: self.outcomes)
        return self.records[0]

    def test_lane(self) -> None:
        self.start()
        self.assertIsInstance(self.multiplexer.listeners()[0].lane, TerminatingLane)

    def test_routed_by_name(self) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        far = self.far()
        self.shake(far, b"hello")
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 5), b"hello")
        upstream.send(b"answer")
        self.reactor.run_until(lambda: far.hear() == b"answer")
        (session,) = self.multiplexer.courses.values()
        trace = session.trace
        trace = trace.expand() if hasattr(trace, "expand") else trace
        self.assertEqual(trace.negotiators, [("tls", "terminated for shop.example.org")])
        record = self.finish(far, upstream)
        self.assertEqual((record.backend, record.sni), ("shop", "shop.example.org"))
        self.assertEqual((record.octets_from_client, record.octets_from_upstream), (5, 6))

    def test_server_speaks_first(self) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        far = self.far()
        self.shake(far)
        upstream = self.accept_soon(listening)
        upstream.send(b"welcome")
        self.reactor.run_until(lambda: far.hear() == b"welcome")

    def test_routed_by_what_is_said_inside(self) -> None:
        """It is waited for in the lane; what that cannot decide goes on in general."""
        listening = self.upstream("web", {"detect": "http"})
        self.start()
        far = self.far()
        self.shake(far)
        self.reactor.settle()
        far.say(b"GE")
        self.reactor.settle()
        far.say(b"T / HTTP/1.1\r\nHost: a\r\n\r\n")
        upstream = self.accept_soon(listening)
        self.assertTrue(self.read(upstream, 18).startswith(b"GET / "))
        upstream.send(b"HTTP/1.1 200 OK")
        self.reactor.run_until(lambda: far.hear() == b"HTTP/1.1 200 OK")

    def test_silent_inside(self) -> None:
        """Silence decides, after the time there is to say something."""
        self.upstream("web", {"detect": "http"})
        rest = self.upstream("rest")
        self.start()
        far = self.far()
        self.shake(far)
        self.pass_time(DETECT + 0.5)
        upstream = self.accept_soon(rest)
        upstream.send(b"welcome")
        self.reactor.run_until(lambda: far.hear() == b"welcome")

    def test_much_at_once(self) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        far = self.far()
        much = bytes(range(256)) * 2048
        self.shake(far, much[:10000] + much[10000:16000])
        far.say(much[16000:])
        upstream = self.accept_soon(listening)
        found = b""

        def enough() -> bool:
            nonlocal found
            far.push()
            found += _read(upstream) or b""
            return len(found) >= len(much)

        self.reactor.run_until(enough)
        self.assertTrue(found == much)

    def test_untouched(self) -> None:
        listening = self.upstream("rest")
        self.start()
        for opening in (client_hello(b"other.example.org"), client_hello(b"passed.example.org"), b"GET / HT"):
            client = self.client()
            client.send(opening)
            upstream = self.accept_soon(listening)
            self.assertEqual(self.read(upstream, len(opening)), opening)

    def test_hello_in_pieces(self) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        far = self.far()
        hello, far.unsent = far.unsent, b""
        far.sock.send(hello[:50])
        self.reactor.settle()
        far.sock.send(hello[50:])
        self.shake(far, b"hello")
        self.assertEqual(self.read(self.accept_soon(listening), 5), b"hello")

    def test_end_of_the_handshake_in_pieces(self) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        far = self.far()
        far.push()
        self.reactor.run_until(lambda: far.peer.hear(_read(far.sock) or b"") or _is_done(far.peer))
        finished = far.peer.said() + (far.peer.say(b"hello") if not self.version else b"")
        for octet in finished:
            far.sock.send(bytes((octet,)))
            self.reactor.settle()
        if self.version:
            self.shake(far, b"hello")
        self.assertEqual(self.read(self.accept_soon(listening), 5), b"hello")

    def test_not_a_handshake(self) -> None:
        self.upstream("shop")
        self.start()
        far = self.far()
        far.push()
        self.reactor.settle()
        far.sock.send(b"GET / HTTP/1.0\r\n\r\n")
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.outcomes, [errors.OUTCOME_NEGOTIATION_FAILED])
        self.assertIn("TLS handshake", self.records[0].detail)

    def test_gone_in_the_handshake(self) -> None:
        self.upstream("shop")
        self.start()
        far = self.far()
        far.push()
        self.reactor.settle()
        far.sock.close()
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.outcomes, [errors.OUTCOME_CLIENT_GONE])

    def test_stalled_handshake(self) -> None:
        self.upstream("shop")
        self.start()
        far = self.far()
        far.push()
        self.pass_time(NEGOTIATION + 0.5)
        self.assertEqual(self.outcomes, [errors.OUTCOME_NEGOTIATION_FAILED])

    def test_closed_in_the_handshake(self) -> None:
        self.upstream("shop")
        self.start()
        far = self.far()
        far.push()
        self.reactor.settle()
        (arrival,) = self.multiplexer.courses.values()
        arrival.close(errors.OUTCOME_KILLED)
        self.reactor.settle()
        self.assertEqual(self.outcomes, [errors.OUTCOME_KILLED])

    def test_silent_from_the_beginning(self) -> None:
        listening = self.upstream("rest")
        self.start()
        client = self.client()
        self.pass_time(DETECT + 0.5)
        self.accept_soon(listening).send(b"welcome")
        self.assertEqual(self.read(client, 7), b"welcome")

    def test_nobody_listens_upstream(self) -> None:
        """The general way tries, and tells."""
        self.upstream("shop", {"sni": "shop.example.org"}).close()
        self.start()
        far = self.far()
        self.shake(far, b"hello")
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.outcomes, [errors.OUTCOME_CONNECT_FAILED])

    def test_chains_that_do_more(self) -> None:
        """Whatever else negotiates needs the general way."""
        other = FakeNegotiator(lambda connection: None)
        for chain in ([other], [*self.services.negotiators, other], [socket_negotiator], [TLSNegotiator()]):
            services = self.services.with_negotiators(chain)
            self.assertIsNone(
                make_lane(services, self.path, 32768, lambda *_: None, lambda *_: None, lambda *_: None)
            )


class TLS12LaneTests(LaneTests):
    version = SSL.TLS1_2_VERSION


class PublicSealingTests(LaneTests):
    """The same by pyOpenSSL's public calls alone."""

    is_public = True


class RequiringLaneTests(LaneTests):
    requires = True

    def test_untouched(self) -> None:
        """Plaintext is refused."""
        self.upstream("rest")
        self.start()
        self.client().send(b"GET / HTTP/1.0")
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.outcomes, [errors.OUTCOME_NEGOTIATION_FAILED])

    def test_silent_from_the_beginning(self) -> None:
        """So is silence."""
        self.upstream("rest")
        self.start()
        self.client()
        self.pass_time(DETECT + 0.5)
        self.assertEqual(self.outcomes, [errors.OUTCOME_NEGOTIATION_FAILED])


def _read(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None


def _is_done(peer: Peer) -> bool:
    """Whether the client has said its last of the handshake."""
    try:
        peer.connection.do_handshake()
    except SSL.WantReadError:
        return peer.connection.get_state_string() == b"SSLv3/TLS write finished"
    return True
