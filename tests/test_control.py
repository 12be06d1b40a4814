"""Steering the real process: the control socket and C{pmmuxctl}."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pmmux.control import exits
from pmmux.control.client import ControlClient, UnreachableError
from pmmux.control.protocol import CommandError
from tests.support.case import PmmuxCase, read_all, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import ROOT, Pmmux, clean_environment, descriptors
from tests.support.waiting import free_port, wait_for

TOKEN = "0123456789abcdef0123"
NOBODY = 65534


class ControlCase(PmmuxCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "control.sock"
        self.upstream = Peer(self, echo)

    def configure(self, more: str = "", backends: str = "") -> str:
        return f"""
[pmmux]
control-socket = {self.path}
drain-timeout = 1s
{more}

[listener front]
bind = 127.0.0.1
port = ?

[backend up]
protocol = pass
target = 127.0.0.1:{self.upstream.port}
detect = ssh

{backends}
"""

    def client(self, place: Any = None, token: str | None = None) -> ControlClient:
        client = ControlClient(str(place or self.path), token)
        self.addCleanup(client.close)
        return client

    def ctl(self, *words: str, status: int = exits.OK, **environment: str) -> str:
        """Run C{pmmuxctl}. @return: what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "pmmux.ctl", "--socket", str(self.path), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=clean_environment(**environment),
            timeout=60,
            check=False,
        )
        output = done.stdout.decode()
        self.assertEqual(done.returncode, status, f"{words}: {output}")
        return output

    def talk(self, started: Pmmux) -> socket.socket:
        """A connection that the upstream answers."""
        client = self.connect(started)
        client.sendall(b"SSH-2.0-x\r\n")
        self.assertEqual(read_exactly(client, 11), b"SSH-2.0-x\r\n")
        return client


class SocketTests(ControlCase):
    def test_only_its_owner_may_use_it(self) -> None:
        self.start(self.configure())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        if os.geteuid():
            return
        # Even where somebody opened the path to all.
        self.path.chmod(0o666)
        child = os.fork()
        if not child:
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as other:
                other.settimeout(10)
                other.connect(str(self.path))
                try:
                    other.sendall(b'{"version":1,"command":"status"}\n')
                    answer = other.recv(1000)
                except OSError:
                    answer = b""
            os._exit(1 if answer else 0)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_gone_at_the_end(self) -> None:
        started = self.start(self.configure())
        self.assertEqual(started.stop(), 0)
        self.assertFalse(self.path.exists())

    def test_one_that_was_killed_leaves_no_obstacle(self) -> None:
        started = self.start(self.configure())
        started.stop(signal.SIGKILL)
        self.assertTrue(self.path.exists())
        self.start(self.configure())
        self.client().call("status")

    def test_two_of_the_same_name(self) -> None:
        self.start(self.configure())
        second = Pmmux(self.make_directory("second"), self.configure())
        self.assertEqual(second.wait(), 1)
        self.assertIn("another pmmux listens there", second.output())
        self.client().call("status")

    def test_off(self) -> None:
        self.path = Path("off")
        started = self.start(self.configure())
        self.assertNotIn("control socket", started.output())

    def test_junk_and_floods_harm_nothing(self) -> None:
        started = self.start(self.configure())
        before = descriptors(started.pid)["socket"]
        idle = [self.connect(str(self.path)) for _ in range(20)]
        for octets in (
            b"\0" * 300_000,
            b"\n" * 300_000,
            b"{" * 70_000 + b"\n",
            b"{}\n" * 50_000,
            os.urandom(100_000),
        ):
            one = self.connect(str(self.path))
            threading.Thread(target=self.try_send, args=(one, octets), daemon=True).start()
        self.assertEqual(self.client().call("version")["pid"], started.pid)
        self.talk(started).close()
        for one in idle:
            one.close()
        wait_for(lambda: descriptors(started.pid)["socket"] <= before + 1, "no sockets left behind")

    def try_send(self, one: socket.socket, octets: bytes) -> None:
        try:
            one.sendall(octets)
            one.shutdown(socket.SHUT_WR)
            read_all(one)
        except OSError:
            pass
        finally:
            one.close()

    def test_more_connections_than_there_may_be_wait(self) -> None:
        self.start(self.configure())
        held = [self.connect(str(self.path)) for _ in range(32)]
        late = self.client()
        threading.Timer(0.2, held[0].close).start()
        late.call("version")


class TokenTests(ControlCase):
    def test_over_tcp(self) -> None:
        port = free_port()
        self.start(self.configure(f"control-listen = {port}\ncontrol-token = {TOKEN}"))
        self.assertIn("version", self.client(f"127.0.0.1:{port}", TOKEN).call("version"))
        self.assertRaises(UnreachableError, ControlClient, f"127.0.0.1:{port}", "wrong")
        self.assertRaises(UnreachableError, ControlClient, f"127.0.0.1:{port}")
        browser = self.connect(port)
        browser.sendall(b'POST / HTTP/1.1\r\nHost: x\r\n\r\n{"version":1,"command":"status"}\n')
        answers = read_all(browser)
        self.assertEqual(answers.count(b"\n"), 1)
        self.assertIn(b"not-allowed", answers)

    def test_not_without_a_token(self) -> None:
        refused = Pmmux(self.make_directory("refused"), self.configure("control-listen = 9000"))
        self.assertEqual(refused.wait(), 1)
        self.assertIn("needs a control-token", refused.output())


