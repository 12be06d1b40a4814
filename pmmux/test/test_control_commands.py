from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.control import protocol
from pmmux.control.arguments import check_arguments
from pmmux.control.interfaces import ICommand
from pmmux.control.protocol import CommandError
from pmmux.errors import ConfigurationError, Fault
from pmmux.express import ExpressTrace
from pmmux.model import Location, SectionValues, Status
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

    def test_add_what_defer_accept_would_hold_back(self) -> None:
        deferring = SectionValues("pmmux", "", raw={"defer-accept": "true"})
        self.service.settings = evolve(self.service.settings, globals=deferring)
        silent = {"target": "127.0.0.1:25"}
        for command, name in (("backends.add", "mail"), ("backends.replace", "web")):
            code = self.refuse(command, name=name, protocol="pass", options=silent)
            self.assertEqual(code, protocol.BAD_ARGUMENTS)
            self.ask(command, name=name, protocol="pass", options={**silent, "detect": "http"})

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

    def test_times_are_means_of_what_was_measured(self) -> None:
        connects = self.service.reporter.duration("backend.connect.duration", backend="web")
        connects.observe(0.25)
        connects.observe(0.75)
        self.service.reporter.duration("backend.first_octet.duration", backend="web").observe(2.0)
        web, rest = self.ask("backends.list")
        self.assertEqual((web["connect_seconds"], web["connects"], web["answer_seconds"]), (0.5, 2, 2.0))
        self.assertIn("500ms", self.shown[1])
        self.assertEqual((rest["connect_seconds"], rest["connects"]), (None, 0))

    def test_nothing_is_measured_for_asking(self) -> None:
        before = len(list(self.service.reporter.collect()))
        self.ask("backends.list")
        self.assertEqual(len(list(self.service.reporter.collect())), before)

    def test_health_of_nobody(self) -> None:
        self.assertEqual(self.refuse("health", backend="nobody"), protocol.NOT_FOUND)


class ListenerTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.ask("listeners.add", name="front", options={"port": "8443", "bind": "127.0.0.1"})

    def names(self) -> list[str]:
        return [each["name"] for each in self.ask("listeners")]

    def test_add(self) -> None:
        (told,) = self.ask("listeners")
        self.assertEqual(
            (told["name"], told["addresses"], told["defined"]),
            ("front", ["127.0.0.1:8443"], "control [listener front]"),
        )
        self.ask("listeners.add", name="names", options={"port": "53", "protocol": "udp"})
        self.assertEqual(self.names(), ["front", "names"])
        self.assertIn("udp", self.shown[2])

    def test_what_is_wrong_changes_nothing(self) -> None:
        self.service.multiplexer.taken.add(8445)
        for code, name, options in (
            (protocol.CONFLICT, "front", {"port": "8444"}),
            (protocol.BAD_ARGUMENTS, "new", {}),
            (protocol.BAD_ARGUMENTS, "a b", {"port": "8444"}),
            (protocol.BAD_ARGUMENTS, "new", {"port": "x"}),
            (protocol.BAD_ARGUMENTS, "new", {"prt": "8444"}),
            (protocol.BAD_ARGUMENTS, "new", {"port": "8443"}),
            (protocol.BAD_ARGUMENTS, "new", {"port": "8444", "listen": "no"}),
            (protocol.BAD_ARGUMENTS, "new", {"port": "8444", "proxy-protocol": "require"}),
            (protocol.BAD_ARGUMENTS, "new", {"port": "8444", "client-certificates": "require"}),
            (protocol.REFUSED, "new", {"port": "8445"}),
        ):
            self.assertEqual(self.refuse("listeners.add", name=name, options=options), code, options)
        self.assertEqual(self.names(), ["front"])
        self.assertEqual(
            self.refuse("listeners.replace", name="no", options={"port": "1"}), protocol.NOT_FOUND
        )
        options = {"port": "8445"}
        self.assertEqual(self.refuse("listeners.replace", name="front", options=options), protocol.REFUSED)
        self.assertEqual(self.ask("listeners")[0]["addresses"], ["127.0.0.1:8443"])

    def test_replace(self) -> None:
        told = self.ask("listeners.replace", name="front", options={"port": "8443", "protocol": "udp"})
        self.assertEqual((told["transport"], self.names()), ("udp", ["front"]))

    def test_remove(self) -> None:
        self.service.courses[1] = FakeCourse(1)
        self.assertEqual(self.ask("listeners.remove", name="front"), {"name": "front", "open": 1})
        self.assertEqual(self.names(), [])
        self.assertEqual(self.refuse("listeners.remove", name="front"), protocol.NOT_FOUND)

    def test_public_ports_are_mapped_and_let_go(self) -> None:
        added: list[Any] = []
        removed: list[str] = []
        self.service.nat = SimpleNamespace(add=added.append, remove=removed.append)
        options = {"port": "?", "bind": "127.0.0.1", "public-port": "443"}
        self.ask("listeners.add", name="web", options=options)
        self.assertEqual(
            [(each.name, each.local_port, each.public_port) for each in added], [("web", 50001, 443)]
        )
        self.ask("listeners.replace", name="web", options={**options, "public-port": "444"})
        self.assertEqual((removed, added[1].public_port), (["web"], 444))
        self.ask("listeners.remove", name="web")
        self.ask("listeners.remove", name="front")
        self.assertEqual(removed, ["web", "web"])

    def test_what_the_configuration_has_may_be_meant(self) -> None:
        """A listener is read beside the sections in force."""
        section = SectionValues("tls", "", raw={"generate-certificates": "true"})
        self.service.settings = evolve(self.service.settings, sections={"tls": (section,)})
        self.ask("listeners.add", name="secure", options={"port": "8444", "tls-pass": "a.example.org"})


class CheckTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        options = {"target": "127.0.0.1:80"}
        for name in ("web", "shop"):
            self.ask("backends.add", name=name, protocol="pass", options=options)
            self.service.router.member(name).backend.spec = self.service.made[-1]

    def test_add(self) -> None:
        told = self.ask("checks.add", name="one", options={"backend": "web", "interval": "2s"})
        self.assertEqual(
            (told["backends"], told["protocol"], told["type"], told["interval_seconds"]),
            (["web"], "pass", "connect", 2.0),
        )
        self.ask("checks.add", name="all", options={"protocol": "pass", "type": "http"})
        self.assertEqual([each["backends"] for each in self.ask("checks.list")], [["web"], ["shop"]])
        self.assertEqual(len(self.shown), 3)

    def test_what_is_wrong_changes_nothing(self) -> None:
        self.ask("checks.add", name="one", options={"backend": "web"})
        for code, name, options in (
            (protocol.CONFLICT, "one", {"backend": "web"}),
            (protocol.BAD_ARGUMENTS, "new", {"backend": "wbe"}),
            (protocol.BAD_ARGUMENTS, "new", {"backend": "web", "type": "tpc"}),
            (protocol.BAD_ARGUMENTS, "new", {"backend": "web", "protocol": "noop"}),
            (protocol.BAD_ARGUMENTS, "new", {"backend": "web", "intervall": "5s"}),
            (protocol.BAD_ARGUMENTS, "new", {"backend": "web", "type": "tcp"}),
        ):
            self.assertEqual(self.refuse("checks.add", name=name, options=options), code, options)
        self.assertEqual(list(self.service.health.kept), ["one"])

    def test_replace_and_remove(self) -> None:
        self.assertEqual(self.refuse("checks.replace", name="one", options={}), protocol.NOT_FOUND)
        self.ask("checks.add", name="one", options={"backend": "web"})
        told = self.ask("checks.replace", name="one", options={"backend": "shop", "type": "http"})
        self.assertEqual((told["backends"], told["type"]), (["shop"], "http"))
        self.ask("checks.remove", name="one")
        self.assertEqual(self.refuse("checks.remove", name="one"), protocol.NOT_FOUND)
        self.ask("checks.list")
        self.assertEqual(self.shown, ["no health checks"])


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
        (candidate,) = route["route"]["candidates"]
        self.assertEqual((candidate["verdict"], candidate["condition"]), ("match", ""))
        self.assertIn("no-backend", "\n".join(self.shown))
        self.assertEqual(self.refuse("trace.show", id=99), protocol.NOT_FOUND)

    def test_one_that_a_proxy_announced(self) -> None:
        self.service.ring.add((make_record(4, peer="10.0.0.5:999"), make_trace()))
        self.assertEqual(self.ask("trace.show", id=4)["peer"], "10.0.0.5:999")
        self.assertIn("198.51.100.7:50000 through 10.0.0.5:999 on front", self.shown[0])

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
