from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pmmux.control import connection, protocol
from pmmux.control.arguments import MAPPING, Argument
from pmmux.control.command import Command
from pmmux.control.interfaces import ICommand
from pmmux.registry import Registry
from pmmux.test.control_doubles import FakeService, Peer

TOKEN = "0123456789abcdef"


class ConnectionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = Registry()
        self.service = FakeService(self.registry)
        self.waiting: list[Deferred[Any]] = []
        self.told: list[Any] = []
        self.cancelled = 0
        self.register("say", self.say, (Argument("what"),))
        self.register("wait", self.wait)
        self.register("break", self.fail_at_once)
        self.register("change", self.say, (Argument("what"), Argument("options", MAPPING)), is_changing=True)
        self.register("stream", self.stream, is_stream=True)

    def register(self, name: str, run: Any, arguments: Any = (), **more: Any) -> None:
        self.registry.register(ICommand, Command(name, "It.", run, arguments, **more), name)

    async def say(self, service: Any, arguments: Any, tell: Any) -> Any:
        return arguments["what"]

    async def wait(self, service: Any, arguments: Any, tell: Any) -> Any:
        waiting: Deferred[Any] = Deferred(self.count)
        self.waiting.append(waiting)
        return await waiting

    async def fail_at_once(self, service: Any, arguments: Any, tell: Any) -> Any:
        raise ZeroDivisionError("secret")

    async def stream(self, service: Any, arguments: Any, tell: Any) -> Any:
        self.told.append(tell)
        await Deferred(self.count)

    def count(self, _: Any) -> None:
        self.cancelled += 1

    def make_peer(self, token: str | None = None) -> Peer:
        peer = Peer(self.service, token)
        self.addCleanup(self.end, peer)
        return peer

    def end(self, peer: Peer) -> None:
        peer.transport.lose()
        self.service.clock.advance(0)
        self.assertEqual(peer.finished, [peer.connection])
        self.assertEqual([call for call in self.service.clock.getDelayedCalls() if call.active()], [])


