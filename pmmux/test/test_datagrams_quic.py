"""QUIC sessions: hellos in several datagrams, amplification, and clients whose address changes."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from pmmux.datagrams.connection_ids import ConnectionIDs, ServerIDs, has_short_header
from pmmux.datagrams.options import SessionLimits
from pmmux.datagrams.preview import DATAGRAMS_LIMIT, DatagramInspection, DatagramPreview
from pmmux.inspection import ProbeCatalogue
from pmmux.model import Address, Client, Properties
from pmmux.probes import udp_quic
from pmmux.test.datagram_doubles import CLIENT, DETECT_SECONDS, OURS, PROBES, World
from pmmux.test.samples.udp_quic import MATCHING
from pmmux.test.samples.udp_quic import SEVERAL as THREE_DATAGRAMS

MOVED = ("198.51.100.99", 40000)
SERVER_ID = b"server-1"
CLIENT_ID = b"client-1"
VERSION_1 = b"\0\0\0\1"
INITIAL = 0xC0


def long_header(destination: bytes, source: bytes, octets: int = 100) -> bytes:
    """A packet with a long header."""
    ids = bytes([len(destination)]) + destination + bytes([len(source)]) + source
    return bytes([INITIAL]) + VERSION_1 + ids + bytes(octets)


def short_header(destination: bytes, rest: bytes = bytes(30)) -> bytes:
    """A packet of an established connection."""
    return b"\x40" + destination + rest


def sni_of(datagrams: Sequence[bytes]) -> str:
    """The server name that the hello in C{datagrams} asks for."""
    return udp_quic.inspect_several(datagrams).properties["tls.sni"]


class HelloTests(SynchronousTestCase):
    """Routing by what is in the Initial packets."""

    def test_by_name(self) -> None:
        """One datagram, one name."""
        name = sni_of(MATCHING[:1])
        world = World(other={"detect": "quic", "sni": "nobody.example"}, mine={"detect": "quic", "sni": name})
        world.client_sends(MATCHING[0])
        self.assertEqual(world.backends["mine"].last.received, [MATCHING[0]])
        self.assertEqual(world.session().record("x").sni, name)

    def test_in_several_datagrams(self) -> None:
        """The session waits, and sends all of them on in the order they came."""
        name = sni_of(THREE_DATAGRAMS)
        world = World(mine={"detect": "quic", "sni": name}, rest={})
        backend = world.backends["mine"]
        for datagram in reversed(THREE_DATAGRAMS):
            self.assertEqual(backend.opened, [])
            world.client_sends(datagram)
        self.assertEqual(backend.last.received, list(reversed(THREE_DATAGRAMS)))
        world.table.close()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_never_complete(self) -> None:
        """After the detect time-out, what has come decides."""
        name = sni_of(THREE_DATAGRAMS)
        world = World(mine={"detect": "quic", "sni": name}, rest={})
        world.client_sends(THREE_DATAGRAMS[0])
        world.clock.advance(DETECT_SECONDS - 0.1)
        self.assertEqual(world.backends["rest"].opened, [])
        world.clock.advance(0.2)
        self.assertEqual(world.backends["rest"].last.received, THREE_DATAGRAMS[:1])

    def test_endless(self) -> None:
        """It waits for so many datagrams, and no more."""
        world = World(mine={"detect": "quic", "sni": "some.example"}, rest={})
        for _ in range(DATAGRAMS_LIMIT + 1):
            world.client_sends(THREE_DATAGRAMS[0])
        self.assertEqual(len(world.backends["rest"].opened), 1)

    def test_is_quic_without_waiting(self) -> None:
        """Where only the protocol is asked for, the first datagram tells."""
        world = World(mine={"detect": "quic"})
        world.client_sends(THREE_DATAGRAMS[0])
        self.assertEqual(len(world.backends["mine"].opened), 1)

    def test_preview_bounds(self) -> None:
        """A preview holds so many octets."""
        preview = DatagramPreview(bytes(900), 1000)
        self.assertFalse(preview.feed(bytes(101)))
        self.assertTrue(preview.complete)
        self.assertEqual(preview.octets, bytes(900))

    def test_asked_late(self) -> None:
        """A probe that judges one datagram looks at the first, also where it is first asked after several."""
        preview = DatagramPreview(b"first", 1000)
        preview.feed(b"second")
        catalogue = ProbeCatalogue(PROBES)
        client = Client("udp", Address("192.0.2.1", 5000), OURS)
        inspection = DatagramInspection(client, Properties(), preview, catalogue)
        for name in ("dns", "quic"):
            self.assertIs(inspection.verdict(name).matched, False)

    def test_low_ports(self) -> None:
        """Reflectors have ports like 53: QUIC clients do not."""
        world = World(mine={"detect": "quic"}, lenient={"detect": "quic", "refuse-low-ports": "false"})
        world.client_sends(MATCHING[0], ("198.51.100.7", 443))
        self.assertEqual(world.outcomes(), ["source-refused"])
        world = World(lenient={"detect": "quic", "refuse-low-ports": "false"})
        world.client_sends(MATCHING[0], ("198.51.100.7", 443))
        self.assertEqual(len(world.backends["lenient"].opened), 1)


class PathTests(SynchronousTestCase):
    """What connection IDs tell."""

    def setUp(self) -> None:
        self.world = World(SessionLimits(100), mine={"detect": "quic"}, other={"detect": "dns"})
        self.world.client_sends(MATCHING[0])
        self.backend = self.world.backends["mine"]
        self.upstream = self.backend.last

    def establish(self) -> None:
        """Let the handshake go on to its end."""
        self.upstream.says(long_header(CLIENT_ID, SERVER_ID))
        self.world.client_sends(long_header(SERVER_ID, CLIENT_ID))
        self.world.client_sends(short_header(SERVER_ID))

    def test_amplification(self) -> None:
        """Three times what the client sent, until it writes to an ID that a reply told it."""
        sent = len(MATCHING[0])
        for _ in range(5):
            self.upstream.says(long_header(CLIENT_ID, SERVER_ID, sent - 60))
        self.assertEqual(len(self.world.sent), 3)
        self.world.client_sends(long_header(b"guess-it", CLIENT_ID, 0))
        self.upstream.says(bytes(1200))
        self.assertEqual(len(self.world.sent), 3)
        self.assertFalse(self.world.session().is_confirmed)
        self.world.client_sends(long_header(SERVER_ID, CLIENT_ID, 0))
        for _ in range(5):
            self.upstream.says(bytes(1200))
        self.assertEqual(len(self.world.sent), 8)

    def test_moved(self) -> None:
        """A client whose address changed reaches the server that it spoke with, by a path of its own."""
        self.establish()
        self.world.client_sends(short_header(SERVER_ID, b"from elsewhere"), MOVED)
        self.assertEqual(len(self.backend.opened), 2)
        self.assertEqual(self.backend.last.address, self.upstream.address)
        self.assertEqual(self.backend.last.received, [short_header(SERVER_ID, b"from elsewhere")])
        self.backend.last.says(b"\x40challenge")
        self.assertEqual(self.world.sent[-1], (MOVED, b"\x40challenge"))
        self.assertEqual(self.world.session(MOVED).detected, "quic")

    def test_moved_twice(self) -> None:
        """And once more, after it was established at its new address."""
        self.establish()
        self.world.client_sends(short_header(SERVER_ID), MOVED)
        self.backend.last.says(b"\x40challenge")
        self.world.client_sends(short_header(SERVER_ID), MOVED)
        self.assertTrue(self.world.session(MOVED).is_confirmed)
        self.world.table.finish(self.world.session(), "killed")
        self.world.client_sends(short_header(SERVER_ID), ("198.51.100.98", 1234))
        self.assertEqual(len(self.backend.opened), 3)

    def test_not_before_it_is_established(self) -> None:
        """An ID that only the server has used is nobody's yet."""
        self.upstream.says(long_header(CLIENT_ID, SERVER_ID))
        self.world.client_sends(short_header(SERVER_ID), MOVED)
        self.assertEqual(len(self.backend.opened), 1)
        self.assertEqual(self.world.outcomes(), ["no-backend"])

    def test_unknown(self) -> None:
        """An ID that nobody has is silence."""
        self.establish()
        self.world.client_sends(short_header(b"server-2"), MOVED)
        self.assertEqual(len(self.backend.opened), 1)
        self.assertEqual(self.world.sent, [(CLIENT, long_header(CLIENT_ID, SERVER_ID))])

    def test_moved_is_limited(self) -> None:
        """Until it answers from there, the new address gets three times what it sent."""
        self.establish()
        datagram = short_header(SERVER_ID, bytes(91))
        self.world.client_sends(datagram, MOVED)
        for _ in range(5):
            self.backend.last.says(bytes(100))
        self.assertEqual([name for name, _ in self.world.sent].count(MOVED), 3)

    def test_ended(self) -> None:
        """What has ended is not followed."""
        self.establish()
        self.world.table.finish(self.world.session(), "killed")
        self.world.client_sends(short_header(SERVER_ID), MOVED)
        self.assertEqual(self.world.outcomes(), ["killed", "no-backend"])

    def test_plain_afterwards(self) -> None:
        """An established session sends by the upstream's own method."""
        self.establish()
        self.assertEqual(self.world.session().send, self.upstream.send)


