"""Listeners that come and go, connections from end to end, and a drain that ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from pmmux import errors
from pmmux.backends.passthrough import protocol as pass_protocol
from pmmux.config.settings import ListenerSpec
from pmmux.course_services import CourseServices, CourseSettings
from pmmux.errors import ListenError
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import IListener, IMultiplexer
from pmmux.matching import compile_condition
from pmmux.model import Address, SectionValues
from pmmux.multiplexer import Multiplexer
from pmmux.negotiators.socket import negotiator as socket_negotiator
from pmmux.router import Router
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.data_path_case import DataPathCase
from pmmux.test.doubles import FakeProtocolBackend, FakeReporter, make_services, run_now
from pmmux.test.doubles import make_spec as make_backend_spec
from pmmux.test.rules import BROKEN_HELLO, HELLO, PROBE_NAMES, PROBES
from pmmux.test.stream_doubles import HalfCloseableProtocol
from pmmux.transport.accepting import ConnectionLimit
from pmmux.transport.connecting import Connector
from pmmux.transport.relaying import RelayLimits

DETECT, SELECTION = 3.0, 5.0


def make_spec(
    name: str = "front", *binds: str, port: int | None = None, unix_path: str | None = None
) -> ListenerSpec:
    """A listener's specification."""
    options = SectionValues("listener", name)
    if unix_path is None:
        binds = binds or ("127.0.0.1",)
    return ListenerSpec(name, "tcp", binds, unix_path, port, None, True, options)


class MultiplexerCase(DataPathCase):
    maximum = 100

    def setUp(self) -> None:
        super().setUp()
        self.outcomes: list[str] = []
        self.records: list[Any] = []
        self.limit = ConnectionLimit(self.maximum)
        self.router = Router(FirstAvailable(), FakeReporter())
        self.multiplexer = Multiplexer(self.reactor, self.path, self.limit, 32768, 16, self._log_finished)
        services = CourseServices(
            self.reactor,
            self.router,
            self.path,
            [socket_negotiator],
            ProbeCatalogue(PROBES),
            CourseSettings(4.0, DETECT, SELECTION, 2, RelayLimits(60.0, 10.0)),
            FakeReporter(),
            self.multiplexer.taken_up,
            self.multiplexer.finished,
        )
        self.multiplexer.use(services, self.is_fast)

    def tearDown(self) -> None:
        for each in self.sockets:
            each.close()
        self.sockets.clear()
        stopped = Deferred.fromCoroutine(self.multiplexer.stop(0))
        self.reactor.advance(0)
        self.reactor.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.limit.open, 0, "the limit was not given back")
        super().tearDown()

    def _log_finished(self, course: Any, outcome: str) -> None:
        self.outcomes.append(outcome)
        self.records.append(course.record(outcome))

    def upstream(self, name: str, rule: Mapping[str, str] | None = None) -> socket.socket:
        """A backend that connects to a listening socket. @return: that."""
        listening, where = self.listen()
        spec = make_backend_spec(name, pass_protocol, {"target": str(where), **(rule or {})}, PROBE_NAMES)
        services = make_services(self.reactor, self.path, Connector(self.reactor, self.path))
        run_now(self.router.add(pass_protocol.create(spec, compile_condition(spec.options), services)))
        return listening

    def start(self, *specs: ListenerSpec) -> None:
        self.assertEqual(self.multiplexer.open(specs or (make_spec(),)), [])
        self.multiplexer.start()

    def client(self, place: int = 0) -> socket.socket:
        address = self.multiplexer.listeners()[place].addresses()[0]
        if address.family == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.connect(address.host)
        else:
            client = socket.create_connection((address.host, address.port))
        client.setblocking(False)
        self.sockets.append(client)
        return client

    def pass_time(self, seconds: float) -> None:
        self.reactor.settle()
        for _ in range(int(seconds * 4)):
            self.reactor.advance(0.25)
        self.reactor.settle()

    def accept_soon(self, listening: socket.socket) -> socket.socket:
        self.reactor.settle()
        return self.accept(listening)


