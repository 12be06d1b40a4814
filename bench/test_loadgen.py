"""The load generator: that it loses nothing, and notices what it claims to notice."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.contenders import Routes
from bench.load import (
    COMPILER,
    SOURCES,
    TOOLS,
    LoadError,
    build_tools,
    make_certificate,
    read_result,
)
from bench.machine import choose_cores
from bench.stand import Effort, Running, Stand


class Relay:
    """
    Relays in threads, each connection as L{_serve} does it.

    @ivar port: where it listens.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        raise NotImplementedError


class AlteringRelay(Relay):
    """One that alters one octet of what goes to the client."""

    def __init__(self, upstream_port: int, altered_position: int) -> None:
        self._altered_position = altered_position
        super().__init__(upstream_port)

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
        threading.Thread(target=self._copy, args=(client, upstream, -1), daemon=True).start()
        self._copy(upstream, client, self._altered_position)

    @staticmethod
    def _copy(source: socket.socket, to: socket.socket, altered_position: int) -> None:
        position = 0
        try:
            while octets := bytearray(source.recv(65536)):
                if position <= altered_position < position + len(octets):
                    octets[altered_position - position] ^= 1
                position += len(octets)
                to.sendall(octets)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            to.close()


class TerminatingRelay(Relay):
    """One that terminates TLS."""

    def __init__(self, stand: Stand) -> None:
        certificate = stand.directory / "own.pem"
        make_certificate(certificate)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        super().__init__(stand.upstream_ports[0])

    def stop_resuming(self) -> None:
        """Give no tickets from now on."""
        self._context.num_tickets = 0

    def _serve(self, client: socket.socket) -> None:
        secured = self._context.wrap_socket(client, server_side=True)
        upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
        threading.Thread(target=self._copy, args=(secured, upstream), daemon=True).start()
        self._copy(upstream, secured)
        try:
            secured.unwrap()
        except OSError:
            secured.close()

    @staticmethod
    def _copy(source: socket.socket, to: socket.socket) -> None:
        try:
            while octets := source.recv(65536):
                to.sendall(octets)
        except OSError:
            to.close()