class SteeringTests(ControlCase):
    def test_trace_tells_what_happened(self) -> None:
        started = self.start(self.configure())
        self.talk(started).close()
        other = self.connect(started)
        other.sendall(b"\x1b]0;evil\x07\n")
        self.assertEqual(read_all(other), b"")
        other.close()
        started.wait_finished(2)
        routes = {route["outcome"]: route for route in self.client().call("trace.list")}
        self.assertEqual(set(routes), {"closed", "no-backend"})
        self.assertEqual(routes["closed"]["route"]["chosen"], "up")
        self.assertEqual(routes["no-backend"]["route"]["candidates"][0]["verdict"], "no match")
        logged = {event["connection_id"]: event["outcome"] for event in started.finished()}
        self.assertEqual(logged, {route["id"]: route["outcome"] for route in routes.values()})

    def test_one_connection_is_explained(self) -> None:
        """While it is open, and afterwards: as it was recorded when it was decided."""
        started = self.start(self.configure())
        client = self.talk(started)
        said = self.ctl("explain", "--id", "1")
        self.assertRegex(said, r"candidate +up +match after 11 octets: detect = ssh")
        client.close()
        started.wait_finished(1)
        told = json.loads(self.ctl("explain", "--id", "1", "--json"))
        self.assertEqual((told["id"], told["backend"]), (1, "up"))
        self.assertIn("no connection 7", self.ctl("explain", "--id", "7", status=exits.REFUSED))

    def test_sessions_are_seen_and_killed(self) -> None:
        started = self.start(self.configure())
        talking = self.talk(started)
        client = self.client()
        (session,) = client.call("sessions.list")
        self.assertEqual((session["backend"], session["octets_from_client"]), ("up", 11))
        self.assertEqual(client.call("status")["octets_from_clients"], 11)
        client.call("sessions.kill", ids=[str(session["id"])])
        self.assert_ended(talking)
        self.assertEqual(started.wait_finished(1)[0]["outcome"], "killed")

    def test_silent_ones_are_seen(self) -> None:
        started = self.start(self.configure())
        silent = self.connect(started)
        client = self.client()
        wait_for(lambda: client.call("sessions.list"), "the silent one")
        client.call("sessions.kill", all=True)
        self.assert_ended(silent)
        self.assertEqual(len(started.wait_finished(1)), 1)

    def test_backends_come_and_go(self) -> None:
        started = self.start(self.configure())
        client = self.client()
        with self.assertRaises(CommandError):
            client.call("backends.add", name="x", protocol="pass", options={"targt": "127.0.0.1:80"})
        client.call("backends.disable", name="up")
        self.assertEqual(self.refused(started), "no-backend")
        port = Peer(self, echo).port
        client.call("backends.add", name="new", protocol="pass", options={"target": f"127.0.0.1:{port}"})
        talking = self.talk(started)
        client.call("backends.enable", name="up")
        self.talk(started).close()
        client.call("backends.remove", name="new")
        self.assertEqual([each["name"] for each in client.call("backends.list")], ["up", "new"])
        talking.sendall(b"still")
        self.assertEqual(read_exactly(talking, 5), b"still")
        talking.close()
        wait_for(lambda: len(client.call("backends.list")) == 1, "only one backend")

    def test_listeners_come_and_go(self) -> None:
        started = self.start(self.configure())
        client = self.client()
        with self.assertRaises(CommandError) as refused:
            taken = str(self.upstream.port)
            client.call("listeners.add", name="x", options={"port": taken, "bind": "127.0.0.1"})
        self.assertEqual(refused.exception.code, "refused")
        options = {"port": "?", "bind": "127.0.0.1"}
        (place,) = client.call("listeners.add", name="more", options=options)["addresses"]
        talking = self.connect(int(place.rpartition(":")[2]))
        talking.sendall(b"SSH-2.0-y\r\n")
        self.assertEqual(read_exactly(talking, 11), b"SSH-2.0-y\r\n")
        path = self.directory / "more.sock"
        client.call("listeners.replace", name="more", options={"bind": f"unix:{path}"})
        self.connect(str(path)).close()
        # Of those that it had, only the one that talks is open then.
        started.wait_finished(1)
        self.assertEqual(client.call("listeners.remove", name="more"), {"name": "more", "open": 1})
        self.assertFalse(path.exists())
        talking.sendall(b"still")
        self.assertEqual(read_exactly(talking, 5), b"still")
        self.talk(started).close()

    def test_checks_come_and_go(self) -> None:
        self.start(self.configure())
        client = self.client()
        said = self.ctl("checks", "add", "one", "backend=up", "interval=100ms")
        self.assertRegex(said, r"one +up +connect")
        wait_for(lambda: client.call("health", backend="up")[0]["status"] == "healthy", "a passed check")
        client.call("checks.remove", name="one")
        self.assertEqual(client.call("health", backend="up")[0]["status"], "unknown")
        self.assertEqual(client.call("checks.list"), [])

    def refused(self, started: Pmmux) -> str:
        done = len(started.finished())
        client = self.connect(started)
        client.sendall(b"SSH-2.0-x\r\n")
        self.assert_ended(client)
        return str(started.wait_finished(done + 1)[-1]["outcome"])

    def test_reload(self) -> None:
        started = self.start(self.configure(), may_trouble=True)
        started.config_path.write_text(self.configure(backends="[backend rest]\nprotocol = noop"))
        client = self.client()
        client.call("reload")
        self.assertEqual([each["name"] for each in client.call("backends.list")], ["up", "rest"])
        started.config_path.write_text(self.configure(backends="[backend rest]\nprotocol = nop"))
        with self.assertRaises(CommandError) as refused:
            client.call("reload")
        self.assertIn("did you mean 'noop'?", str(refused.exception))
        self.assertEqual(len(client.call("backends.list")), 2)

    def test_draining_waits_for_the_last_and_kills(self) -> None:
        started = self.start(self.configure())
        talking = self.talk(started)
        client = self.client()
        state = client.call("backends.drain", name="up", seconds=1, kill=True)
        self.assertEqual(state["status"], "draining")
        self.assert_ended(talking)
        self.assertEqual(started.wait_finished(1)[0]["outcome"], "killed")

    def test_events_and_routes_as_they_come(self) -> None:
        started = self.start(self.configure())
        events = self.client().stream("events", recent=0)
        routes = self.client().stream("trace.follow")
        heard: list[Any] = []
        threads = [
            threading.Thread(target=lambda stream=stream: heard.append(next(stream)), daemon=True)
            for stream in (events, routes)
        ]
        for thread in threads:
            thread.start()
        client = self.client()

        def poke() -> bool:
            client.call("backends.disable", name="up")
            client.call("backends.enable", name="up")
            self.talk(started).close()
            return len(heard) == 2

        wait_for(poke, "an event and a route")
        self.assertEqual({"event" in each for each in heard}, {True, False})

    def test_the_socket_lives_through_the_drain(self) -> None:
        started = self.start(self.configure().replace("drain-timeout = 1s", "drain-timeout = 10s"))
        talking = self.talk(started)
        started.send_signal(signal.SIGTERM)
        wait_for(lambda: not self.client().call("listeners"), "no listeners")
        self.assertEqual(len(self.client().call("sessions.list")), 1)
        talking.close()
        self.assertEqual(started.wait(), 0)


