"""Events become lines, lines reach their one place, and twistd begins logging there."""

from __future__ import annotations

import enum
import io
import json
import os
from typing import Any

from twisted.application.service import Application, MultiService
from twisted.logger import ILogObserver, LegacyLogObserverWrapper, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial import unittest
from zope.interface.verify import verifyObject

import pmmux
from pmmux.log_output import (
    FileOutput,
    StreamOutput,
)
from pmmux.logs import (
    LineObserver,
    choose_output,
    install,
    json_event,
    make_observer,
    parse_verbosity,
    short_name,
    text_event,
)

NOON = 1767268800.25


def event_of(format: str | None = "ready", **fields: Any) -> dict[str, Any]:
    """An event as L{Logger} makes it."""
    return {
        "log_format": format,
        "log_level": LogLevel.info,
        "log_namespace": "pmmux.router.Router",
        "log_time": NOON,
        **fields,
    }


def failure_of(message: str) -> Failure:
    try:
        raise ValueError(message)
    except ValueError:
        return Failure()


class Broken:
    """A value that cannot even be written."""

    def __str__(self) -> str:
        raise RuntimeError("broken")

    __repr__ = __str__


class VerbosityTests(unittest.SynchronousTestCase):
    def test_every_name(self) -> None:
        expected = {
            "trace": LogLevel.debug,
            "debug": LogLevel.debug,
            "information": LogLevel.info,
            "info": LogLevel.info,
            "warning": LogLevel.warn,
            "warn": LogLevel.warn,
            "error": LogLevel.error,
            "Critical": LogLevel.critical,
        }
        for name, level in expected.items():
            self.assertIs(parse_verbosity(name), level)

    def test_unknown_name(self) -> None:
        error = self.assertRaises(ValueError, parse_verbosity, "loud")
        self.assertIn("trace, debug, information", str(error))


class ShortNameTests(unittest.SynchronousTestCase):
    def test_names(self) -> None:
        for namespace, expected in {
            "pmmux.router.Router": "router",
            "pmmux.metrics.log_sink.LogSink": "metrics.log_sink",
            "pmmux.access": "access",
            "twisted.internet.tcp._Port": "twisted.internet.tcp",
            "stdout": "stdout",
            "Alone": "Alone",
            "-": "-",
        }.items():
            self.assertEqual(short_name(namespace), expected)


class TextEventTests(unittest.SynchronousTestCase):
    def test_line(self) -> None:
        self.assertEqual(
            text_event(event_of("backend {name} added", name="web")),
            "2026-01-01T12:00:00.250Z info router: backend web added",
        )

    def test_without_time(self) -> None:
        self.assertEqual(text_event(event_of(), False), "info router: ready")

    def test_unknown_time_and_level(self) -> None:
        self.assertEqual(text_event({"log_format": "hello"}), "- info -: hello")

    def test_event_without_message(self) -> None:
        self.assertEqual(text_event(event_of(None)), "")

    def test_nothing_forges_a_line(self) -> None:
        line = text_event(
            event_of("from {name}", name="x\n2026-01-01T12:00:00.250Z info router: forged\x1b[2J")
        )
        self.assertEqual(len(line.splitlines()), 1)
        self.assertIn("from x\\x0a2026", line)
        self.assertNotIn("\x1b", line)

    def test_traceback_is_indented(self) -> None:
        line = text_event(event_of("failed", log_failure=failure_of("first\nsecond\x1b")))
        first, *others = line.split("\n")
        self.assertEqual(first, "2026-01-01T12:00:00.250Z info router: failed")
        self.assertIn("Traceback", others[0])
        self.assertEqual([other for other in others if not other.startswith("    ")], [])
        self.assertIn("second\\x1b", line)

    def test_traceback_without_message(self) -> None:
        self.assertIn("ValueError", text_event(event_of("", log_failure=failure_of("alone"))))

    def test_unformattable_event(self) -> None:
        line = text_event(event_of("{absent} {broken}", broken=Broken()))
        self.assertIn("info router:", line)
        self.assertEqual(len(line.splitlines()), 1)


