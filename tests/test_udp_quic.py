"""QUIC: real clients to two real servers on one port, by name, and a client whose address changes."""

from __future__ import annotations

import importlib.util

from tests.support.case import PmmuxCase
from tests.test_udp import backend, config

HAS_AIOQUIC = importlib.util.find_spec("aioquic") is not None
if HAS_AIOQUIC:
    from tests.support.quic import QuicClient, QuicServer

NAMES = ("one.example", "two.example")


class QuicTests(PmmuxCase):
    """aioquic on both sides."""

    skip = None if HAS_AIOQUIC else "missing: aioquic"

    def setUp(self) -> None:
        super().setUp()
        self.servers = {name: QuicServer(self, name) for name in NAMES}
        self.started = self.start(
            config(
                *(backend(name, self.servers[name].port, f"detect = quic\nsni = {name}") for name in NAMES),
                more="[pmmux]\nudp-idle-timeout = 2s\n",
            )
        )

    def test_by_name(self) -> None:
        """Each client reaches the server that it asks for, in either version."""
        for version_2 in (False, True):
            for name in NAMES:
                client = QuicClient(self, self.started.port, name, version_2=version_2)
                self.assertEqual(client.ask(b"hello"), name.encode() + b": hello")
                self.assertEqual(client.ask(bytes(20000)), name.encode() + b": " + bytes(20000))

    def test_hello_in_several_datagrams(self) -> None:
        """A hello that one datagram cannot hold."""
        protocols = tuple(f"protocol-{number}-{'x' * 40}" for number in range(60))
        for name in NAMES:
            client = QuicClient(self, self.started.port, name, protocols)
            self.assertEqual(client.ask(b"hello"), name.encode() + b": hello")
        for event in self.started.wait_finished(2):
            self.assertEqual((event["protocol"], event["sni"]), ("quic", event["backend"]))

    def test_migrated(self) -> None:
        """A client that goes on from another port reaches its server, which sees a new address."""
        for name in NAMES:
            client = QuicClient(self, self.started.port, name)
            self.assertEqual(client.ask(b"before"), name.encode() + b": before")
            self.assertEqual(len(self.servers[name].peers), 1)
            client.move()
            self.assertEqual(client.ask(b"after"), name.encode() + b": after")
            self.assertEqual(len(self.servers[name].peers), 2)
            client.move()
            self.assertEqual(client.ask(b"and again"), name.encode() + b": and again")

    def test_unknown_name(self) -> None:
        """A name that no rule has is silence."""
        client = QuicClient(self, self.started.port, "three.example")
        with self.assertRaises(AssertionError):
            client.ask(b"hello")
        self.assertEqual([len(server.peers) for server in self.servers.values()], [0, 0])