class ConsoleTests(ControlCase):
    def test_tables_and_json(self) -> None:
        started = self.start(self.configure())
        self.talk(started).close()
        started.wait_finished(1)
        self.assertIn("BACKEND", self.ctl("backends"))
        (backend,) = [json.loads(line) for line in self.ctl("backends", "--json").splitlines()]
        self.assertEqual((backend["name"], backend["routed"]), ("up", 1))
        self.assertIn("closed", self.ctl("trace", "--backend", "up"))
        self.assertRegex(self.ctl("trace", "show", "1"), r"candidate +up +match")
        self.assertEqual(json.loads(self.ctl("status", "--json"))["pid"], started.pid)
        added = self.ctl("backends", "add", "x", "noop", "priority=standby", "--before", "up")
        self.assertIn("standby", added)
        self.assertEqual(json.loads(self.ctl("call", "log-level", "level=debug", "--json"))["level"], "debug")

    def test_exit_statuses(self) -> None:
        self.ctl("status", status=exits.UNREACHABLE)
        self.start(self.configure())
        self.ctl("backends", "remove", "nobody", status=exits.REFUSED)
        self.ctl("sessions", "kill", status=exits.USAGE)
        self.ctl("backends", "frobnicate", status=exits.USAGE)
        self.ctl("trace", "--limit", "x", status=exits.USAGE)
        self.assertIn("did you mean 'backends'?", self.ctl("backend", status=exits.USAGE))
        self.assertIn("NAME=VALUE", self.ctl("backends", "add", "x", "noop", "priority", status=exits.USAGE))

    def test_it_finds_the_only_one(self) -> None:
        directory = self.make_directory("run")
        environment = {"RUNTIME_DIRECTORY": str(directory)}
        config = self.configure().replace(f"control-socket = {self.path}", "")
        started = self.start(config, environment=environment)
        self.assertTrue((directory / "control.sock").is_socket())
        found = subprocess.run(
            [sys.executable, "-m", "pmmux.ctl", "status", "--json"],
            capture_output=True,
            cwd=ROOT,
            env=clean_environment(**environment),
            timeout=60,
            check=True,
        )
        self.assertEqual(json.loads(found.stdout)["pid"], started.pid)