@functools.cache
def _built() -> Path:
    """The tools, compiled once for all tests."""
    directory = tempfile.mkdtemp(prefix="pmmux-bench-test-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    build_tools(Path(directory))
    return Path(directory)


class LoadgenTests(SynchronousTestCase):
    """The load generator against its own upstream, with nothing between; and with something that lies."""

    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler")
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        for tool in TOOLS:
            shutil.copy(_built() / tool, directory)
        self.stand = Stand(directory, choose_cores(), Effort(0.05, 2_000_000, 10), 100)
        self.addCleanup(self.stand.close)
        self.stand.open()

    def _through(self, port: int, names: int = 1) -> Running:
        return Running("test", port, Routes(names), self.stand._upstream)

    def test_direct(self) -> None:
        """Every mode measures something and loses nothing."""
        port = self.stand.upstream_ports[0]
        for mode, arguments in {
            "connections": (4, 0.05, 128),
            "paced-connections": (200, 0.05, 40_000),
            "echo": (8, 0.05, 64),
            "paced-echo": (8, 400, 0.05, 64),
            "down": (2_000_000, 3),
            "up": (2_000_000, 3),
            "half-close": (port, 300_000),
            "udp-echo": (4, 2, 0.05, 200),
        }.items():
            result = self.stand.run_load(mode, None, *arguments)
            self.assertGreater(result.units, 0, mode)
            self.assertEqual((result.errors, result.corrupt, result.fault()), (0, 0, ""), mode)
        self.assertEqual(result.extra, {"lost": 0, "unexpected": 0})

    def test_half_close_kept(self) -> None:
        """Both ways, with nothing between."""
        result = self.stand.run_load("half-close", None, self.stand.upstream_ports[0], 300_000)
        self.assertEqual(result.extra, {"client_first": 1, "upstream_first": 1})

    def test_secured(self) -> None:
        """Through something that terminates TLS; a session that was to be resumed and was not is an error."""
        relay = TerminatingRelay(self.stand)
        self.addCleanup(relay.close)
        for mode, arguments in {
            "tls-connections": (0, 2, 0.05, 128),
            "tls-down": (300_000, 2),
            "tls-up": (300_000, 2),
        }.items():
            result = self.stand.run_load(mode, self._through(relay.port), *arguments)
            self.assertGreater(result.units, 0, mode)
            self.assertEqual((result.errors, result.corrupt), (0, 0), mode)
        result = self.stand.run_load("tls-connections", self._through(relay.port), 1, 1, 0.05, 128)
        self.assertEqual((result.errors, result.extra["resumed"]), (0, result.units))
        relay.stop_resuming()
        result = self.stand.run_load("tls-connections", self._through(relay.port), 1, 1, 0.05, 128)
        self.assertEqual(result.units, 0)
        self.assertGreater(result.errors, 0)

    def test_without_openssl(self) -> None:
        """Where it could not be built with TLS, it says so."""
        command = [*shlex.split(COMPILER), "-DWITHOUT_TLS", "-o", "loadgen", str(SOURCES / "loadgen.c")]
        subprocess.run(command, cwd=self.stand.directory, check=True)
        error = self.assertRaises(LoadError, self.stand.run_load, "tls-down", None, 1, 1)
        self.assertIn("libssl-dev", str(error))

    def test_flood_counts_each_datagram_once(self) -> None:
        """What arrived and what was lost is what was offered."""
        result = self.stand.run_load("udp-flood", None, self.stand.upstream_ports[0], 2, 0.02, 100)
        self.assertEqual(result.units + result.extra["lost"], result.extra["offered"])
        self.assertEqual(result.extra["unexpected"], 0)

    def test_idle(self) -> None:
        """Connections are held until told, and looked at again then."""
        load = self.stand.start_load("idle", self._through(self.stand.upstream_ports[0]), 10)
        told, _ = load.communicate("go on\n", timeout=10)
        self.assertEqual(told.splitlines()[0], "held 10")
        self.assertEqual(read_result(told).units, 10)

    def test_altered_octet_is_seen(self) -> None:
        """One octet altered in one reply, a long one or a short one, is a corruption."""
        for mode, arguments, position in (
            ("connections", (1, 0.02, 128), 127),
            ("down", (1_000_000, 1), 777_777),
            ("echo", (1, 0.02, 64), 100),
        ):
            relay = AlteringRelay(self.stand.upstream_ports[0], position)
            self.addCleanup(relay.close)
            result = self.stand.run_load(mode, self._through(relay.port), *arguments)
            self.assertGreater(result.corrupt, 0, mode)
            self.assertIn("CORRUPT", result.fault())

    def test_wrong_upstream_is_seen(self) -> None:
        """Half of two names are not for the first upstream: it refuses them."""
        result = self.stand.run_load(
            "connections", self._through(self.stand.upstream_ports[0], 2), 1, 0.02, 128
        )
        self.assertGreater(result.errors, 0)

    def test_nobody_there(self) -> None:
        """A port that refuses is a failed run, soon."""
        result = self.stand.run_load("connections", self._through(self.stand.nursery.free_port()), 4, 1, 128)
        self.assertIn("failed", result.fault())

    def test_unknown_mode(self) -> None:
        """It is refused in words."""
        self.assertIn(
            "no such mode", str(self.assertRaises(LoadError, self.stand.run_load, "dance", None, 1))
        )

    def test_measure_notices_death(self) -> None:
        """A contender that died while it was measured is a fault, even where figures came out."""
        child = self.stand.nursery.spawn("victim", ["sleep", "60"], self.stand.cores.proxy)
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        running = Running("victim", self.stand.upstream_ports[0], Routes(1), child)
        self.assertIn("victim died", self.stand.measure(running, "echo", 1, 0.01, 64).fault)
