"""A changed configuration is taken in without dropping anybody, and a wrong one not at all."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, read_all, read_exactly
from tests.support.load import Load, Server, ask
from tests.support.peers import Peer, all_answer_with, echo
from tests.support.process import Pmmux, descriptors
from tests.support.waiting import accepts, free_port, wait_for

RELOADED = "the configuration was reloaded"
REFUSED = "the configuration was not reloaded"


def count(started: Pmmux, message: str) -> int:
    return sum(message in event["message"] for event in started.events())


class ReloadCase(PmmuxCase):
    def reload(self, started: Pmmux, config: str, expected: str = RELOADED) -> None:
        before = count(started, expected)
        started.config_path.write_text(config)
        started.send_signal(signal.SIGHUP)
        wait_for(lambda: count(started, expected) > before, expected)

    def name(self, port: int) -> str:
        """The name that the server behind C{port} tells."""
        client = self.connect(port)
        told = client.makefile("rb").readline().decode().strip()
        client.close()
        return told

    def messages(self, started: Pmmux) -> str:
        return "\n".join(event["message"] for event in started.events())


def config(backends: str, listeners: str = "", options: str = "") -> str:
    front = "[listener front]\nbind = 127.0.0.1\nport = ?\n"
    return f"[pmmux]\nmux-only = true\n{options}\n{listeners or front}\n{backends}\n"


def backend(name: str, port: int, more: str = "") -> str:
    return f"[backend {name}]\nprotocol = pass\ntarget = 127.0.0.1:{port}\n{more}\n"


class BackendTests(ReloadCase):
    def test_added_removed_and_ordered(self) -> None:
        ports = all_answer_with(self, ("one", "two"))
        started = self.start(config(backend("one", ports["one"])))
        self.assertEqual(self.name(started.port), "one")
        both = backend("two", ports["two"]) + backend("one", ports["one"])
        self.reload(started, config(both))
        self.assertEqual(self.name(started.port), "two")
        self.reload(started, config(backend("one", ports["one"]) + backend("two", ports["two"])))
        self.assertEqual(self.name(started.port), "one")
        self.reload(started, config(backend("two", ports["two"])))
        self.assertEqual(self.name(started.port), "two")
        self.assertIn("backends: removed one", self.messages(started))

    def test_changed(self) -> None:
        ports = all_answer_with(self, ("old", "new"))
        started = self.start(config(backend("up", ports["old"])))
        client = self.connect(started)
        self.assertEqual(read_exactly(client, 4), b"old\n")
        self.reload(started, config(backend("up", ports["new"])))
        self.assertEqual(self.name(started.port), "new")
        client.sendall(b"still here")
        client.shutdown(1)
        self.assertEqual(client.recv(10), b"")
        self.assertIn("backends: changed up", self.messages(started))

    def test_a_drain_that_ends_early(self) -> None:
        port = Peer(self, echo).port
        started = self.start(config(backend("up", port) + backend("rest", port)))
        client = self.connect(started)
        client.sendall(b"a")
        self.assertEqual(client.recv(1), b"a")
        self.reload(started, config(backend("rest", port)))
        self.assertIn("backend up drains: 1 connections", self.messages(started))
        client.close()
        self.assertEqual(started.wait_finished(1)[0]["outcome"], "closed")

    def test_a_drain_that_ends_late(self) -> None:
        port = Peer(self, echo).port
        started = self.start(config(backend("up", port, "drain-timeout = 300") + backend("rest", port)))
        client = self.connect(started)
        client.sendall(b"a")
        self.assertEqual(client.recv(1), b"a")
        began_at = time.monotonic()
        self.reload(started, config(backend("rest", port)))
        self.assert_ended(client)
        self.assertGreater(time.monotonic() - began_at, 0.2)
        self.assertEqual(started.wait_finished(1)[0]["outcome"], "drain-timeout")


class ListenerTests(ReloadCase):
    def listener(self, name: str, port: int, more: str = "") -> str:
        return f"[listener {name}]\nbind = 127.0.0.1\nport = {port}\n{more}\n"

    def test_added_and_removed(self) -> None:
        one, two = free_port(), free_port()
        up = backend("up", all_answer_with(self, ("up",))["up"])
        started = self.start(config(up, self.listener("one", one)))
        client = self.connect(one)
        self.assertEqual(read_exactly(client, 3), b"up\n")
        self.reload(started, config(up, self.listener("two", two)))
        self.assertEqual(self.name(two), "up")
        self.assertFalse(accepts(one))
        client.shutdown(1)
        self.assertEqual(client.recv(1), b"")

    def test_the_same_port_is_handed_over(self) -> None:
        port = free_port()
        up = backend("up", all_answer_with(self, ("up",))["up"])
        started = self.start(config(up, self.listener("one", port)))
        before = self.inodes(started)
        self.reload(started, config(up, self.listener("other", port)))
        self.assertEqual(self.name(port), "up")
        self.assertEqual(self.inodes(started), before)
        self.assertEqual(started.wait_finished(1)[0]["listener"], "other")

    def inodes(self, started: Pmmux) -> set[str]:
        """The listening sockets it has."""
        table = Path(f"/proc/{started.pid}/net/tcp").read_text().splitlines()[1:]
        listening = {fields[9] for fields in map(str.split, table) if fields[3] == "0A"}
        links = {
            str(path.readlink()) for path in Path(f"/proc/{started.pid}/fd").iterdir() if path.is_symlink()
        }
        return listening & {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}

    def test_a_unix_socket_is_handed_over(self) -> None:
        path = str(self.directory / "front.sock")
        up = backend("up", all_answer_with(self, ("up",))["up"])
        started = self.start(config(up, f"[listener one]\nbind = unix:{path}\n"))
        self.reload(started, config(up, f"[listener two]\nbind = unix:{path}\n"))
        self.assertEqual(read_exactly(self.connect(path), 3), b"up\n")
        port = free_port()
        self.reload(started, config(up, self.listener("one", port)))
        self.assertFalse(Path(path).exists())

    def test_udp(self) -> None:
        port, upstream = free_port(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(upstream.close)
        upstream.settimeout(5)
        upstream.bind(("127.0.0.1", 0))
        up = backend("up", upstream.getsockname()[1])
        started = self.start(config(up, self.listener("one", port, "protocol = udp")))
        for name in ("one", "two", "one"):
            self.reload(started, config(up, self.listener(name, port, "protocol = udp")))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.sendto(name.encode(), ("127.0.0.1", port))
                octets, source = upstream.recvfrom(100)
                self.assertEqual(octets, name.encode())
                upstream.sendto(b"back", source)
                self.assertEqual(client.recv(100), b"back")


class OptionTests(ReloadCase):
    def test_at_once_and_not_until_restart(self) -> None:
        port = Peer(self, echo).port
        up = backend("up", port, "detect = http")
        started = self.start(config(up, options="detect-timeout = 20s\nselection-timeout = 30s"))
        changed = config(up, options="detect-timeout = 100\nselection-timeout = 200\nqueue-length = 7")
        self.reload(started, changed)
        client = self.connect(started)
        # Could yet become a request; only the time-out tells that it does not.
        client.sendall(b"G")
        read_all(client)
        self.assertEqual(started.wait_finished(1, 5.0)[0]["outcome"], "no-backend")
        text = self.messages(started)
        self.assertIn("options: changed detect-timeout, selection-timeout", text)
        self.assertIn("queue-length changes only when pmmux is started again", text)

    def test_verbosity_and_strategy(self) -> None:
        ports = all_answer_with(self, ("one", "two"))
        up = backend("one", ports["one"]) + backend("two", ports["two"])
        started = self.start(config(up))
        self.assertEqual({self.name(started.port) for _ in range(3)}, {"one"})
        self.reload(started, config(up, options="routing-strategy = round-robin"))
        self.assertEqual({self.name(started.port) for _ in range(4)}, {"one", "two"})


class WrongFileTests(ReloadCase):
    def test_nothing_changes_and_all_faults_are_told(self) -> None:
        ports = all_answer_with(self, ("one", "two"))
        started = self.start(config(backend("one", ports["one"])), may_trouble=True)
        wrong = config(backend("two", ports["two"], "prioritty = vip"), options="detect-timeout = soon")
        self.reload(started, wrong, REFUSED)
        text = self.messages(started)
        self.assertIn("prioritty", text)
        self.assertIn("detect-timeout", text)
        self.assertEqual(self.name(started.port), "one")
        self.reload(started, config(backend("two", ports["two"])))
        self.assertEqual(self.name(started.port), "two")

    def test_a_taken_port(self) -> None:
        ports = all_answer_with(self, ("one", "two"))
        taken, free = self.listen().getsockname()[1], free_port()
        started = self.start(config(backend("one", ports["one"])), may_trouble=True)
        listeners = (
            f"[listener a]\nbind = 127.0.0.1\nport = {free}\n[listener b]\nbind = 127.0.0.1\nport = {taken}\n"
        )
        self.reload(started, config(backend("two", ports["two"]), listeners), REFUSED)
        self.assertIn("listener b: cannot listen", self.messages(started))
        self.assertFalse(accepts(free))
        self.assertEqual(self.name(started.port), "one")


class UnderLoad:
    """
    @cvar reloads: how many.
    """

    reloads: int

    def test_nobody_is_dropped(self) -> None:
        servers = [Server(self, name) for name in ("a", "b", "c")]
        port, other = free_port(), free_port()

        def version(number: int) -> str:
            # Everything changes in turn: order, options and number of backends, names of listeners.
            shifted = [servers[(number + place) % 3] for place in range(3 - number % 2)]
            backends = "".join(
                backend(each.name, each.port, f"weight = {1 + number % 4}" if each.name == "a" else "")
                for each in shifted
            )
            name = f"front{number % 3}"
            listeners = f"[listener {name}]\nbind = 127.0.0.1\nport = {port}\n"
            if number % 5 == 0:
                listeners += f"[listener other]\nbind = 127.0.0.1\nport = {other}\n"
            checks = "[health-check all]\ntype = http\ninterval = 1s\n" if number % 4 else ""
            strategy = ("round-robin", "first-available", "source-hash")[number % 3]
            return config(backends, listeners, f"routing-strategy = {strategy}") + checks

        started = self.start(version(1))
        self.assertIn(ask(port), ("a", "b", "c"))
        before = descriptors(started.pid)["socket"]
        load = Load(self, port)
        for number in range(2, self.reloads + 2):
            self.reload(started, version(number))
        load.go_on(20)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(count(started, RELOADED), self.reloads)
        self.assertGreater(load.total, 2 * self.reloads)
        self.assertEqual({event["outcome"] for event in started.finished()}, {"closed"})
        # The last version is as the first one was, and nothing of those between is left.
        self.wait_closed(started, before)


class FastUnderLoadTests(UnderLoad, OnFastPath, ReloadCase):
    reloads = 200


class PortableUnderLoadTests(UnderLoad, OnPortablePath, ReloadCase):
    reloads = 20