class RequestTests(ConnectionCase):
    def test_answer(self) -> None:
        peer = self.make_peer()
        peer.ask("say", what="hello")
        self.assertEqual(peer.heard(), [{"id": 1, "result": "hello"}])

    def test_any_split(self) -> None:
        peer = self.make_peer()
        for octet in b'{"version":1,"id":1,"command":"say","arguments":{"what":"x"}}\r\n\n':
            peer.say(bytes([octet]))
        self.assertEqual(peer.heard(), [{"id": 1, "result": "x"}])

    def test_junk_is_answered_and_forgotten(self) -> None:
        peer = self.make_peer()
        peer.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x00\xff\n")
        answers = peer.heard()
        self.assertEqual({answer["error"]["code"] for answer in answers}, {protocol.BAD_REQUEST})
        peer.ask("say", what="still there")
        self.assertEqual(peer.heard()[0]["result"], "still there")

    def test_a_huge_line_ends_it(self) -> None:
        peer = self.make_peer()
        for _ in range(3):
            peer.say(b"x" * protocol.REQUEST_LIMIT_OCTETS)
        self.assertEqual(peer.heard()[0]["error"]["code"], protocol.TOO_LARGE)
        self.assertTrue(peer.transport.disconnecting)

    def test_errors(self) -> None:
        peer = self.make_peer()
        peer.ask("nothing", 1)
        peer.ask("say", 2, wat="x")
        peer.ask("break", 3)
        codes = [answer["error"]["code"] for answer in peer.heard()]
        self.assertEqual(codes, [protocol.UNKNOWN_COMMAND, protocol.BAD_ARGUMENTS, protocol.INTERNAL_ERROR])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_requests_run_beside_each_other(self) -> None:
        peer = self.make_peer()
        peer.ask("wait", "a")
        peer.ask("say", "b", what="first")
        self.waiting[0].callback("then")
        self.assertEqual(peer.heard(), [{"id": "b", "result": "first"}, {"id": "a", "result": "then"}])

    def test_an_id_is_used_once_at_a_time(self) -> None:
        peer = self.make_peer()
        peer.ask("wait", 1)
        peer.ask("say", 1)
        self.assertEqual(peer.heard()[0]["error"]["code"], protocol.BAD_REQUEST)

    def test_no_more_than_so_many_at_a_time(self) -> None:
        peer = self.make_peer()
        for number in range(connection.RUNNING_LIMIT + 2):
            peer.ask("wait", number)
        self.assertEqual(len(self.waiting), connection.RUNNING_LIMIT)
        self.assertFalse(peer.transport.is_reading)
        self.waiting[0].callback(None)
        self.service.clock.advance(0)
        self.assertEqual(len(self.waiting), connection.RUNNING_LIMIT + 1)

    def test_many_lines_at_once_take_several_turns(self) -> None:
        peer = self.make_peer()
        peer.say(b"{}\n" * (connection.LINES_PER_TURN * 3))
        self.assertEqual(len(peer.heard()), connection.LINES_PER_TURN)
        self.assertFalse(peer.transport.is_reading)
        for _ in range(4):
            self.service.clock.advance(0)
        self.assertEqual(len(peer.heard()), 2 * connection.LINES_PER_TURN)
        self.assertTrue(peer.transport.is_reading)

    def test_what_runs_is_cancelled_with_the_connection(self) -> None:
        peer = self.make_peer()
        peer.ask("wait")
        peer.transport.lose()
        self.assertEqual(self.cancelled, 1)

    def test_changes_are_logged_without_what_may_be_secret(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.make_peer().ask("change", what="it", options={"password": "hidden"})
        self.assertIn("it", events[0]["arguments"])
        self.assertNotIn("hidden", str(events))


class StreamTests(ConnectionCase):
    def test_values_until_cancelled(self) -> None:
        peer = self.make_peer()
        peer.ask("stream", 5)
        self.told[0]({"n": 1})
        self.told[0]({"n": 2})
        self.assertEqual(peer.heard(), [{"id": 5, "value": {"n": 1}}, {"id": 5, "value": {"n": 2}}])
        peer.ask("cancel", 6, id=5)
        error = {"code": protocol.CANCELLED, "message": "it was cancelled"}
        self.assertEqual(peer.heard(), [{"id": 5, "error": error}, {"id": 6, "result": None}])

    def test_cancelling_nothing(self) -> None:
        peer = self.make_peer()
        for identifier in (9, None, [], {}):
            peer.ask("cancel", 6, id=identifier)
            self.assertEqual(peer.heard()[0]["error"]["code"], protocol.NOT_FOUND)

    def test_who_does_not_read_loses_values_and_then_the_connection(self) -> None:
        peer = self.make_peer()
        peer.ask("stream", 5)
        peer.connection.pauseProducing()
        for number in range(1000):
            self.told[0](number)
        self.assertEqual(peer.heard(), [])
        peer.connection.resumeProducing()
        self.told[0]("now")
        self.assertEqual(peer.heard(), [{"id": 5, "value": {"dropped": 1000}}, {"id": 5, "value": "now"}])
        peer.connection.pauseProducing()
        self.service.clock.advance(connection.DEAF_SECONDS)
        self.assertTrue(peer.transport.aborted)

    def test_a_stream_may_be_silent(self) -> None:
        peer = self.make_peer()
        peer.ask("stream", 5)
        self.service.clock.advance(10 * connection.SILENCE_SECONDS)
        self.assertFalse(peer.transport.aborted)


class TimeoutTests(ConnectionCase):
    def test_silence(self) -> None:
        peer = self.make_peer()
        self.service.clock.advance(connection.SILENCE_SECONDS)
        self.assertTrue(peer.transport.aborted)

    def test_octets_without_a_request_do_not_count(self) -> None:
        peer = self.make_peer()
        for _ in range(int(connection.SILENCE_SECONDS)):
            peer.say(b" ")
            self.service.clock.advance(1)
        self.assertTrue(peer.transport.aborted)

    def test_requests_count(self) -> None:
        peer = self.make_peer()
        for _ in range(3):
            self.service.clock.advance(connection.SILENCE_SECONDS - 1)
            peer.ask("say")
        self.assertFalse(peer.transport.aborted)


class TokenTests(ConnectionCase):
    def test_the_right_one(self) -> None:
        peer = self.make_peer(TOKEN)
        peer.ask("authenticate", 1, token=TOKEN)
        peer.ask("say", 2, what="x")
        self.assertEqual(peer.heard(), [{"id": 1, "result": None}, {"id": 2, "result": "x"}])

    def test_others(self) -> None:
        for token in ("", TOKEN[:-1], TOKEN + "0", 5, None, [TOKEN], "\ud800"):
            peer = self.make_peer(TOKEN)
            peer.ask("authenticate", 1, token=token)
            peer.ask("say", 2, what="x")
            (answer,) = peer.heard()
            self.assertEqual(answer["error"]["code"], protocol.NOT_ALLOWED)
            self.assertTrue(peer.transport.disconnecting)

    def test_anything_else_first(self) -> None:
        for octets in (b"POST / HTTP/1.1\r\n", b'{"version":1,"command":"status"}\n', b"\x16\x03\x01\n"):
            peer = self.make_peer(TOKEN)
            peer.say(octets)
            self.assertEqual(peer.heard()[0]["error"]["code"], protocol.NOT_ALLOWED)
            self.assertTrue(peer.transport.disconnecting)

    def test_in_time(self) -> None:
        peer = self.make_peer(TOKEN)
        self.service.clock.advance(connection.AUTHENTICATION_SECONDS)
        self.assertTrue(peer.transport.aborted)