class ConnectionTests:
    """From end to end; for each data path."""

    def test_routed(self: Any) -> None:
        listening = self.upstream("web")
        self.start()
        client = self.client()
        client.send(b"hello")
        upstream = self.accept_soon(listening)
        upstream.send(b"answer")
        self.assertEqual(self.read(upstream, 5), b"hello")
        self.assertEqual(self.read(client, 6), b"answer")
        self.assertEqual(len(self.multiplexer.courses), 1)
        reporter = self.multiplexer.course_services.reporter
        self.assertEqual(reporter.duration("backend.connect.duration", backend="web").read().count, 1)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])
        (record,) = self.records
        self.assertEqual(
            (record.listener, record.backend, record.octets_from_client, record.octets_from_upstream),
            ("front", "web", 5, 6),
        )
        self.assertEqual(self.router.member("web").routed, 1)
        self.assertEqual(self.router.member("web").active, 0)

    def test_by_name_in_pieces(self: Any) -> None:
        listening = self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        client = self.client()
        for at in range(0, len(HELLO), 40):
            client.send(HELLO[at : at + 40])
            self.reactor.settle()
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, len(HELLO)), HELLO)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual((self.records[0].protocol, self.records[0].sni), ("tls", "shop.example.org"))

    def test_by_name_at_once(self: Any) -> None:
        self.upstream("blog", {"sni": "blog.example.org"})
        self.upstream("away", {"sni": "shop.example.org"})
        listening = self.upstream("shop", {"sni": "*.example.org"})
        self.router.disable("away")
        self.start()
        client = self.client()
        client.send(HELLO)
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, len(HELLO)), HELLO)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)
        (record,) = self.records
        self.assertEqual(
            (record.backend, record.protocol, record.sni, record.octets_from_client, record.client),
            ("shop", "tls", "shop.example.org", len(HELLO), record.client),
        )

    def test_by_name_among_others(self: Any) -> None:
        """Where the name alone does not tell, what has been read of the hello is gone on with."""
        self.upstream("blog", {"sni": "blog.example.org"})
        self.upstream("ssh", {"detect": "ssh"})
        listening = self.upstream("shop", {"sni": "shop.example.org", "detect": "tls"})
        self.start()
        self.client().send(HELLO)
        self.assertEqual(self.read(self.accept_soon(listening), len(HELLO)), HELLO)

    def test_by_name_to_an_upstream_that_is_gone(self: Any) -> None:
        self.upstream("shop", {"sni": "shop.example.org"}).close()
        self.start()
        client = self.client()
        client.send(HELLO)
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(
            (self.outcomes, self.records[0].sni), ([errors.OUTCOME_CONNECT_FAILED], "shop.example.org")
        )

    def test_broken_hello_is_nobodys(self: Any) -> None:
        """A name that could be read does not make up for the rest."""
        self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        at = HELLO.index(b"shop.example.org") + len(b"shop.example.org")
        self.client().send(HELLO[: at + 2] + b"\xff\xff" + HELLO[at + 4 :])
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.outcomes, [errors.OUTCOME_MALFORMED])

    def test_waits_for_the_first_octet(self: Any) -> None:
        listening = self.upstream("ssh", {"detect": "ssh"})
        self.start()
        client = self.client()
        self.reactor.settle()
        self.assertEqual(len(self.multiplexer.courses), 1)
        client.send(b"SSH-2.0-x\r\n")
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 11), b"SSH-2.0-x\r\n")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_silence_decides(self: Any) -> None:
        self.upstream("ssh", {"detect": "ssh"})
        listening = self.upstream("mysql")
        self.start()
        client = self.client()
        self.pass_time(DETECT - 0.25)
        self.assertRaises(BlockingIOError, self.try_accept, listening)
        self.pass_time(0.25)
        upstream = self.accept_soon(listening)
        upstream.send(b"welcome")
        self.assertEqual(self.read(client, 7), b"welcome")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)

    def test_one_octet_does_not_begin_the_time_anew(self: Any) -> None:
        self.upstream("ssh", {"detect": "ssh"})
        listening = self.upstream("rest")
        self.start()
        client = self.client()
        self.pass_time(DETECT - 1)
        client.send(b"S")
        self.pass_time(1.0)
        upstream = self.accept_soon(listening)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)

    def try_accept(self: Any, listening: socket.socket) -> None:
        listening.setblocking(False)
        try:
            listening.accept()
        finally:
            listening.setblocking(True)

    def test_answered(self: Any) -> None:
        backend = FakeProtocolBackend("answer", make=HalfCloseableProtocol)
        run_now(self.router.add(backend))
        self.start()
        client = self.client()
        client.send(b"hello")
        self.reactor.run_until(lambda: backend.built and backend.built[0].received == b"hello")
        backend.built[0].transport.write(b"answer")
        backend.built[0].transport.loseConnection()
        self.assertEqual(self.read(client, 6), b"answer")
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_refused(self: Any) -> None:
        self.upstream("shop", {"sni": "shop.example.org"})
        self.start()
        for said, outcome in (
            (b"GET / HTTP/1.1\r\n\r\n", errors.OUTCOME_NO_BACKEND),
            (BROKEN_HELLO, errors.OUTCOME_MALFORMED),
        ):
            self.outcomes.clear()
            client = self.client()
            client.send(said)
            self.reactor.run_until(lambda: self.outcomes)
            self.assertEqual(self.outcomes, [outcome])

    def test_gone_before_it_said_anything(self: Any) -> None:
        self.upstream("ssh", {"detect": "ssh"})
        self.start()
        for is_reset in (False, True):
            for settles in (False, True):
                self.outcomes.clear()
                client = self.client()
                if settles:
                    self.reactor.settle()
                if is_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                client.close()
                self.reactor.settle()
                if is_reset and not settles and not self.outcomes:
                    # The system may have forgotten it before it was accepted.
                    continue
                self.assertEqual(self.outcomes, [errors.OUTCOME_CLIENT_GONE], (is_reset, settles))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_upstream_refuses(self: Any) -> None:
        self.upstream("a").close()
        listening = self.upstream("b")
        self.start()
        client = self.client()
        client.send(b"hello")
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 5), b"hello")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CLOSED])

    def test_no_upstream_answers(self: Any) -> None:
        self.upstream("a").close()
        self.start()
        self.client().send(b"hello")
        self.reactor.run_until(lambda: self.outcomes == [errors.OUTCOME_CONNECT_FAILED])

    def test_unix_socket(self: Any) -> None:
        listening = self.upstream("web")
        self.start(make_spec(unix_path=self.mktemp()))
        client = self.client()
        client.send(b"hello")
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 5), b"hello")
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)
        self.assertEqual(self.records[0].client, "unix:")

    def test_addresses_are_known_to_the_end(self: Any) -> None:
        """Also on all addresses, where the local one is asked of the socket."""
        self.upstream("ssh", {"detect": "ssh", "local-ip": "127.0.0.1"})
        backend = FakeProtocolBackend("answer", make=HalfCloseableProtocol)
        run_now(self.router.add(backend))
        self.start(make_spec("front", "0.0.0.0"))
        client = self.client()
        client.send(b"SS")
        self.reactor.settle()
        (course,) = self.multiplexer.courses.values()
        self.pass_time(DETECT)
        port = self.multiplexer.listeners()[0].addresses()[0].port
        self.assertEqual(course.connection.client.local, Address("127.0.0.1", port))
        self.assertEqual(course.connection.properties["socket.local-port"], str(port))
        client.close()

    def test_drain_waits_for_connections(self: Any) -> None:
        listening = self.upstream("web")
        self.start()
        client = self.client()
        client.send(b"x")
        upstream = self.accept_soon(listening)
        self.read(upstream, 1)
        stopped = Deferred.fromCoroutine(self.multiplexer.stop(10.0))
        self.assertEqual(self.multiplexer.listeners(), ())
        self.pass_time(5)
        self.assertNoResult(stopped)
        client.close()
        upstream.close()
        self.reactor.run_until(lambda: stopped.called)
        self.assertEqual(self.outcomes, [errors.OUTCOME_CLOSED])

    def test_drain_ends(self: Any) -> None:
        """Whatever each connection is doing."""
        listening = self.upstream("ssh", {"detect": "ssh"})
        self.upstream("rest")
        self.start()
        said = (b"SSH-2.0-x\r\n", b"S", b"")
        for each in said:
            self.client().send(each)
        self.reactor.settle()
        self.accept_soon(listening)
        for hurries in (True, False):
            if hurries:
                stopped = Deferred.fromCoroutine(self.multiplexer.stop(1.0))
                self.reactor.advance(0.5)
                self.assertNoResult(stopped)
        self.pass_time(1)
        self.successResultOf(stopped)
        self.assertEqual(self.outcomes, [errors.OUTCOME_DRAIN_TIMEOUT] * len(said))

    def test_drain_hurries(self: Any) -> None:
        self.upstream("ssh", {"detect": "ssh"})
        self.start()
        self.client().send(b"S")
        self.reactor.settle()
        stopped = Deferred.fromCoroutine(self.multiplexer.stop(10.0))
        self.assertNoResult(stopped)
        self.successResultOf(Deferred.fromCoroutine(self.multiplexer.stop(0)))
        self.reactor.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.outcomes, [errors.OUTCOME_DRAIN_TIMEOUT])


