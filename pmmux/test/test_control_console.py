from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import tempfile
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.control import exits, protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, LIST, MAPPING, Argument
from pmmux.control.client import ControlClient, UnreachableError, find_place
from pmmux.control.command import Command
from pmmux.control.console import online
from pmmux.control.interfaces import IConsoleCommand
from pmmux.control.protocol import CommandError
from pmmux.control.tables import seconds_text, table


async def nothing(service: Any, arguments: Any, tell: Any) -> None:
    """Never called here."""


def show(result: Any) -> list[str]:
    return [f"shown {result}"]


COMMANDS = (
    Command("things.list", "List them.", nothing, (Argument("limit", INTEGER), Argument("kind")), show=show),
    Command(
        "things.add",
        "Add one.",
        nothing,
        (
            Argument("name", is_required=True, is_positional=True),
            Argument("options", MAPPING, is_positional=True),
            Argument("now", BOOLEAN),
        ),
        show=show,
    ),
    Command("things.kill", "End some.", nothing, (Argument("ids", LIST, is_positional=True),), show=show),
    Command("watch", "Watch.", nothing, show=show, is_stream=True),
    Command(
        "level", "Set it.", nothing, (Argument("level", choices=("a", "b"), is_positional=True),), show=show
    ),
)


class FakeClient:
    """@ivar asked: what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.result: Any = "done"

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *reason: object) -> None:
        pass

    def call(self, command: str, seconds: float, /, **arguments: Any) -> Any:
        self.asked.append((command, arguments))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def stream(self, command: str, /, **arguments: Any) -> Any:
        self.asked.append((command, arguments))
        yield from (1, 2)


class OnlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = FakeClient()
        self.patch(online, "connect", lambda arguments: self.client)
        self.output = StringIO()
        self.errors = StringIO()
        self.patch(online.sys, "stdout", self.output)
        self.patch(online.sys, "stderr", self.errors)
        self.parser = argparse.ArgumentParser()
        words = self.parser.add_subparsers()
        for command in online.group(COMMANDS):
            verifyObject(IConsoleCommand, command)
            sub = words.add_parser(command.name)
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)

    def ctl(self, *words: str) -> int:
        arguments = self.parser.parse_args(words)
        status: int = arguments.run(arguments)
        return status

    def test_words_become_requests(self) -> None:
        for words, asked in (
            (("things",), ("things.list", {})),
            (("things", "--limit", "5", "--kind", "x"), ("things.list", {"limit": 5, "kind": "x"})),
            (("things", "list", "--limit", "5"), ("things.list", {"limit": 5})),
            (("things", "add", "web"), ("things.add", {"name": "web"})),
            (
                ("things", "add", "web", "target=x=y", "property[a]=", "--now"),
                ("things.add", {"name": "web", "options": {"target": "x=y", "property[a]": ""}, "now": True}),
            ),
            (("things", "kill", "1", "2"), ("things.kill", {"ids": ["1", "2"]})),
            (("level",), ("level", {})),
            (("level", "a"), ("level", {"level": "a"})),
        ):
            self.assertEqual(self.ctl(*words), exits.OK)
            self.assertEqual(self.client.asked[-1], asked)

    def test_words_that_are_no_options(self) -> None:
        for words in (("web", "target"), ("web", "=x"), ("web", "a=1", "a=2")):
            self.assertEqual(self.ctl("things", "add", *words), exits.USAGE)
        self.assertEqual(self.client.asked, [])

    def test_the_list_may_be_asked_for_by_name(self) -> None:
        (command,) = online.group(
            [Command("things", "List.", nothing), Command("things.add", "Add.", nothing)]
        )
        self.assertEqual((command.own.name, list(command.parts)), ("things", ["list", "add"]))

    def test_for_people(self) -> None:
        self.ctl("level")
        self.assertEqual(self.output.getvalue(), "shown done\n")

    def test_for_programs(self) -> None:
        self.client.result = [{"a": 1}, {"b": "\u202e"}]
        self.ctl("things", "--json")
        lines = self.output.getvalue().splitlines()
        self.assertEqual([json.loads(line) for line in lines], self.client.result)
        self.assertTrue(self.output.getvalue().isascii())

    def test_streams(self) -> None:
        self.ctl("watch")
        self.assertEqual(self.output.getvalue(), "shown 1\nshown 2\n")

    def test_exit_statuses(self) -> None:
        for error, status in (
            (CommandError(protocol.NOT_FOUND, "no"), exits.REFUSED),
            (CommandError(protocol.BAD_ARGUMENTS, "no"), exits.USAGE),
            (CommandError(protocol.BAD_ARGUMENTS, "no", ("line",)), exits.REFUSED),
            (UnreachableError("no"), exits.UNREACHABLE),
        ):
            self.client.result = error
            self.assertEqual(self.ctl("level"), status)
        self.assertEqual(self.output.getvalue(), "")
        self.assertIn("pmmuxctl: no\nline", self.errors.getvalue())

    def test_the_built_in_ones_fit_the_command_line(self) -> None:
        names = [command.name for command in online.commands]
        self.assertEqual(len(names), len(set(names)))
        for command in online.commands:
            command.add_arguments(argparse.ArgumentParser())


class TableTests(SynchronousTestCase):
    def test_measures_stand_to_the_right(self) -> None:
        rows = [
            {"name": "a", "took": "5m 6s", "size": "1.5 KiB", "open": 12, "note": None},
            {"name": "127.0.0.1", "took": None, "size": "80 B", "open": 3, "note": None},
        ]
        columns = [(name, name.upper()) for name in rows[0]]
        self.assertEqual(
            list(table(rows, columns, "")),
            [
                "NAME        TOOK     SIZE  OPEN  NOTE",
                "a          5m 6s  1.5 KiB    12  -",
                "127.0.0.1      -     80 B     3  -",
            ],
        )

    def test_times(self) -> None:
        told = {
            None: "-",
            0.00004: "0.04ms",
            0.0021: "2.10ms",
            0.129: "129ms",
            2.34: "2.3s",
            306.0: "5m 6s",
            7260.0: "2h 1m",
            90061.0: "1d 1h",
        }
        self.assertEqual({seconds: seconds_text(seconds) for seconds in told}, told)


class PlaceTests(SynchronousTestCase):
    def test_what_is_said_counts(self) -> None:
        self.assertEqual(find_place("/run/x", {}), "/run/x")

    def test_none(self) -> None:
        from pmmux.control import client

        self.patch(client, "running_sockets", lambda environment, user: [])
        error = self.assertRaises(UnreachableError, find_place, None, {"XDG_RUNTIME_DIR": "/nowhere"})
        self.assertIn("/nowhere/pmmux (not there), /run/pmmux", str(error))

    def reason(self, place: str) -> str:
        return str(self.assertRaises(UnreachableError, ControlClient, place))

    def test_why_not(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/x"
        self.assertEqual(self.reason(path), f"{path}: there is no such socket")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        self.assertEqual(self.reason(path), f"{path}: nobody listens there any more")
        self.assertEqual(self.reason(f"unix:{directory}"), f"unix:{directory}: not a socket")
        self.assertIn("neither a socket's path nor HOST:PORT", self.reason("nonsense"))
        self.assertIn("neither a socket's path nor HOST:PORT", self.reason("host:port"))

    def test_a_name_in_this_folder(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        with contextlib.chdir(directory):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind("x.sock")
            self.assertIn("nobody listens", self.reason("x.sock"))

    def test_closed_without_an_answer(self) -> None:
        """As for another user: what can be the reason is said."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(f"{directory}/x")
        listening.listen()
        client = ControlClient(f"{directory}/x")
        self.addCleanup(client.close)
        listening.accept()[0].close()
        error = self.assertRaises(UnreachableError, client.call, "status")
        self.assertIn("only the user it runs as, and root", str(error))

    def test_several(self) -> None:
        from pmmux.control import client

        self.patch(client, "running_sockets", lambda environment, user: ["/run/a", "/run/b"])
        error = self.assertRaises(UnreachableError, find_place, None, {})
        self.assertIn("--socket /run/b", str(error))
