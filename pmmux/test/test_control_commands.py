from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.control import protocol
from pmmux.control.arguments import check_arguments
from pmmux.control.interfaces import ICommand
from pmmux.control.protocol import CommandError
from pmmux.errors import ConfigurationError, Fault
from pmmux.express import ExpressTrace
from pmmux.model import Location, Status
from pmmux.test.control_doubles import FakeCourse, FakeService, make_record, make_trace
from pmmux.test.doubles import FakeBackend, builtin_registry, make_member, run_now


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = FakeService(builtin_registry())
        self.told: list[Any] = []

    def command(self, name: str) -> Any:
        return self.service.registry.get(ICommand, name)

    def begin(self, name: str, /, **given: Any) -> Deferred[Any]:
        command = self.command(name)
        arguments = check_arguments(command.arguments, given)
        return Deferred.fromCoroutine(command.run(self.service, arguments, self.told.append))

    def ask(self, name: str, /, **given: Any) -> Any:
        result = self.successResultOf(self.begin(name, **given))
        json.dumps(result, allow_nan=False)
        self.shown = list(self.command(name).show(result))
        return result

    def refuse(self, name: str, /, **given: Any) -> str:
        command = self.command(name)
        try:
            run_now(command.run(self.service, check_arguments(command.arguments, given), self.told.append))
        except CommandError as error:
            return error.code
        raise AssertionError("it was not refused")


class EveryCommandTests(CommandCase):
    def test_contract(self) -> None:
        commands = self.service.registry.all(ICommand)
        self.assertGreater(len(commands), 20)
        for name, command in commands:
            verifyObject(ICommand, command)
            self.assertEqual(name, command.name)
            self.assertTrue(command.summary.endswith("."))
            names = [argument.name for argument in command.arguments]
            self.assertEqual(len(names), len(set(names)))

    def test_those_that_need_nothing_tell_something(self) -> None:
        for name, command in self.service.registry.all(ICommand):
            is_required = any(argument.is_required for argument in command.arguments)
            if not (command.is_stream or command.is_changing or is_required):
                self.ask(name)
                self.assertTrue(self.shown, name)

    def test_reload_that_is_not_there(self) -> None:
        self.assertEqual(self.refuse("reload"), protocol.NOT_AVAILABLE)

    def test_reload(self) -> None:
        self.service.reload = lambda: {"changed": ["backend web"]}  # type: ignore[attr-defined]
        self.assertEqual(self.ask("reload"), {"changed": ["backend web"]})

    def test_reload_of_what_is_wrong(self) -> None:
        def reload() -> None:
            raise ConfigurationError((Fault(Location("pmmux.ini", 3), "is wrong"),))

        self.service.reload = reload  # type: ignore[attr-defined]
        self.assertEqual(self.refuse("reload"), protocol.REFUSED)

    def test_log_level(self) -> None:
        self.assertEqual(self.ask("log-level", level="debug"), {"level": "debug", "before": "info"})
        self.assertEqual(self.ask("log-level")["level"], "debug")
        self.service.observer = None
        self.assertEqual(self.refuse("log-level"), protocol.NOT_AVAILABLE)


class BackendTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = self.service.made
        self.changes: list[tuple[str, str]] = []
        self.service.router.watch(lambda event, member: self.changes.append((event, member.name)))
        self.web = self.service.add(FakeBackend("web"))
        self.rest = self.service.add(FakeBackend("rest"))
        self.changes.clear()

    def names(self) -> list[str]:
        return [each["name"] for each in self.ask("backends.list")]

    def test_add_in_its_place(self) -> None:
        options = {"target": "127.0.0.1:80", "detect": "http"}
        self.ask("backends.add", name="new", protocol="pass", options=options, before="rest")
        self.assertEqual(self.names(), ["web", "new", "rest"])
        self.assertEqual(str(self.made[0].options.get("target")), "127.0.0.1:80")
        self.ask("backends.add", name="last", protocol="pass", options=options)
        self.assertEqual(self.names(), ["web", "new", "rest", "last"])

    def test_add_what_is_wrong(self) -> None:
        right = {"target": "127.0.0.1:80"}
        for code, name, kind, options, before in (
            (protocol.CONFLICT, "web", "pass", right, None),
            (protocol.NOT_FOUND, "new", "pass", right, "nobody"),
            (protocol.BAD_ARGUMENTS, "new", "pas", right, None),
            (protocol.BAD_ARGUMENTS, "new", "pass", {}, None),
            (protocol.BAD_ARGUMENTS, "new", "pass", {"target": "x"}, None),
            (protocol.BAD_ARGUMENTS, "a b", "pass", right, None),
            (protocol.BAD_ARGUMENTS, "new", "pass", {**right, "protocol": "noop"}, None),
        ):
            code_ = self.refuse("backends.add", name=name, protocol=kind, options=options, before=before)
            self.assertEqual(code_, code, (name, kind, options))
        self.assertEqual(self.names(), ["web", "rest"])

    def test_environment_is_not_told(self) -> None:
        self.refuse("backends.add", name="new", protocol="pass", options={"target": "{{env:HOME}}"})
        self.assertEqual(self.made, [])

    def test_replace(self) -> None:
        self.web.active = 1
        self.ask("backends.replace", name="web", protocol="pass", options={"target": "127.0.0.1:80"})
        listed = self.ask("backends.list")
        self.assertEqual([each["status"] for each in listed], ["unknown", "unknown", "draining"])
        self.assertEqual(self.changes, [("removed", "web"), ("added", "web")])
        self.service.router.closed(self.web)
        self.assertEqual(self.names(), ["web", "rest"])
        self.assertEqual(
            self.refuse("backends.replace", name="no", protocol="noop", options={}), protocol.NOT_FOUND
        )

    def test_disable_and_enable(self) -> None:
        self.ask("backends.disable", name="web")
        self.assertFalse(self.web.is_offered)
        self.assertIs(self.web.status, Status.STOPPED)
        self.assertEqual(self.changes, [("removed", "web")])
        self.ask("backends.enable", name="web")
        self.assertTrue(self.web.is_offered)
        self.assertEqual(self.changes[1:], [("removed", "web"), ("added", "web")])
        events = [event["fields"]["status"] for event in self.service.feed.recent()[-2:]]
        self.assertEqual(events, ["stopped", "unknown"])

    def test_enabling_what_is_not_set_aside_changes_nothing(self) -> None:
        self.web.status = Status.UNHEALTHY
        self.ask("backends.enable", name="web")
        self.assertIs(self.web.status, Status.UNHEALTHY)

    def test_drain_waits_and_kills(self) -> None:
        self.web.active = 1
        course = self.service.courses[1] = FakeCourse(1, self.web)
        other = self.service.courses[2] = FakeCourse(2, self.rest)
        drained = self.begin("backends.drain", name="web", seconds=5, kill=True)
        self.service.clock.pump([0.1] * 49)
        self.assertNoResult(drained)
        self.assertEqual(course.closed, [])
        self.service.clock.pump([0.1] * 3)
        self.assertEqual(self.successResultOf(drained)["status"], "draining")
        self.assertEqual((course.closed, other.closed), (["killed"], []))

    def test_drain_ends_with_the_last_connection(self) -> None:
        self.web.active = 1
        drained = self.begin("backends.drain", name="web", seconds=5)
        self.web.active = 0
        self.service.clock.advance(0.1)
        self.assertEqual(self.successResultOf(drained)["active"], 0)

    def test_remove(self) -> None:
        self.ask("backends.remove", name="web")
        self.assertEqual(self.names(), ["rest"])
        labels = [dict(sample.labels).get("backend") for sample in self.service.reporter.collect()]
        self.assertNotIn("web", labels)
        self.assertEqual(self.refuse("backends.remove", name="web"), protocol.NOT_FOUND)

    def test_counts_are_metrics(self) -> None:
        self.service.router.opened(self.web)
        self.service.router.opened(self.web)
        self.service.router.closed(self.web)
        found = {
            each["name"]: each["value"]
            for each in self.ask("metrics", name="backend.connection")
            if each["labels"] == {"backend": "web"}
        }
        self.assertEqual(
            found,
            {
                "backend.connection.accepted": 2,
                "backend.connection.closed": 1,
                "backend.connections.active": 1,
            },
        )

    def test_connect_times_come_from_the_last_routes(self) -> None:
        self.service.ring.add((make_record(1), make_trace("web", 0.25)))
        self.service.ring.add((make_record(2), make_trace("web", 0.75)))
        self.assertEqual(self.ask("backends.list")[0]["connect_seconds"], 0.5)


class TraceTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        add = self.service.ring.add
        add((make_record(1, client="[2001:db8::1]:5000"), make_trace()))
        add((make_record(2, backend="", outcome="no-backend", detail="no backend matches"), make_trace()))
        add((make_record(3, sni="\x1b[2J\u202eevil"), make_trace()))

    def ids(self, **filters: Any) -> list[int]:
        return [route["id"] for route in self.ask("trace.list", **filters)]

    def test_newest_first_and_limited(self) -> None:
        self.assertEqual(self.ids(), [3, 2, 1])
        self.assertEqual(self.ids(limit=1), [3])

    def test_filters(self) -> None:
        self.assertEqual(self.ids(outcome="closed"), [3, 1])
        self.assertEqual(self.ids(outcome="refused"), [2])
        self.assertEqual(self.ids(backend="web"), [3, 1])
        self.assertEqual(self.ids(client="198.51.100.7"), [3, 2])
        self.assertEqual(self.ids(client="2001:db8::/32"), [1])
        self.assertEqual(self.ids(listener="other"), [])
        self.assertEqual(self.refuse("trace.list", client="nowhere"), protocol.BAD_ARGUMENTS)

    def test_what_a_client_worded_is_shown_safely(self) -> None:
        self.ask("trace.list")
        text = "\n".join(self.shown)
        self.assertTrue(text.isascii())
        self.assertNotIn("\x1b", text)

    def test_live_ones(self) -> None:
        self.service.courses[4] = FakeCourse(4)
        self.assertEqual(self.ids(live=True), [4, 3, 2, 1])
        self.assertEqual(self.ask("trace.show", id=4)["outcome"], "live")

    def test_one(self) -> None:
        route = self.ask("trace.show", id=2)
        self.assertEqual(route["route"]["candidates"][0]["verdict"], "match")
        self.assertIn("no-backend", "\n".join(self.shown))
        self.assertEqual(self.refuse("trace.show", id=99), protocol.NOT_FOUND)

    def test_one_of_the_express_lane(self) -> None:
        refused, chosen = make_member("ssh"), make_member("web")
        trace = ExpressTrace("first-available", [refused], chosen, 18)
        self.service.ring.add((make_record(5), trace))
        route = self.ask("trace.show", id=5)["route"]
        self.assertEqual(
            [(step["backend"], step["verdict"]) for step in route["candidates"]],
            [("ssh", "no match"), ("web", "match")],
        )

    def test_follow(self) -> None:
        following = self.begin("trace.follow", outcome="closed")
        self.service.ring.add((make_record(6), make_trace()))
        self.service.ring.add((make_record(7, outcome="no-backend"), make_trace()))
        self.assertEqual([route["id"] for route in self.told], [6])
        following.addErrback(lambda _: None)
        following.cancel()
        self.service.ring.add((make_record(8), make_trace()))
        self.assertEqual(len(self.told), 1)

    def test_the_ring_is_bounded(self) -> None:
        for number in range(2000):
            self.service.ring.add((make_record(number), make_trace()))
        self.assertEqual(len(list(self.service.ring.newest_first())), 1000)


class SessionTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.web = self.service.add(FakeBackend("web"))
        for number, member, client in ((1, self.web, "198.51.100.7"), (2, None, "198.51.100.8")):
            self.service.courses[number] = FakeCourse(number, member, client)
        self.ended: list[tuple[Any, str]] = []
        session = FakeCourse(3, self.web)
        session.table = SimpleNamespace(  # type: ignore[attr-defined]
            sessions={3: session}, finish=lambda *ended: self.ended.append(ended)
        )
        self.session = session
        spec = SimpleNamespace(
            name="front", transport="udp", public_port=None, options=self.web.backend.spec.options
        )
        self.service.listening.append(
            SimpleNamespace(spec=spec, table=session.table, addresses=lambda: ())  # type: ignore[attr-defined]
        )

    def test_list(self) -> None:
        self.assertEqual([each["id"] for each in self.ask("sessions.list")], [1, 2, 3])
        self.assertEqual([each["id"] for each in self.ask("sessions.list", client="198.51.100.8")], [2])
        self.assertEqual(self.ask("listeners")[0]["open"], 3)

    def test_kill_by_number(self) -> None:
        self.assertEqual(self.ask("sessions.kill", ids=["2", "9"]), {"killed": [2], "not_found": [9]})
        self.assertEqual(self.service.courses[2].closed, ["killed"])

    def test_kill_by_backend(self) -> None:
        self.assertEqual(self.ask("sessions.kill", backend="web")["killed"], [1, 3])
        self.assertEqual(self.service.courses[2].closed, [])
        self.assertEqual(self.ended, [(self.session, "killed")])

    def test_kill_nothing_in_particular(self) -> None:
        self.assertEqual(self.refuse("sessions.kill"), protocol.BAD_ARGUMENTS)
        self.assertEqual(self.refuse("sessions.kill", ids=["x"]), protocol.BAD_ARGUMENTS)
        self.assertEqual(self.refuse("sessions.kill", ids=["9"]), protocol.NOT_FOUND)
        self.assertEqual(len(self.ask("sessions.kill", all=True)["killed"]), 3)


class EventTests(CommandCase):
    def test_past_and_future(self) -> None:
        self.service.reporter.event("one", backend="web")
        following = self.begin("events", recent=5)
        self.service.reporter.event("two", reason="\x1b[2J")
        self.assertEqual([event["event"] for event in self.told], ["one", "two"])
        (line,) = self.command("events").show(self.told[1])
        self.assertNotIn("\x1b", line)
        following.addErrback(lambda _: None)
        following.cancel()
        self.service.reporter.event("three")
        self.assertEqual(len(self.told), 2)