class FastConnectionTests(ConnectionTests, MultiplexerCase):
    """L{ConnectionTests} on the fast path, by the express lane where it goes."""


class PortableConnectionTests(ConnectionTests, MultiplexerCase):
    """The same on Twisted's transports."""

    is_fast = False


class LimitTests(MultiplexerCase):
    maximum = 1

    def test_next_client_waits(self) -> None:
        listening = self.upstream("web")
        self.start()
        first, second = self.client(), self.client()
        first.send(b"first")
        second.send(b"second")
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 5), b"first")
        self.assertRaises(BlockingIOError, self.nobody, listening)
        first.close()
        upstream.close()
        self.reactor.run_until(lambda: self.outcomes)
        upstream = self.accept_soon(listening)
        self.assertEqual(self.read(upstream, 6), b"second")

    def nobody(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        listening.accept()


class ListenerTests(MultiplexerCase):
    def test_provides(self) -> None:
        self.start()
        verifyObject(IMultiplexer, self.multiplexer)
        verifyObject(IListener, self.multiplexer.listeners()[0])

    def test_all_or_none(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(taken)
        port = taken.getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))
        faults = self.multiplexer.open(
            [make_spec("a"), make_spec("b", port=port), make_spec("c"), make_spec("d", port=port)]
        )
        self.assertEqual([fault.listener for fault in faults], ["b", "d"])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(self.multiplexer.listeners(), ())

    def test_nobody_is_accepted_before_the_start(self) -> None:
        self.multiplexer.open([make_spec()])
        self.client()
        self.reactor.settle()
        self.assertEqual(self.limit.open, 0)
        self.multiplexer.start()
        self.reactor.settle()
        self.assertEqual(self.outcomes, [errors.OUTCOME_NO_BACKEND])

    def test_added_and_removed(self) -> None:
        self.start()
        self.multiplexer.add_listener(make_spec("more"))
        self.assertEqual([each.spec.name for each in self.multiplexer.listeners()], ["front", "more"])
        self.client(1)
        self.reactor.settle()
        self.assertEqual(self.outcomes, [errors.OUTCOME_NO_BACKEND])
        self.multiplexer.remove_listener("more")
        self.assertEqual([each.spec.name for each in self.multiplexer.listeners()], ["front"])
        self.assertRaises(KeyError, self.multiplexer.remove_listener, "more")

    def test_names_are_unique(self) -> None:
        self.start()
        self.assertRaises(ListenError, self.multiplexer.add_listener, make_spec())

    def test_connections_outlive_their_listener(self) -> None:
        listening = self.upstream("web")
        self.start()
        client = self.client()
        client.send(b"x")
        upstream = self.accept_soon(listening)
        self.multiplexer.remove_listener("front")
        client.send(b"y")
        self.assertEqual(self.read(upstream, 2), b"xy")

    def test_stop_without_connections(self) -> None:
        self.start()
        self.successResultOf(Deferred.fromCoroutine(self.multiplexer.stop(10.0)))