class ConnectionIDTests(SynchronousTestCase):
    """The IDs by themselves."""

    def test_server_ids(self) -> None:
        """Read from long headers, a bounded number."""
        ids = ServerIDs()
        for number in range(20):
            ids.read_reply(memoryview(long_header(b"", b"%d" % number)))
        self.assertEqual(len(ids.seen), 4)
        for octets in (b"", b"\xc0", b"\x40abc", bytes(60)):
            ids.read_reply(memoryview(octets))
            self.assertFalse(ids.is_answered_by(octets))

    def test_version_negotiation(self) -> None:
        """Chooses nothing."""
        ids = ServerIDs()
        ids.read_reply(b"\xc0\0\0\0\0\x01a\x01b" + bytes(8))
        self.assertEqual(ids.seen, set())

    def test_random_datagrams(self) -> None:
        """Never raise."""
        table = ConnectionIDs()
        table.add(SERVER_ID, "session")
        for size in range(64):
            datagram = bytes([0x40 | size]) * size
            table.find(datagram)
            ServerIDs().read_reply(datagram)
            has_short_header(datagram)

    def test_taken_over(self) -> None:
        """Forgetting the older session keeps the younger's."""
        table = ConnectionIDs()
        table.add(SERVER_ID, "old")
        table.add(SERVER_ID, "new")
        table.discard({SERVER_ID}, "old")
        self.assertEqual(table.find(short_header(SERVER_ID)), "new")
        table.discard({SERVER_ID}, "new")
        self.assertIsNone(table.find(short_header(SERVER_ID)))

    def test_empty_id(self) -> None:
        """A server without IDs cannot be followed."""
        table = ConnectionIDs()
        table.add(b"", "session")
        self.assertIsNone(table.find(short_header(b"")))
