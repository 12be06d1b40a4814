"""
Doubles for tests of datagrams: clients, a listener's sessions and upstreams, without a socket.

A test makes a L{World}, lets clients send with L{World.client_sends}, lets an upstream answer with
L{FakeUpstream.says}, and looks at what L{World.sent} holds, which is what left for the clients.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from pmmux.datagrams.options import BACKEND_OPTIONS, SessionLimits
from pmmux.datagrams.services import DatagramServices, DatagramSettings
from pmmux.datagrams.session import DatagramSession
from pmmux.datagrams.table import SessionTable
from pmmux.errors import UpstreamError
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import IDatagramBackend, IDatagramSession
from pmmux.matching import compile_condition, standard_options
from pmmux.members import Member
from pmmux.model import Address, BackendSpec, PriorityTier
from pmmux.probes import udp_dns, udp_dtls, udp_quic, udp_wireguard
from pmmux.router import Router
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.doubles import FakeReporter, read_options, run_now
from pmmux.transport.datagram_ports import Buffer, DatagramPort

PROBES = (udp_quic.probe, udp_dns.probe, udp_dtls.probe, udp_wireguard.probe)
PROBE_NAMES = ("dns", "dtls", "quic", "ssh", "wireguard")
OURS = Address("203.0.113.1", 4433)
CLIENT = ("198.51.100.7", 50000)
IDLE_SECONDS = 60.0
DETECT_SECONDS = 3.0
SELECTION_SECONDS = 5.0
WAIT_MILLISECONDS = 2000


@implementer(IDatagramSession)
class FakeUpstream:
    """
    The upstream's side of one session.

    @ivar received: what was sent to it.
    @ivar error: raised instead of taking the next datagram.
    """

    def __init__(self, address: Address, peer: Any, local_name: tuple[str, int]) -> None:
        self.address = address
        self.peer = peer
        self.local_name = local_name
        self.received: list[bytes] = []
        self.error: OSError | None = None
        self.is_closed = False

    def send(self, octets: Any) -> None:
        """Take a datagram."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.received.append(bytes(octets))

    def says(self, octets: bytes) -> None:
        """Let it answer."""
        self.peer.reply(memoryview(octets))

    def close(self) -> None:
        """Forget the client."""
        self.is_closed = True


@implementer(IDatagramBackend)
class FakeDatagramBackend:
    """
    A backend with upstreams that the test drives.

    @ivar opened: its upstreams, in the order they were opened.
    @ivar waits: whether opening waits, each for a Deferred of its own in C{gates}.
    @ivar refuses: whether opening fails.
    """

    tier = PriorityTier.NORMAL
    weight = 1

    def __init__(self, name: str, written: Mapping[str, str]) -> None:
        options = read_options((*standard_options(PROBE_NAMES), *BACKEND_OPTIONS), written, "backend", name)
        self.name = name
        self.spec = BackendSpec(name, "fake", options)
        self.condition = compile_condition(options)
        self.target = f"{name}.example:1"
        self.opened: list[FakeUpstream] = []
        self.clients: list[Any] = []
        self.waits = False
        self.gates: list[Deferred[None]] = []
        self.refuses = False

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to release."""

    async def open_session(self, client: Any, peer: Any, address: Any = None) -> FakeUpstream:
        """Open one."""
        if self.waits:
            self.gates.append(Deferred())
            await self.gates[-1]
        if self.refuses:
            raise UpstreamError(self.target, "refused")
        self.clients.append(client)
        local_name = ("127.0.0.1", 10000 + len(self.opened))
        upstream = FakeUpstream(address or Address("192.0.2.1", 1), peer, local_name)
        self.opened.append(upstream)
        return upstream

    @property
    def last(self) -> FakeUpstream:
        """The upstream opened last."""
        return self.opened[-1]


class World:
    """
    One listener's sessions, with clients on one side and backends on the other.

    @ivar sent: what left for clients: to whom, and the octets.
    @ivar finished: the sessions that ended, with their outcomes.
    @ivar failures: the backends that were reported as failed.
    """

    def __init__(
        self,
        limits: SessionLimits | None = None,
        idle_seconds: float = IDLE_SECONDS,
        **backends: Mapping[str, str],
    ) -> None:
        """@param backends: options by name; C{_} in a name stands for a hyphen."""
        self.clock = Clock()
        self.reporter = FakeReporter()
        self.router = Router(FirstAvailable(), self.reporter)
        self.backends: dict[str, FakeDatagramBackend] = {}
        for name, written in backends.items():
            self.add(FakeDatagramBackend(name, written))
        self.finished: list[tuple[DatagramSession, str]] = []
        settings = DatagramSettings(
            detect_seconds=DETECT_SECONDS,
            selection_seconds=SELECTION_SECONDS,
            idle_seconds=idle_seconds,
            connect_retries=3,
            most=4096,
            preview_octets=32768,
        )
        path: Any = None
        self.services = DatagramServices(
            self.clock,
            self.router,
            path,
            ProbeCatalogue(PROBES),
            settings,
            self.reporter,
            itertools.count(1),
            lambda session, outcome: self.finished.append((session, outcome)),
        )
        self.failures: list[tuple[str, str]] = []
        self.services.failed = lambda member, reason: self.failures.append((member.name, reason))
        self.answered: list[str] = []
        self.services.answered = lambda member: self.answered.append(member.name)
        self.table = SessionTable(self.services, "front", limits or SessionLimits(settings.most))
        self.sent: list[tuple[Any, bytes]] = []
        self._buffer = Buffer()
        self.port = self.make_port(OURS)

    def add(self, backend: Any) -> Member:
        """One more backend."""
        self.backends[backend.name] = backend
        member: Member = run_now(self.router.add(backend))
        return member

    def member(self, name: str) -> Member:
        """The router's view of a backend."""
        found = self.router.member(name)
        assert found is not None
        return found

    def make_port(self, address: Address) -> DatagramPort:
        """One of the listener's addresses."""

        def sendto(octets: Any, name: Any) -> None:
            self.sent.append((name, bytes(octets)))

        return DatagramPort(address, self._buffer, self.table.counts, self.table.arrived, None, sendto)

    def client_sends(self, octets: bytes, name: Any = CLIENT, port: DatagramPort | None = None) -> None:
        """A datagram arrives."""
        self._buffer.view[: len(octets)] = octets
        (port or self.port).deliver(name, len(octets))

    def session(self, name: Any = CLIENT) -> DatagramSession:
        """The session of a client."""
        found: DatagramSession = self.port.sessions[name]
        return found

    def outcomes(self) -> list[str]:
        """How sessions ended, in the order they did."""
        return [outcome for _, outcome in self.finished]

    def total(self, name: str, **labels: str) -> float:
        """A counter as it stands."""
        return self.reporter.counter(name, **labels).read()


class HandReactor(Clock):
    """A clock that also keeps readers, and lets them read when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """See IReactorFDSet."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """See IReactorFDSet."""
        self.readers.remove(reader)

    def turn(self) -> None:
        """Wait until something can be read, and let it be."""
        poll = select.poll()
        by_descriptor = {reader.fileno(): reader for reader in self.readers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(WAIT_MILLISECONDS):
            by_descriptor[descriptor].doRead()
