"""A datagram listener on loopback: from its sockets to a real upstream and back."""

from __future__ import annotations

import itertools
import socket
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends import noop, passthrough
from pmmux.config.settings import ListenerSpec
from pmmux.datagram_listening import DatagramListener
from pmmux.datagrams.options import BACKEND_OPTIONS, LISTENER_OPTIONS
from pmmux.datagrams.services import DatagramServices, DatagramSettings
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import IDatagramBackend, IListener
from pmmux.matching import compile_condition, standard_options
from pmmux.model import BackendSpec
from pmmux.router import Router
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.datagram_doubles import PROBE_NAMES, PROBES, HandReactor
from pmmux.test.doubles import FakeReporter, read_options, run_now
from pmmux.transport.datagram import DatagramPath
from pmmux.transport.datagram_sockets import open_datagram_sockets

TURNS = 4


class ListenerTests(SynchronousTestCase):
    """One listener, and backends of the two built-in kinds that take datagrams."""

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.reporter = FakeReporter()
        self.router = Router(FirstAvailable(), self.reporter)
        self.path = DatagramPath(self.reactor, None)
        self.outcomes: list[str] = []
        self.services = DatagramServices(
            self.reactor,
            self.router,
            self.path,
            ProbeCatalogue(PROBES),
            DatagramSettings(3.0, 5.0, 60.0, 3, 100, 32768),
            self.reporter,
            itertools.count(1),
            lambda session, outcome: self.outcomes.append(outcome),
        )
        section = read_options(LISTENER_OPTIONS, {}, "listener", "front")
        spec = ListenerSpec("front", "udp", ("127.0.0.1",), None, None, None, True, section)
        self.listener = DatagramListener(
            spec, open_datagram_sockets("front", spec.binds, None), self.services
        )
        self.addCleanup(self.listener.stop)
        self.client = self.open(self.listener.addresses()[0].port)

    def open(self, connected_to: int = 0) -> socket.socket:
        """A socket of the test."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.settimeout(2)
        sock.bind(("127.0.0.1", 0))
        if connected_to:
            sock.connect(("127.0.0.1", connected_to))
        return sock

    def add(self, protocol: passthrough.PassProtocol | noop.NoopProtocol, **written: str) -> None:
        """A backend."""
        options = (*standard_options(PROBE_NAMES), *protocol.options, *BACKEND_OPTIONS)
        section = read_options(options, written)
        wiring = SimpleNamespace(
            connector=None,
            connect_seconds=1.0,
            datagrams=self.path,
            reactor=self.reactor,
            reporter=self.reporter,
        )
        spec = BackendSpec(protocol.name, protocol.name, section)
        backend = protocol.create(spec, compile_condition(section), wiring)
        verifyObject(IDatagramBackend, backend)
        run_now(self.router.add(backend))

    def test_interface(self) -> None:
        """It is a listener."""
        verifyObject(IListener, self.listener)

    def test_to_and_fro(self) -> None:
        """Through C{pass}, and back to the client."""
        server = self.open()
        self.add(passthrough.protocol, target=f"127.0.0.1:{server.getsockname()[1]}")
        self.listener.start()
        for octets in (b"one", b"", b"three"):
            self.client.send(octets)
            self.reactor.turn()
            question, name = server.recvfrom(100)
            self.assertEqual(question, octets)
            server.sendto(octets * 2, name)
            self.reactor.turn()
            self.assertEqual(self.client.recv(100), octets * 2)
        (session,) = self.listener.table.sessions.values()
        self.assertTrue(session.is_confirmed)
        self.assertEqual((session.datagrams_from_client, session.datagrams_from_upstream), (3, 3))

    def test_refused_and_back_again(self) -> None:
        """An upstream that is not there is reported; when it is, the client reaches it."""
        server = self.open()
        place = server.getsockname()
        server.close()
        failed: list[str] = []
        self.services.failed = lambda member, reason: failed.append(reason)
        self.add(passthrough.protocol, target=f"127.0.0.1:{place[1]}")
        self.listener.start()
        self.client.send(b"lost")
        for _ in range(2):
            self.reactor.turn()
        self.assertEqual(failed, ["Connection refused"])
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(again.close)
        again.settimeout(2)
        again.bind(place)
        self.client.send(b"found")
        self.reactor.turn()
        self.assertEqual(again.recv(100), b"found")

    def test_noop(self) -> None:
        """Swallows."""
        self.add(noop.protocol)
        self.listener.start()
        for _ in range(2):
            self.client.send(b"x")
            self.reactor.turn()
        (session,) = self.listener.table.sessions.values()
        self.assertEqual(session.datagrams_from_client, 2)

    def test_stop(self) -> None:
        """Sessions end, and nothing is left in the reactor."""
        self.add(noop.protocol)
        self.listener.start()
        self.client.send(b"x")
        self.reactor.turn()
        self.listener.stop()
        self.assertEqual(self.outcomes, ["listener-closed"])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
        self.assertEqual(self.services.own_names, set())

    def test_drain(self) -> None:
        """Told when the last session has fallen silent."""
        self.add(noop.protocol)
        self.listener.start()
        self.client.send(b"x")
        self.reactor.turn()
        drained: list[int] = []
        self.listener.drain(lambda: drained.append(1))
        self.reactor.pump([0.5] * TURNS)
        self.assertEqual((drained, self.outcomes), ([1], ["idle-timeout"]))
