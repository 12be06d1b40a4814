"""
Explain equals actual: what C{pmmuxctl explain} says of a capture is what the service did meanwhile.

Captures are made by tcpdump and dumpcap on the loopback, of real clients.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pmmux.explain.openings import client_hello
from tests.support.case import PmmuxCase, find_program
from tests.support.peers import Peer
from tests.support.process import Pmmux, clean_environment
from tests.support.waiting import wait_for

DETECT_SECONDS = 1.0
PAUSE_SECONDS = 0.05
CAPTURE_SECONDS = 15.0
QUIET_SECONDS = 0.5
BUFFER_KIB = "65536"
RULES = f"""
[pmmux]
detect-timeout = {DETECT_SECONDS:g}s
[listener front]
bind = 127.0.0.1, ::1
port = ?
[backend shop]
protocol = pass
target = 127.0.0.1:{{port}}
sni = shop.example.org
[backend modern]
protocol = pass
target = 127.0.0.1:{{port}}
alpn = h2
[backend tls]
protocol = pass
target = 127.0.0.1:{{port}}
detect = tls
[backend ssh]
protocol = pass
target = 127.0.0.1:{{port}}
detect = ssh
[backend api]
protocol = pass
target = 127.0.0.1:{{port}}
host = api\\.example\\.org
path = /v[12]/.*
[backend web]
protocol = pass
target = 127.0.0.1:{{port}}
detect = http
[backend six]
protocol = pass
target = 127.0.0.1:{{port}}
remote-ip = ::1
[backend mail]
protocol = pass
target = 127.0.0.1:{{port}}
"""


def greet(sock: socket.socket) -> None:
    """Speak first, and read until the client has ended."""
    sock.sendall(b"220 here\r\n")
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1 << 16):
        pass


def needs_programs(*names: str) -> Any:
    """Skip where one of the programs is missing, or captures may not be made."""
    missing = [name for name in names if find_program(name) is None]
    if os.geteuid() != 0:
        missing.append("the right to capture")
    try:
        import scapy  # noqa: F401
    except ImportError:
        missing.append("scapy")

    def mark(decorated: Any) -> Any:
        if missing:
            decorated.skip = f"missing: {', '.join(missing)}"
        return decorated

    return mark


class CaptureCase(PmmuxCase):
    """Captures, and explains."""

    def begin_capture(self, command: list[str], said: str) -> tuple[subprocess.Popen[Any], Path]:
        """Start C{command}, which says C{said} when it captures."""
        program = find_program(command[0])
        assert program is not None
        written = self.directory / f"{Path(program).name}.output"
        process = self.spawn([program, *command[1:]])
        wait_for(lambda: written.exists() and said in written.read_text(), f"{command} capturing")
        return process, Path(command[-1])

    def tcpdump(self, interface: str, what: str, name: str = "x.pcap") -> tuple[subprocess.Popen[Any], Path]:
        """Capture by tcpdump."""
        path = self.directory / name
        # It gives up privileges, and then could not write here; and without delay it has room for eight
        # packets only, if it is not given more.
        command = ["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-B", BUFFER_KIB, "-Z", "root"]
        return self.begin_capture([*command, *what.split(), "-w", str(path)], "listening on")

    def end_capture(self, capture: tuple[subprocess.Popen[Any], Path]) -> Path:
        """Let what was captured be written."""
        process, path = capture
        size = -1
        while path.stat().st_size != size:
            size = path.stat().st_size
            time.sleep(QUIET_SECONDS)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=CAPTURE_SECONDS)
        return path

    def explain(self, started: Pmmux, path: Path, *arguments: str) -> list[dict[str, Any]]:
        """What C{pmmuxctl explain} says of a capture."""
        command = [sys.executable, "-m", "pmmux.ctl", "explain", "--json", "--pcap", str(path)]
        written = subprocess.run(
            [*command, "--config", str(started.config_path), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=clean_environment(),
        )
        self.assertEqual((written.returncode, written.stderr), (0, ""))
        return [json.loads(line) for line in written.stdout.splitlines()]

    def try_command(self, *command: str) -> None:
        """Run a client; what becomes of it does not matter."""
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=CAPTURE_SECONDS,
            check=False,
        )

    def say(self, host: str, port: int, *pieces: bytes, pause: float = PAUSE_SECONDS) -> None:
        """A client that says C{pieces} one after the other, and reads the answer."""
        with socket.create_connection((host, port), timeout=CAPTURE_SECONDS) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            while client.recv(65536):
                pass

    def assert_explained(self, started: Pmmux, explained: list[dict[str, Any]], count: int) -> None:
        """Every connection that the service finished is explained as it was."""
        finished = started.wait_finished(count)
        # Of what the kernel did not let tcpdump see, it says so.
        whole = [each for each in explained if each["outcome"] != "incomplete-capture"]
        self.assertGreater(2 * len(whole), count)
        actual = {each["client"]: each for each in finished}
        self.assertEqual(len(actual), count)
        seen = {each["client"] for each in whole}
        wrong = [
            (each, actual[each["client"]])
            for each in whole
            if (each["backend"] or "") != actual[each["client"]]["backend"]
        ]
        self.assertEqual(wrong, [])
        found = {each["client"]: each["detected"] for each in whole}
        for each in finished:
            if each["protocol"] and each["client"] in seen:
                self.assertEqual(found[each["client"]], each["protocol"])


@needs_programs("tcpdump", "curl", "ssh", "openssl")
class RealClientTests(CaptureCase):
    def setUp(self) -> None:
        super().setUp()
        self.peer = Peer(self, greet)
        self.pmmux = self.start(RULES.format(port=self.peer.port))

    def run_clients(self) -> int:
        """Talk to pmmux in every way there is. @return: in how many connections."""
        port = str(self.pmmux.port)
        curl = ("curl", "-sk", "--max-time", "5", "-o", os.devnull)
        for host in ("127.0.0.1", "[::1]"):
            self.try_command(*curl, f"http://{host}:{port}/x")
            self.try_command(*curl, "-H", "Host: api.example.org", f"http://{host}:{port}/v2/y")
            bare = host.strip("[]")
            resolved = ("--resolve", f"shop.example.org:{port}:{bare}")
            self.try_command(*curl, *resolved, f"https://shop.example.org:{port}/")
            self.try_command(*curl, f"https://{host}:{port}/")
            ssh = ("ssh", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no")
            self.try_command(*ssh, "-o", "UserKnownHostsFile=/dev/null", "-p", port, f"nobody@{bare}", "true")
            openssl = ("openssl", "s_client", "-connect", f"{host}:{port}")
            self.try_command(*openssl, "-servername", "other.example.org", "-alpn", "h2")
            self.try_command(*openssl, "-noservername")
            self.say(bare, int(port))
            self.say(bare, int(port), b"EHLO me\r\n")
            hello = client_hello("shop.example.org")
            self.say(bare, int(port), *(hello[at : at + 100] for at in range(0, len(hello), 100)))
            self.say(bare, int(port), b"GET /", b"v1/", b"z HTTP/1.1\r\nHost: api.ex", b"ample.org\r\n\r\n")
            self.say(bare, int(port), b"GET", pause=1.5 * DETECT_SECONDS)
            with socket.create_connection((bare, int(port))) as client:
                client.sendall(hello[:50])
        return 26

    def check(self, interface: str, name: str = "x.pcap") -> list[dict[str, Any]]:
        capture = self.tcpdump(interface, f"tcp port {self.pmmux.port}", name)
        count = self.run_clients()
        self.pmmux.wait_finished(count)
        explained = self.explain(self.pmmux, self.end_capture(capture))
        self.assert_explained(self.pmmux, explained, count)
        return explained

    def test_on_the_loopback(self) -> None:
        explained = self.check("lo")
        backends = {each["backend"] for each in explained}
        self.assertEqual(backends, {"shop", "modern", "tls", "ssh", "api", "web", "six", "mail", None})
        self.assertIn("malformed", {each["outcome"] for each in explained})
        silent = [each for each in explained if each["decided_by"] == "detect-timeout"]
        for each in silent:
            self.assertAlmostEqual(each["waited_seconds"], DETECT_SECONDS, 1)
        self.assertTrue(silent)

    def test_on_all_interfaces_at_once(self) -> None:
        self.check("any")

    def test_the_same_in_the_other_formats(self) -> None:
        capture = self.tcpdump("lo", f"tcp port {self.pmmux.port}")
        self.try_command("curl", "-s", "--max-time", "5", f"http://127.0.0.1:{self.pmmux.port}/x")
        self.pmmux.wait_finished(1)
        path = self.end_capture(capture)
        expected = self.explain(self.pmmux, path)
        editcap = shutil.which("editcap")
        if editcap is None:
            self.skipTest("missing: editcap")
        for name in ("tagged", "cooked", "bare", "jumbled"):
            self.assertEqual(self.explain(self.pmmux, self.rewrite(path, name)), expected, name)
        for form in ("pcapng", "nsecpcap"):
            other = self.directory / f"x.{form}"
            self.run_command([editcap, "-F", form, str(path), str(other)])
            self.assertEqual(self.explain(self.pmmux, other), expected)

    def rewrite(self, path: Path, name: str) -> Path:
        """The same packets as another link would have brought them."""
        from scapy.layers.inet import TCP
        from scapy.layers.l2 import CookedLinux, Dot1Q, Ether
        from scapy.utils import rdpcap, wrpcap

        frames: list[Any] = list(rdpcap(str(path)))
        if name == "jumbled":
            # Neighbours of one direction change places, and everything comes twice.
            for place in range(len(frames) - 1):
                one, two = frames[place], frames[place + 1]
                if one[TCP].sport == two[TCP].sport and not one[TCP].flags.S:
                    frames[place], frames[place + 1] = two, one
            frames = [frame for frame in frames for _ in range(2)]
            made, link = frames, 1
        else:
            heads = {
                "tagged": lambda: Ether() / Dot1Q(vlan=5) / Dot1Q(vlan=7),
                "cooked": lambda: CookedLinux(proto=0x0800),
                "bare": None,
            }
            head, link = heads[name], {"tagged": 1, "cooked": 113, "bare": 101}[name]
            made = []
            for frame in frames:
                packet = frame.payload if head is None else head() / frame.payload
                packet.time = frame.time
                made.append(packet)
        other = self.directory / f"{name}.pcap"
        wrpcap(str(other), made, linktype=link)
        return other


@needs_programs("tcpdump", "dig")
class DatagramTests(CaptureCase):
    rules = """
