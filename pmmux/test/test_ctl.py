"""The console: its commands, what they print, and their exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from pmmux import __version__
from pmmux.control import exits
from pmmux.control.console.check import ADVICE_ONLY
from pmmux.control.console.command import ConsoleCommand
from pmmux.control.console.completion import WRITERS, places_of
from pmmux.control.interfaces import IConsoleCommand
from pmmux.ctl import add_console_commands, main, make_parser
from pmmux.registry import Registry
from pmmux.test.captures import DNS_QUERY, Talk, datagram, scapy_packet, write_capture

CONFIG = """
[listener front]
port = 8443
[listener datagrams]
port = 8444
protocol = udp
[backend shop]
protocol = pass
target = 127.0.0.1:1
sni = shop.example.org
[backend web]
protocol = pass
target = 127.0.0.1:1
host = .*\\.example\\.org
[backend rest]
protocol = noop
"""


class ConsoleCase(SynchronousTestCase):
    """Runs commands in this process."""

    def setUp(self) -> None:
        self.config = self.write(CONFIG)

    def write(self, text: str) -> str:
        path = self.mktemp()
        Path(path).write_text(text, encoding="utf-8")
        return path

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        return status, output.getvalue(), errors.getvalue()

    def explain(self, *arguments: str) -> dict[str, object]:
        status, output, errors = self.run_command("explain", "-c", self.config, "--json", *arguments)
        self.assertEqual((status, errors), (exits.OK, ""))
        found: dict[str, object] = json.loads(output)
        return found


class FrameTests(ConsoleCase):
    def test_version(self) -> None:
        self.assertEqual(self.run_command("--version")[1], f"pmmuxctl {__version__}\n")
        status, output, _ = self.run_command("version", "--json")
        self.assertEqual((status, json.loads(output)["pmmux"]), (exits.OK, __version__))

    def test_wrong_usage(self) -> None:
        for arguments in ((), ("nonsense",), ("explain",), ("explain", "--hex", "00", "--silent")):
            status, output, errors = self.run_command(*arguments)
            self.assertEqual((status, output), (exits.USAGE, ""))
            self.assertIn("usage: pmmuxctl", errors)

    def test_what_was_meant(self) -> None:
        for words, meant in ((("backend",), "backends"), (("backends", "drian"), "drain")):
            self.assertIn(f"did you mean {meant!r}?", self.run_command(*words)[2])
        self.assertNotIn("did you mean", self.run_command("frobnicate")[2])

    def test_json_may_stand_first(self) -> None:
        for words in (("--json", "version"), ("version", "--json")):
            self.assertEqual(json.loads(self.run_command(*words)[1])["pmmux"], __version__)

    def test_no_configuration(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        with contextlib.chdir(directory):
            for words in (("check",), ("explain", "--silent")):
                status, output, errors = self.run_command(*words)
                self.assertEqual(status, exits.REFUSED)
                self.assertIn("there is no pmmux.ini or pmmux.toml in this folder", output + errors)

    def test_every_command_tells_of_itself(self) -> None:
        registry = Registry()
        add_console_commands(registry)
        for name, command in registry.all(IConsoleCommand):
            self.assertTrue(command.summary.endswith("."), name)
            self.assertEqual(self.run_command(name, "--help")[0], exits.OK)

    def test_commands_of_extensions(self) -> None:
        def greet(arguments: argparse.Namespace) -> int:
            print("hello")
            return exits.OK

        def load(registry: Registry, extensions: tuple[str, ...]) -> None:
            self.assertEqual(extensions, ("greeting",))
            registry.register(IConsoleCommand, ConsoleCommand("greet", "Say hello.", greet), "greet")

        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "pmmux.ini").write_text("[pmmux]\nextensions = greeting\n")
        with mock.patch.object(Registry, "load", load), contextlib.chdir(directory):
            self.assertEqual(self.run_command("greet")[1], "hello\n")

    def test_faults_of_the_configuration(self) -> None:
        config = self.write(CONFIG + "[backend odd]\nprotocol = nonsense\n")
        status, output, errors = self.run_command("explain", "-c", config, "--silent")
        self.assertEqual((status, output), (exits.REFUSED, ""))
        self.assertIn(f"{config}:18 [backend odd] protocol", errors)


class ExplainTests(ConsoleCase):
    def test_tls(self) -> None:
        found = self.explain("--sni", "shop.example.org", "--alpn", "h2, http/1.1")
        self.assertEqual((found["backend"], found["detected"]), ("shop", "tls"))
        self.assertEqual(found["properties"]["tls.alpn"], "h2,http/1.1")  # type: ignore[index]

    def test_http(self) -> None:
        self.assertEqual(self.explain("--http", "GET /x", "--host", "a.example.org")["backend"], "web")

    def test_octets(self) -> None:
        self.assertEqual(self.explain("--hex", "47 45 54")["octets_needed"], 4)
        path = self.mktemp()
        Path(path).write_bytes(DNS_QUERY)
        found = self.explain("--file", path, "--listener", "datagrams")
        self.assertEqual((found["proto"], found["detected"]), ("udp", "dns"))
        self.assertEqual(self.explain("--file", path, "--proto", "udp")["listener"], "datagrams")

    def test_client(self) -> None:
        found = self.explain("--silent", "--from", "[2001:db8::5]:77")
        self.assertEqual((found["client"], found["server"]), ("[2001:db8::5]:77", "[2001:db8::2]:8443"))
        self.assertEqual(self.explain("--silent", "--from", "10.1.2.3")["client"], "10.1.2.3:49152")
        self.assertEqual(self.explain("--silent", "--from", "2001:db8::5")["client"], "[2001:db8::5]:49152")

    def test_for_people(self) -> None:
        status, output, _ = self.run_command("explain", "-c", self.config, "--sni", "shop.example.org")
        self.assertEqual(status, exits.OK)
        self.assertIn("tcp listener front: to shop", output)
        self.assertIn("shop     match", output)

    def test_nothing_of_a_client_reaches_the_terminal(self) -> None:
        octets = b"GET /\xff\x1b HTTP/1.1\r\nHost: \x1b[2Jh\xe2\x80\xae\r\nX: \x1b]0;a\x07\r\n\r\n"
        _, output, _ = self.run_command("explain", "-c", self.config, "--hex", octets.hex())
        self.assertTrue(output.isascii() and output.replace("\n", "").isprintable(), output)

    def test_what_does_not_go_together(self) -> None:
        for arguments in (
            ("--silent", "--alpn", "h2"),
            ("--silent", "--host", "h"),
            ("--pcap", "x", "--from", "10.0.0.1"),
            ("--sni", "a", "--proto", "udp"),
            ("--silent", "--from", "nobody"),
            ("--silent", "--listener", "nowhere"),
            ("--hex", "0"),
            ("--file", "/nonexistent"),
            ("--http", "GET /\r\n"),
        ):
            status, output, errors = self.run_command("explain", "-c", self.config, *arguments)
            self.assertEqual((status, output), (exits.USAGE, ""), arguments)
            self.assertTrue(errors.startswith("pmmuxctl explain: "), errors)


class CaptureTests(ConsoleCase):
    try:
        import scapy
    except ImportError:
        skip = "missing: scapy"

    def capture(self) -> str:
        path = self.mktemp()
        packets = [*Talk().open().say(b"GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\n").packets]
        packets.append(datagram(DNS_QUERY, at=1001.0))
        write_capture(path, [scapy_packet(each) for each in packets], 101, lambda packet: packet)
        return path

    def test_one_object_a_line(self) -> None:
        status, output, _ = self.run_command(
            "explain", "--config", self.config, "--pcap", self.capture(), "--json"
        )
        self.assertEqual(status, exits.OK)
        tcp, udp = map(json.loads, output.splitlines())
        self.assertEqual((tcp["flow"], tcp["proto"], tcp["backend"]), (1, "tcp", "web"))
        self.assertEqual((tcp["client"], tcp["server"]), ("10.0.0.9:50001", "10.0.0.1:443"))
        self.assertEqual((udp["flow"], udp["proto"], udp["backend"]), (2, "udp", "rest"))
        self.assertEqual((udp["detected"], udp["outcome"]), ("dns", "routed"))
        expected = {"backend", "verdict", "reason", "octets_seen", "octets_needed"}
        self.assertEqual(set(tcp["candidates"][0]), expected)

    def test_table(self) -> None:
        _, output, _ = self.run_command("explain", "--config", self.config, "--pcap", self.capture())
        self.assertEqual(len(output.splitlines()), 3)
        self.assertIn("10.0.0.9:50001", output)

    def test_named_listener_serves_one_protocol(self) -> None:
        arguments = ("--pcap", self.capture(), "--listener", "front", "--json")
        _, output, _ = self.run_command("explain", "-c", self.config, *arguments)
        outcomes = [json.loads(line)["outcome"] for line in output.splitlines()]
        self.assertEqual(outcomes, ["routed", "no-listener"])

    def test_garbage_is_named(self) -> None:
        status, output, errors = self.run_command("explain", "-c", self.config, "--pcap", self.config)
        self.assertEqual((status, output), (exits.USAGE, ""))
        self.assertIn(f"{self.config}: not a pcap or pcapng capture", errors)

    def test_without_scapy(self) -> None:
        missing = {name: None for name in sys.modules if name.split(".")[0] == "scapy"}
        with mock.patch.dict(sys.modules, {"scapy": None, "scapy.config": None, **missing}):
            status, _, errors = self.run_command("explain", "-c", self.config, "--pcap", self.config)
        self.assertEqual(status, exits.MISSING)
        self.assertIn("pmmux[explain]", errors)


class CheckTests(ConsoleCase):
    def test_nothing_to_say(self) -> None:
        self.assertEqual(self.run_command("check", self.config)[0], exits.OK)

    def test_advice(self) -> None:
        config = self.write(CONFIG + "[backend never]\nprotocol = noop\ndetect = ssh\n")
        status, output, _ = self.run_command("check", config)
        self.assertEqual(status, ADVICE_ONLY)
        self.assertIn(f"{config}:15 [backend rest]", output)
        self.assertIn("write instead: ", output)
        _, output, _ = self.run_command("check", "--json", config)
        found = json.loads(output)
        self.assertEqual((found["kind"], found["line"], found["topic"]), ("advice", 15, "catch-all"))

    def test_faults(self) -> None:
        config = self.write("[backend x]\nprotocol = pas\n")
        status, output, _ = self.run_command("check", "-c", config)
        self.assertEqual(status, exits.REFUSED)
        self.assertIn("did you mean 'pass'?", output)
        _, output, _ = self.run_command("check", "--json", config)
        self.assertEqual(json.loads(output.splitlines()[0])["kind"], "fault")


class CompletionTests(ConsoleCase):
    def test_every_command_and_option(self) -> None:
        registry = Registry()
        add_console_commands(registry)
        places = list(places_of(make_parser(registry)))
        for shell, write in WRITERS.items():
            written = "\n".join(write(places))
            for word in ("explain", "check", "pcap", "listener", "json"):
                self.assertIn(word, written, shell)

    def test_bash_completes(self) -> None:
        bash = shutil.which("bash")
        if bash is None:
            self.skipTest("missing: bash")
        script = self.run_command("completion", "bash")[1]
        ask = """
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _pmmuxctl; echo "${COMPREPLY[*]}"; }
ask pmmuxctl expl
ask pmmuxctl explain --pc
ask pmmuxctl explain --proto ''
ask pmmuxctl trace ''
ask pmmuxctl trace --li
ask pmmuxctl completion ''
"""
        done = subprocess.run([bash], input=script + ask, capture_output=True, text=True, check=True)
        self.assertEqual(
            done.stdout.splitlines(),
            [
                "explain",
                "--pcap",
                "tcp udp",
                "list show follow",
                "--listener --limit --live",
                "bash fish zsh",
            ],
        )
