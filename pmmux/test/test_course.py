"""A connection's course: each outcome, with every timer gone at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux import errors
from pmmux.connection import Connection
from pmmux.course import Course
from pmmux.course_services import CourseServices, CourseSettings
from pmmux.errors import RouteError, UpstreamError
from pmmux.inspection import ProbeCatalogue
from pmmux.model import NO_MATCH, Verdict, need
from pmmux.negotiators.socket import negotiator as socket_negotiator
from pmmux.probes.probe import Probe
from pmmux.router import Router
from pmmux.session import Session
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.doubles import (
    FakeBackend,
    FakeDataPath,
    FakeNegotiator,
    FakeProtocolBackend,
    FakeReporter,
    make_client,
    make_condition,
    make_stream,
    run_now,
)
from pmmux.test.rules import BROKEN_HELLO, HELLO, PROBE_NAMES, PROBES
from pmmux.test.stream_doubles import ClientTransport, HalfCloseableProtocol, RecordingProtocol
from pmmux.transport.relaying import RelayLimits

NEGOTIATION, DETECT, SELECTION, IDLE = 4.0, 3.0, 5.0, 60.0
BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"


class CourseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.data_path = FakeDataPath()
        self.reporter = FakeReporter()
        self.router = Router(FirstAvailable(), self.reporter)
        self.outcomes: list[str] = []
        self.sessions: list[Session] = []
        self.finished: list[Any] = []
        self.probes: Sequence[Any] = PROBES

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left")

    def add(self, backend: Any) -> Any:
        run_now(self.router.add(backend))
        return backend

    def backend(self, name: str, rule: Mapping[str, str] | None = None) -> FakeBackend:
        backend: FakeBackend = self.add(FakeBackend(name, make_condition(rule or {}, PROBE_NAMES)))
        return backend

    def answering(self, make: Callable[[], Any] = HalfCloseableProtocol) -> FakeProtocolBackend:
        backend: FakeProtocolBackend = self.add(FakeProtocolBackend("answer", make=make))
        return backend

    def start(
        self, *chunks: bytes, negotiators: Sequence[Any] = (), retries: int = 2, detect: float = DETECT
    ) -> Course:
        """Begin the course of a client that has said C{chunks}; C{b""} is the end of its data."""
        self.services = CourseServices(
            self.clock,
            self.router,
            self.data_path,
            negotiators,
            ProbeCatalogue(self.probes),
            CourseSettings(NEGOTIATION, detect, SELECTION, retries, RelayLimits(IDLE, 10.0)),
            self.reporter,
            self.sessions.append,
            self._finished,
        )
        stream = make_stream(self.clock)
        self.transport: ClientTransport = stream.transport
        self.transport.deliver(*chunks)
        self.connection = Connection(7, "front", make_client(), stream, self.clock.seconds())
        course = Course(self.services, self.connection)
        course.start()
        return course

    def _finished(self, course: Any, outcome: str) -> None:
        self.finished.append(course)
        self.outcomes.append(outcome)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)

    def expect(self, outcome: str, course: Course) -> None:
        """It has ended, so that everybody knows, and once."""
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [outcome])
        self.assertEqual(course.connection.trace.outcome, outcome)
        self.assertFalse(self.transport.connected)
        self.assertEqual(course.record(outcome).outcome, outcome)
        refused = outcome in (
            errors.OUTCOME_NEGOTIATION_FAILED,
            errors.OUTCOME_NO_BACKEND,
            errors.OUTCOME_SELECTION_TIMEOUT,
            errors.OUTCOME_MALFORMED,
            errors.OUTCOME_CLIENT_GONE,
            errors.OUTCOME_CONNECT_FAILED,
            errors.OUTCOME_INTERNAL_ERROR,
        )
        self.assertEqual(self.reporter.total("router.connection.total"), 1)
        if refused:
            self.assertEqual(self.reporter.total("router.connection.failed"), 1)
        self.assertTrue(all(member.active == 0 for member in self.router.members()))


class RoutedTests(CourseCase):
    def relayed(self, backend: FakeBackend) -> Any:
        upstream = make_stream(self.clock)
        backend.connecting[-1].callback(upstream)
        (relay,) = self.data_path.relays
        self.assertIs(relay.upstream, upstream)
        return relay

    def test_relayed(self) -> None:
        backend = self.backend("web")
        course = self.start(b"hello")
        self.assertFalse(self.transport.is_reading)
        self.clock.advance(0.5)
        relay = self.relayed(backend)
        self.assertIs(relay.client, self.connection.stream)
        self.assertEqual(relay.limits.idle_seconds, IDLE)
        (session,) = self.sessions
        self.assertIs(session.relay, relay)
        self.assertEqual(
            (session.identifier, session.listener, session.upstream, session.member.name),
            (7, "front", "192.0.2.1:80", "web"),
        )
        trace = course.connection.trace
        self.assertEqual((trace.outcome, trace.chosen), ("routed", "web"))
        self.assertEqual([(a.backend, a.seconds, a.error) for a in trace.attempts], [("web", 0.5, "")])
        self.assertEqual(self.router.member("web").active, 1)
        connected = self.reporter.duration("backend.connect.duration", backend="web").read()
        self.assertEqual((connected.count, connected.sum_seconds), (1, 0.5))
        self.clock.advance(0.25)
        relay.owner.hear_upstream()
        self.assertEqual(self.router.member("web").first_octet.read().sum_seconds, 0.25)
        relay.octets_from_client, relay.octets_from_upstream = 5, 9
        relay.owner.finish(errors.OUTCOME_CLOSED)
        self.assertEqual((self.outcomes, self.finished), ([errors.OUTCOME_CLOSED], [session]))
        self.assertEqual(self.router.member("web").active, 0)
        record = session.record(errors.OUTCOME_CLOSED)
        self.assertEqual(
            (record.backend, record.octets_from_client, record.octets_from_upstream), ("web", 5, 9)
        )

    def test_what_was_found_goes_along(self) -> None:
        backend = self.backend("shop", {"sni": "shop.example.org"})
        self.start(HELLO)
        self.relayed(backend)
        self.assertEqual(
            (self.sessions[0].detected, self.sessions[0].server_name), ("tls", "shop.example.org")
        )

    def test_octets_in_pieces(self) -> None:
        backend = self.backend("shop", {"sni": "shop.example.org"})
        self.start()
        for at in range(0, len(HELLO), 10):
            self.assertEqual(backend.connecting, [])
            self.transport.deliver(HELLO[at : at + 10])
        self.relayed(backend)

    def test_closed_while_relayed(self) -> None:
        backend = self.backend("web")
        self.start(b"x")
        self.relayed(backend)
        self.sessions[0].close(errors.OUTCOME_KILLED)
        self.assertEqual(self.outcomes, [errors.OUTCOME_KILLED])

    def test_annotators_are_asked(self) -> None:
        self.backend("web", {"property[socket.listener]": "front"})
        self.start(b"x", negotiators=[socket_negotiator])
        self.assertEqual(len(self.router.member("web").backend.connecting), 1)
        self.relayed(self.router.member("web").backend)


class SilenceTests(CourseCase):
    def test_server_speaks_first(self) -> None:
        backend = self.backend("mysql")
        self.start()
        self.assertEqual(len(backend.connecting), 1)
        backend.connecting[0].callback(make_stream(self.clock))

    def test_silence_decides_after_the_detect_timeout(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        backend = self.backend("mysql")
        self.start()
        self.pass_time(DETECT - 0.25)
        self.assertEqual(backend.connecting, [])
        self.clock.advance(0.25)
        self.assertEqual(len(backend.connecting), 1)
        backend.connecting[0].callback(make_stream(self.clock))

    def test_undecided_octets_then_silence(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        backend = self.backend("rest")
        self.start(b"SS")
        self.pass_time(DETECT - 0.25)
        self.assertEqual(backend.connecting, [])
        self.clock.advance(0.25)
        self.assertEqual(len(backend.connecting), 1)
        backend.connecting[0].callback(make_stream(self.clock))

    def test_one_octet_does_not_begin_the_time_anew(self) -> None:
        """What is left of the time for the first octet is the time for the rest."""
        self.backend("ssh", {"detect": "ssh"})
        backend = self.backend("rest")
        self.start()
        self.pass_time(DETECT - 1)
        self.transport.deliver(b"S")
        self.pass_time(1)
        self.assertEqual(len(backend.connecting), 1)
        backend.connecting[0].callback(make_stream(self.clock))

    def test_nobody_for_the_silent(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        course = self.start()
        self.pass_time(DETECT)
        self.expect(errors.OUTCOME_NO_BACKEND, course)

    def test_selection_timeout_before_the_detect_timeout(self) -> None:
        for chunks in ((), (b"SS",)):
            self.setUp()
            self.backend("ssh", {"detect": "ssh"})
            course = self.start(*chunks, detect=2 * SELECTION)
            self.pass_time(SELECTION)
            self.expect(errors.OUTCOME_SELECTION_TIMEOUT, course)

    def test_first_octet_where_silence_does_not_decide(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(detect=2 * SELECTION)
        self.pass_time(SELECTION - 1)
        self.transport.deliver(b"S")
        self.pass_time(SELECTION - 1)
        self.transport.deliver(b"X")
        self.expect(errors.OUTCOME_NO_BACKEND, course)

    def test_closed_before_the_first_octet_where_silence_does_not_decide(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(detect=2 * SELECTION)
        course.close(errors.OUTCOME_KILLED)
        self.expect(errors.OUTCOME_KILLED, course)

    def test_waited_for_elsewhere(self) -> None:
        """The same goes for the time that somebody else has waited for the first octet."""
        self.backend("ssh", {"detect": "ssh"})
        for detect in (DETECT, 2 * SELECTION):
            for chunks in ((b"S",), ()):
                self.outcomes.clear()
                self.start(b"x", detect=detect)
                self.clock.advance(0)
                timeout = self.services.first_octet_timeouts.add(lambda: None)
                self.pass_time(2)
                stream = make_stream(self.clock)
                stream.transport.deliver(*chunks)
                course = Course(self.services, Connection(8, "front", make_client(), stream, 0.0))
                course.start(timeout)
                self.pass_time(min(detect, SELECTION) - 2.25)
                self.assertEqual(len(self.outcomes), 1)
                self.pass_time(0.25 if detect == DETECT else SELECTION)
                self.assertEqual(len(self.outcomes), 2)
                self.assertEqual(self.clock.getDelayedCalls(), [])


class RefusedTests(CourseCase):
    def test_no_backend(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        self.expect(errors.OUTCOME_NO_BACKEND, self.start(b"GET / HTTP/1.1\r\n\r\n"))

    def test_malformed(self) -> None:
        self.backend("shop", {"sni": "shop.example.org"})
        self.backend("rest")
        course = self.start(BROKEN_HELLO)
        self.expect(errors.OUTCOME_MALFORMED, course)
        self.assertIn("session id", course.connection.trace.detail)

    def test_selection_timeout(self) -> None:
        """A strategy that takes its time is bounded; what it waits for is cancelled."""
        cancelled: list[Any] = []

        class Slow(FirstAvailable):
            async def choose(self, client: Any, properties: Any, candidates: Any) -> Any:
                await Deferred(cancelled.append)

        self.router = Router(Slow(), self.reporter)
        course = self.start(b"x")
        self.pass_time(SELECTION - 0.25)
        self.assertEqual(cancelled, [])
        self.clock.advance(0.25)
        self.assertEqual(len(cancelled), 1)
        self.expect(errors.OUTCOME_SELECTION_TIMEOUT, course)

    def test_silent_and_gone(self) -> None:
        for leave in ("end", "lose"):
            self.setUp()
            self.backend("ssh", {"detect": "ssh"})
            course = self.start()
            getattr(self.transport, leave)()
            self.expect(errors.OUTCOME_CLIENT_GONE, course)

    def test_gone_in_the_middle(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"SS")
        self.transport.lose()
        self.expect(errors.OUTCOME_CLIENT_GONE, course)

    def test_gone_where_it_would_have_been_taken(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        backend = self.backend("rest")
        course = self.start(b"SS")
        self.transport.lose()
        self.expect(errors.OUTCOME_CLIENT_GONE, course)
        self.assertEqual(backend.connecting, [])

    def test_a_bug(self) -> None:
        def fail(octets: bytes) -> Verdict:
            raise ZeroDivisionError("expected by the test")

        self.probes = [Probe("ssh", "tcp", fail)]
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"x")
        self.expect(errors.OUTCOME_INTERNAL_ERROR, course)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_probe_that_never_decides(self) -> None:
        self.probes = [
            Probe("ssh", "tcp", lambda octets: need(len(octets) + 1)),
            Probe("x", "tcp", lambda _: NO_MATCH),
        ]
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"x")
        for _ in range(6):
            self.transport.deliver(b"x")
            self.clock.advance(DETECT / 6)
        self.expect(errors.OUTCOME_NO_BACKEND, course)


class ConnectTests(CourseCase):
    def refuse(self, backend: FakeBackend, why: str = "connection refused") -> None:
        backend.connecting[-1].errback(UpstreamError(backend.target, why))

    def test_another_is_tried(self) -> None:
        first, second = self.backend("a"), self.backend("b")
        course = self.start(b"x")
        self.refuse(first)
        upstream = make_stream(self.clock)
        second.connecting[0].callback(upstream)
        self.assertEqual(self.sessions[0].member.name, "b")
        attempts = course.connection.trace.attempts
        self.assertEqual([(a.backend, bool(a.error)) for a in attempts], [("a", True), ("b", False)])
        self.assertEqual(self.router.member("a").routed, 0)

    def test_no_other_is_left(self) -> None:
        first, second = self.backend("a"), self.backend("b")
        course = self.start(b"x")
        self.refuse(first)
        self.refuse(second, "no route")
        self.expect(errors.OUTCOME_CONNECT_FAILED, course)
        self.assertEqual(course.connection.trace.detail, "192.0.2.1:80: no route")

    def test_retries_are_bounded(self) -> None:
        backends = [self.backend(name) for name in "abcd"]
        course = self.start(b"x", retries=2)
        for backend in backends[:3]:
            self.refuse(backend)
        self.expect(errors.OUTCOME_CONNECT_FAILED, course)
        self.assertEqual(backends[3].connecting, [])

    def test_no_retries(self) -> None:
        first, second = self.backend("a"), self.backend("b")
        course = self.start(b"x", retries=0)
        self.refuse(first)
        self.expect(errors.OUTCOME_CONNECT_FAILED, course)
        self.assertEqual(second.connecting, [])

    def test_an_undecided_one_may_be_next(self) -> None:
        first = self.backend("a", {"preview": "hex:5353"})
        second = self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"SS")
        self.refuse(first)
        self.assertEqual(second.connecting, [])
        self.connection.stream.resume()
        self.transport.deliver(BANNER[2:])
        self.assertEqual(len(second.connecting), 1)
        second.connecting[0].callback(make_stream(self.clock))
        self.assertEqual(course.connection.trace.outcome, "routed")

    def test_reads_on_where_an_undecided_one_is_next(self) -> None:
        first = self.backend("a", {"preview": "hex:5353"})
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"SS")
        self.refuse(first)
        self.assertTrue(self.transport.is_reading)
        self.transport.end()
        self.expect(errors.OUTCOME_CONNECT_FAILED, course)

    def test_connecting_has_no_bound_but_its_own(self) -> None:
        backend = self.backend("a")
        self.start(b"x")
        self.pass_time(SELECTION + NEGOTIATION)
        self.assertEqual(self.outcomes, [])
        backend.connecting[0].callback(make_stream(self.clock))

    def test_client_gone_while_connecting(self) -> None:
        backend = self.backend("a")
        course = self.start(b"x")
        self.transport.lose()
        self.refuse(backend)
        self.expect(errors.OUTCOME_CONNECT_FAILED, course)

    def test_killed_while_connecting(self) -> None:
        backend = self.backend("a")
        course = self.start(b"x")
        course.close(errors.OUTCOME_DRAIN_TIMEOUT)
        self.assertEqual(backend.cancelled, 1)
        self.expect(errors.OUTCOME_DRAIN_TIMEOUT, course)


class AnsweredTests(CourseCase):
    def test_answered(self) -> None:
        backend = self.answering()
        course = self.start(b"hello")
        (protocol,) = backend.built
        protocol.transport.write(b"answer")
        self.assertEqual(protocol.told, ["made", ("data", b"hello")])
        self.assertEqual((course.octets_from_client, course.octets_from_upstream), (5, 6))
        self.assertEqual(course.connection.trace.outcome, "routed")
        protocol.transport.loseConnection()
        self.expect(errors.OUTCOME_CLOSED, course)
        record = course.record(errors.OUTCOME_CLOSED)
        self.assertEqual(
            (record.backend, record.octets_from_client, record.octets_from_upstream), ("answer", 5, 6)
        )

    def test_reset_by_the_client(self) -> None:
        self.answering()
        course = self.start(b"hello")
        self.transport.lose(ConnectionLost())
        self.expect(errors.OUTCOME_RESET_BY_CLIENT, course)

    def test_idle(self) -> None:
        self.answering()
        course = self.start(b"hello")
        for _ in range(3):
            self.pass_time(IDLE - 5)
            self.transport.deliver(b"more")
        self.assertEqual(self.outcomes, [])
        self.pass_time(IDLE * 1.5)
        self.assertTrue(self.transport.aborted)
        self.expect(errors.OUTCOME_IDLE_TIMEOUT, course)

    def test_closed(self) -> None:
        for outcome in (errors.OUTCOME_KILLED, errors.OUTCOME_DRAIN_TIMEOUT):
            self.setUp()
            self.answering()
            course = self.start(b"hello")
            course.close(outcome)
            self.expect(outcome, course)

    def test_one_that_knows_no_half_close(self) -> None:
        backend = self.answering(RecordingProtocol)
        course = self.start(b"hello", b"")
        self.expect(errors.OUTCOME_CLOSED, course)
        self.assertEqual(backend.built[0].told[1:], [("data", b"hello"), ("lost", "ConnectionDone")])

    def test_one_that_cannot_be_built(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError("expected by the test")

        self.answering(fail)
        course = self.start(b"x")
        self.expect(errors.OUTCOME_INTERNAL_ERROR, course)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ClosedTests(CourseCase):
    def test_before_the_first_octet(self) -> None:
        for outcome in (errors.OUTCOME_KILLED, errors.OUTCOME_DRAIN_TIMEOUT):
            self.setUp()
            self.backend("ssh", {"detect": "ssh"})
            course = self.start()
            course.close(outcome)
            self.transport.deliver(b"too late")
            self.expect(outcome, course)

    def test_while_undecided(self) -> None:
        for outcome in (errors.OUTCOME_KILLED, errors.OUTCOME_DRAIN_TIMEOUT):
            self.setUp()
            self.backend("ssh", {"detect": "ssh"})
            course = self.start(b"SS")
            course.close(outcome)
            self.expect(outcome, course)

    def test_twice(self) -> None:
        self.backend("ssh", {"detect": "ssh"})
        course = self.start(b"SS")
        course.close(errors.OUTCOME_KILLED)
        course.close(errors.OUTCOME_KILLED)
        self.expect(errors.OUTCOME_KILLED, course)

    def test_after_its_end(self) -> None:
        course = self.start(b"x")
        self.expect(errors.OUTCOME_NO_BACKEND, course)
        course.close(errors.OUTCOME_KILLED)
        self.assertEqual(self.outcomes, [errors.OUTCOME_NO_BACKEND])


class NegotiationTests(CourseCase):
    def test_in_order(self) -> None:
        order: list[str] = []

        def remember(name: str) -> FakeNegotiator:
            async def act(connection: Connection) -> None:
                order.append(name)
                connection.properties[f"my.{name}"] = "yes"

            return FakeNegotiator(act, name)

        backend = self.backend("web", {"property[my.b]": "yes"})
        self.start(b"x", negotiators=[remember("a"), socket_negotiator, remember("b")])
        self.assertEqual(order, ["a", "b"])
        self.assertEqual(self.connection.properties["socket.listener"], "front")
        backend.connecting[0].callback(make_stream(self.clock))

    def test_a_header_is_consumed(self) -> None:
        async def act(connection: Connection) -> None:
            while connection.preview.size < 4:
                await connection.preview.changed(4)
            connection.stream.discard(4)

        backend = self.answering()
        course = self.start(b"HE", negotiators=[FakeNegotiator(act)])
        self.assertEqual(backend.built, [])
        self.transport.deliver(b"ADrest")
        self.assertEqual(backend.built[0].received, b"rest")
        backend.built[0].transport.loseConnection()
        self.expect(errors.OUTCOME_CLOSED, course)

    def test_rejected(self) -> None:
        async def act(connection: Connection) -> None:
            raise RouteError(errors.OUTCOME_NEGOTIATION_FAILED, "not one of ours")

        self.backend("web")
        course = self.start(b"x", negotiators=[FakeNegotiator(act)])
        self.expect(errors.OUTCOME_NEGOTIATION_FAILED, course)
        self.assertEqual(course.connection.trace.detail, "not one of ours")

    def test_one_deadline_for_the_chain(self) -> None:
        cancelled: list[str] = []

        def wait(name: str) -> FakeNegotiator:
            async def act(connection: Connection) -> None:
                try:
                    await connection.preview.changed()
                except CancelledError:
                    cancelled.append(name)
                    raise

            return FakeNegotiator(act, name)

        self.backend("web")
        course = self.start(negotiators=[wait("a"), wait("b")])
        self.pass_time(NEGOTIATION - 1)
        self.transport.deliver(b"x")
        self.pass_time(0.75)
        self.assertEqual(cancelled, [])
        self.pass_time(0.25)
        self.assertEqual(cancelled, ["b"])
        self.expect(errors.OUTCOME_NEGOTIATION_FAILED, course)

    def test_its_time_is_not_that_of_the_detection(self) -> None:
        async def act(connection: Connection) -> None:
            await connection.preview.changed(2)

        self.backend("ssh", {"detect": "ssh"})
        backend = self.backend("rest")
        self.start(b"S", negotiators=[FakeNegotiator(act)])
        self.pass_time(NEGOTIATION - 1)
        self.transport.deliver(b"S")
        self.pass_time(DETECT - 0.25)
        self.assertEqual(backend.connecting, [])
        self.clock.advance(0.25)
        backend.connecting[0].callback(make_stream(self.clock))

    def test_closed_meanwhile(self) -> None:
        async def act(connection: Connection) -> None:
            await connection.preview.changed()

        course = self.start(negotiators=[FakeNegotiator(act)])
        course.close(errors.OUTCOME_KILLED)
        self.expect(errors.OUTCOME_KILLED, course)