[listener datagrams]
bind = 127.0.0.1, ::1
port = ?
protocol = udp
[backend names]
protocol = pass
target = 127.0.0.1:{port}
detect = dns
[backend rest]
protocol = pass
target = 127.0.0.1:{port}
"""

    def test_dig(self) -> None:
        upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(upstream.close)
        upstream.bind(("127.0.0.1", 0))
        started = self.start(
            "[pmmux]\nudp-idle-timeout = 1s\n" + self.rules.format(port=upstream.getsockname()[1])
        )
        capture = self.tcpdump("lo", f"udp port {started.port}")
        for host in ("127.0.0.1", "::1"):
            dig = ("dig", f"@{host}", "-p", str(started.port), "+tries=1", "+time=1", "+noedns")
            self.try_command(*dig, "a.example.org")
            self.try_command(*dig, "+edns=0", "TXT", "b.example.org")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.sendto(b"\x00\x01\x02", (host, started.port))
        explained = self.explain(started, self.end_capture(capture))
        self.assertEqual([each["backend"] for each in explained], ["names", "names", "rest"] * 2)
        self.assertEqual([each["detected"] for each in explained], ["dns", "dns", None] * 2)
        self.assert_explained(started, explained, 6)

    def test_quic(self) -> None:
        """By name, also where the hello fills several datagrams."""
        if importlib.util.find_spec("aioquic") is None:
            self.skipTest("missing: aioquic")
        from tests.support.quic import QuicClient, QuicServer

        names = ("one.example", "two.example")
        servers = {name: QuicServer(self, name) for name in names}
        rules = "".join(
            f"[backend {name}]\nprotocol = pass\ntarget = 127.0.0.1:{server.port}\nsni = {name}\n"
            for name, server in servers.items()
        )
        listener = "[listener datagrams]\nbind = 127.0.0.1\nport = ?\nprotocol = udp\n"
        started = self.start("[pmmux]\nudp-idle-timeout = 1s\n" + listener + rules)
        capture = self.tcpdump("lo", f"udp port {started.port}")
        many = tuple(f"protocol-{number}-{'x' * 40}" for number in range(60))
        for name, protocols in zip(names, ((), many), strict=True):
            QuicClient(self, started.port, name, protocols).ask(b"hello")
        explained = self.explain(started, self.end_capture(capture))
        self.assertEqual([each["backend"] for each in explained], list(names))
        self.assertEqual([each["detected"] for each in explained], ["quic", "quic"])
        self.assert_explained(started, explained, 2)