class Colour(enum.Enum):
    RED = "red"


class JSONEventTests(unittest.SynchronousTestCase):
    def written(self, *args: Any, **fields: Any) -> dict[str, Any]:
        line = json_event(event_of(*args, **fields))
        self.assertTrue(line.isascii() and line.isprintable())
        result: dict[str, Any] = json.loads(line)
        return result

    def test_object(self) -> None:
        self.assertEqual(
            json_event(event_of("backend {name} added", name="web", active=3)),
            '{"time":"2026-01-01T12:00:00.250Z","level":"info","logger":"router",'
            '"message":"backend web added","name":"web","active":3}',
        )

    def test_native_types(self) -> None:
        fields = {"a": 1, "b": 1.5, "c": True, "d": None, "e": [1, "x"], "f": {"g": 2}}
        found = self.written(**fields)
        self.assertEqual({key: found[key] for key in fields}, fields)

    def test_other_types_as_text(self) -> None:
        found = self.written(
            octets=b"a\xff",
            colour=Colour.RED,
            infinite=float("inf"),
            several={1},
            keys={1: 2},
            severity=LogLevel.warn,
        )
        self.assertEqual(found["octets"], "a\\xff")
        self.assertEqual(found["colour"], "red")
        self.assertEqual(found["infinite"], "inf")
        self.assertEqual(found["several"], [1])
        self.assertEqual(found["keys"], {"1": 2})
        self.assertEqual(found["severity"], "warn")

    def test_broken_value(self) -> None:
        self.assertIn("RuntimeError", self.written(broken=Broken())["broken"])

    def test_endless_value(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        self.assertEqual(self.written(endless=endless)["message"], "ready")

    def test_no_field_replaces_those_of_the_object(self) -> None:
        names = ("time", "level", "logger", "message", "failure")
        found = self.written(**dict(zip(names, "12345", strict=True)))
        self.assertEqual((found["level"], found["logger"], found["message"]), ("info", "router", "ready"))
        self.assertEqual(
            [found[f"{key}_"] for key in ("time", "level", "logger", "message", "failure")], list("12345")
        )

    def test_failure_as_text(self) -> None:
        self.assertIn("ValueError: why", self.written(log_failure=failure_of("why"))["failure"])

    def test_hostile_text_is_kept_and_escaped(self) -> None:
        hostile = 'a\n"\\\x1b\u202e\udc80'
        self.assertEqual(self.written("{name}", name=hostile)["name"], hostile)

    def test_legacy_event(self) -> None:
        events: list[dict[str, Any]] = []
        wrapped = LegacyLogObserverWrapper(lambda event: None)
        Logger(namespace="old", observer=LogPublisher(wrapped, events.append)).info("hello")
        self.assertEqual(json.loads(json_event(events[0]))["message"], "hello")

    def test_event_without_message(self) -> None:
        self.assertEqual(json_event(event_of(None)), "")


class DocumentationTests(unittest.SynchronousTestCase):
    def test_examples(self) -> None:
        path = os.path.join(os.path.dirname(os.path.dirname(pmmux.__file__)), "docs", "logging.md")
        if not os.path.exists(path):
            raise unittest.SkipTest("not in a source tree")
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        event = event_of("backend {name} added", name="web")
        self.assertIn(text_event(event), lines)
        self.assertIn(json_event({**event, "active": 3}), lines)


class LineObserverTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = io.BytesIO()
        self.output = StreamOutput(self.stream.write, self.stream.flush)

    def lines(self) -> list[str]:
        return self.stream.getvalue().decode("utf-8").splitlines()

    def test_sockets_of_twisted_are_not_told_of(self) -> None:
        observer = LineObserver(self.output)
        for said in ("Exchange starting on 5350", "(UDP Port 5350 Closed)", "reactor class: epoll"):
            event = {"log_namespace": "log_legacy", "message": (said,), "log_format": "{said}", "said": said}
            observer(event)
        self.assertEqual(self.stream.getvalue().count(b"\n"), 1)
        self.assertIn(b"reactor class", self.stream.getvalue())

    def test_provides_the_interface(self) -> None:
        verifyObject(ILogObserver, LineObserver(self.output))

    def test_events_below_the_level_are_not_written(self) -> None:
        log = Logger(observer=LineObserver(self.output, verbosity="warning"))
        log.info("quiet")
        log.warn("loud")
        self.assertEqual(len(self.lines()), 1)
        self.assertIn("loud", self.lines()[0])

    def test_level_changes_at_once(self) -> None:
        observer = LineObserver(self.output)
        log = Logger(observer=observer)
        log.debug("not yet")
        observer.set_level("trace")
        self.assertEqual(observer.level, "debug")
        log.debug("now")
        observer.set_level("error")
        log.warn("no more")
        self.assertEqual([line.rpartition(": ")[2] for line in self.lines()], ["now"])

    def test_unknown_level_changes_nothing(self) -> None:
        observer = LineObserver(self.output, verbosity="error")
        self.assertRaises(ValueError, observer.set_level, "loud")
        self.assertEqual(observer.level, "error")

    def test_unknown_format(self) -> None:
        self.assertRaises(ValueError, LineObserver, self.output, "xml")

    def test_json(self) -> None:
        Logger(observer=LineObserver(self.output, "json")).info("{a}", a=1)
        self.assertEqual(json.loads(self.lines()[0])["a"], 1)

    def test_empty_events_write_nothing(self) -> None:
        LineObserver(self.output)(event_of(None))
        self.assertEqual(self.lines(), [])

    def test_text_that_is_not_unicode(self) -> None:
        LineObserver(self.output)(event_of("{a}", a="\udc80ü"))
        self.assertTrue(self.lines()[0].endswith("\\udc80ü"))


class ChoiceTests(unittest.SynchronousTestCase):
    def chosen(self, directory: str = "", **twistd: Any) -> Any:
        output = choose_output(twistd, directory)
        if isinstance(output, FileOutput):
            output.close()
        return output

    def test_logger_is_left_to_twistd(self) -> None:
        self.assertIs(self.chosen(logger=lambda: None, syslog=True), None)

    def test_daemon_to_standard_output_is_left_to_twistd_to_refuse(self) -> None:
        self.assertIs(self.chosen(logfile="-", nodaemon=False), None)

    def test_logfile_before_directory(self) -> None:
        path = self.mktemp()
        self.assertEqual(self.chosen(self.mktemp(), logfile=path, nodaemon=True).path, os.path.abspath(path))

    def test_directory_before_standard_output(self) -> None:
        directory = self.mktemp()
        expected = os.path.abspath(os.path.join(directory, "pmmux.log"))
        self.assertEqual(self.chosen(directory, nodaemon=True).path, expected)
        self.assertEqual(self.chosen(directory, nodaemon=False).path, expected)

    def test_standard_output(self) -> None:
        for twistd in ({}, {"nodaemon": True}, {"nodaemon": True, "logfile": "-"}, {"debug": True}):
            self.assertIs(type(self.chosen(**twistd)), StreamOutput, twistd)

    def test_daemon(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.makedirs(directory := self.mktemp())
        os.chdir(directory)
        self.assertEqual(os.path.basename(self.chosen(nodaemon=False).path), "twistd.log")

    def test_nothing_to_observe_where_twistd_brings_its_own(self) -> None:
        self.assertIs(make_observer(twistd={"logger": "x"}), None)


class InstallTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.observer = LineObserver(StreamOutput(lambda octets: None, lambda: None))

    def test_application_takes_it(self) -> None:
        application = Application("test")
        self.assertTrue(install(application, self.observer))
        self.assertIs(application.getComponent(ILogObserver), self.observer)

    def test_other_parents_do_not(self) -> None:
        self.assertFalse(install(MultiService(), self.observer))

    def test_an_observer_already_there_stays(self) -> None:
        application = Application("test")
        application.setComponent(ILogObserver, print)
        self.assertFalse(install(application, self.observer))
        self.assertIs(application.getComponent(ILogObserver), print)

    def test_nothing_to_install(self) -> None:
        self.assertFalse(install(Application("test"), None))
