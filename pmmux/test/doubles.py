"""
Doubles for tests of pmmux and of its extensions: none of them does I/O that its test does not drive.

A test of a backend protocol, say, makes a specification with L{make_spec}, a client's connection
with L{make_connection}, and looks at what its L{ClientTransport} was told. Values that an extension
would be given by the service come from L{make_services}. A coroutine is run with L{run_now}, or, where
it has to wait, with C{Deferred.fromCoroutine}.

For tests of real sockets there is L{pmmux.test.tiny_reactor}, and for protocols and transports alone
L{pmmux.test.stream_doubles}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.config.checking import check_section
from pmmux.config.draft import DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.options import Option
from pmmux.connection import Connection
from pmmux.inspection import Inspection, ProbeCatalogue
from pmmux.interfaces import IConnectionBackend, INegotiator, IProtocolBackend, IRoutingStrategy
from pmmux.matching import compile_condition, standard_options
from pmmux.members import Member
from pmmux.metrics.reporter import MetricReporter
from pmmux.model import Address, BackendSpec, Client, Location, PriorityTier, Properties, SectionValues
from pmmux.preview import Preview, PreviewTransport
from pmmux.registry import Registry, Services
from pmmux.test.stream_doubles import ClientTransport, RecordingProtocol
from pmmux.transport.interfaces import IDataPath, IRelay, IRelayOwner

REMOTE = Address("198.51.100.7", 50000)
LOCAL = Address("203.0.113.1", 443)
PREVIEW_OCTETS = 32768


def make_client(remote: Address = REMOTE, local: Address = LOCAL, transport: str = "tcp") -> Client:
    """A client."""
    return Client(transport, remote, local)


def run_now(coroutine: Any) -> Any:
    """
    Run a coroutine that has nothing to wait for.

    @return: what it returns; what it raises is raised.
    @raises AssertionError: it waits.
    """
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    if not outcome:
        raise AssertionError("the coroutine waits")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


# Configuration.


def read_options(
    options: Sequence[Option], written: Mapping[str, str], kind: str = "backend", name: str = "b"
) -> SectionValues:
    """
    A section as the configuration would read it.

    @param written: option, with key and negation, to text.
    @raises pmmux.errors.ConfigurationError: something in it is wrong.
    """
    entries = tuple(Entry(key, text, Location("test", 1, name, key)) for key, text in written.items())
    faults = FaultList(["test"])
    found = check_section(DraftSection(kind, name, entries, Location("test", 1, name)), options, faults)
    if faults:
        raise faults.error()
    return found


def builtin_registry() -> Registry:
    """A registry with everything that pmmux brings itself."""
    registry = Registry()
    registry.load(())
    return registry


def make_spec(
    name: str, protocol: Any, written: Mapping[str, str], probe_names: Sequence[str] = ()
) -> BackendSpec:
    """
    A backend's specification, read with the standard options and those of its protocol.

    @param protocol: L{pmmux.interfaces.IBackendProtocol}
    @param probe_names: what C{detect} may name.
    """
    options = (*standard_options(probe_names), *protocol.options)
    return BackendSpec(name, protocol.name, read_options(options, written, "backend", name))


def make_condition(written: Mapping[str, str], probe_names: Sequence[str] = ()) -> Any:
    """The condition that standard options state."""
    return compile_condition(read_options(standard_options(probe_names), written))


# What a service has.


class FakeReporter(MetricReporter):
    """
    A reporter that knows the standard metrics, and remembers events.

    @ivar events: name and fields of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, str]]] = []

    def event(self, name: str, /, **fields: Any) -> None:
        """Remember it."""
        self.events.append((name, {key: str(value) for key, value in fields.items()}))
        super().event(name, **fields)

    def total(self, name: str) -> float:
        """The counter C{name} without labels, as it stands."""
        return self.counter(name).read()


@implementer(IRelay)
class FakeRelay:
    """
    A relay that relays nothing.

    @ivar owner: tell it when the upstream is to have said something, or the relay is to end.
    """

    octets_from_client = 0
    octets_from_upstream = 0

    def __init__(self, client: Any, upstream: Any, limits: Any, owner: Any) -> None:
        self.client = client
        self.upstream = upstream
        self.limits = limits
        self.owner = owner
        self.closed_with: list[str] = []
        owner.begin(self)

    def close(self, outcome: str) -> None:
        """Remember it, and be finished."""
        self.closed_with.append(outcome)
        self.owner.finish(outcome)


@implementer(IRelayOwner)
class FakeRelayOwner:
    """
    Remembers what a relay tells.

    @ivar heard: how often the upstream's first octet was told of.
    """

    def __init__(self) -> None:
        self.relay: Any = None
        self.heard = 0
        self.outcomes: list[str] = []

    def begin(self, relay: Any) -> None:
        """Remember it."""
        self.relay = relay

    def hear_upstream(self) -> None:
        """Count."""
        self.heard += 1

    def finish(self, outcome: str) -> None:
        """Remember it."""
        self.outcomes.append(outcome)


@implementer(IDataPath)
class FakeDataPath:
    """
    A data path that leaves everything to the test.

    @ivar connecting: target and L{Deferred} of each connection asked for; fire it with a stream.
    @ivar relays: the L{FakeRelay}s.
    @ivar timeouts_seconds: the bound on each.
    @ivar accepted: sockets and what builds their protocols.
    """

    def __init__(self) -> None:
        self.connecting: list[tuple[Address, Deferred[Any]]] = []
        self.relays: list[FakeRelay] = []
        self.accepted: list[tuple[Any, Callable[[], Any]]] = []
        self.cancelled: list[Address] = []
        self.timeouts_seconds: list[float] = []

    def accept(self, descriptor: Any, build: Callable[[], Any]) -> None:
        """Remember it."""
        self.accepted.append((descriptor, build))

    async def connect(self, target: Address, timeout_seconds: float) -> Any:
        """Wait for the test."""
        waiting: Deferred[Any] = Deferred(lambda _: self.cancelled.append(target))
        self.connecting.append((target, waiting))
        self.timeouts_seconds.append(timeout_seconds)
        return await waiting

    def relay(self, client: Any, upstream: Any, limits: Any, owner: Any) -> FakeRelay:
        """Make a fake one."""
        relay = FakeRelay(client, upstream, limits, owner)
        self.relays.append(relay)
        return relay


def make_services(reactor: Any, data_path: Any = None, connector: Any = None) -> Services:
    """What backends and negotiators are given to work with, all of it fake but the registry."""
    return Services(
        reactor=reactor,
        data_path=data_path if data_path is not None else FakeDataPath(),
        connector=connector,
        registry=Registry(),
        reporter=FakeReporter(),
        connect_seconds=5.0,
    )


# A client's connection.


def make_stream(clock: Clock, limit_octets: int = PREVIEW_OCTETS) -> PreviewTransport:
    """A client's stream on a L{ClientTransport}."""
    stream = PreviewTransport(limit_octets, lambda opened: None)
    ClientTransport(clock).connect(stream)
    return stream


def make_connection(
    clock: Clock, *chunks: bytes, client: Client | None = None, limit_octets: int = PREVIEW_OCTETS
) -> Connection:
    """A client's connection, of which C{chunks} have arrived; C{b""} is the end of its data."""
    stream = make_stream(clock, limit_octets)
    stream.transport.deliver(*chunks)
    return Connection(1, "front", client or make_client(), stream, clock.seconds())


def make_inspection(
    *chunks: bytes,
    probes: Sequence[Any] = (),
    client: Client | None = None,
    properties: Mapping[str, str] | None = None,
    limit_octets: int = PREVIEW_OCTETS,
) -> Inspection:
    """An inspection of C{chunks}; C{b""} is the end of the data."""
    preview = Preview(limit_octets)
    for chunk in chunks:
        if chunk:
            preview.feed(chunk)
        else:
            preview.end()
    return Inspection(client or make_client(), Properties(properties or {}), preview, ProbeCatalogue(probes))


# Components.


@define(eq=False)
class _FakeBackend:
    name: str
    condition: Any = field(factory=lambda: make_condition({}))
    tier: PriorityTier = PriorityTier.NORMAL
    weight: int = 1
    target: str = "192.0.2.1:80"
    spec: Any = None
    started: int = 0
    stopped: int = 0
    starting: Any = None

    def __attrs_post_init__(self) -> None:
        self.spec = BackendSpec(self.name, "fake", SectionValues("backend", self.name))

    def start(self) -> Any:
        """Count it."""
        self.started += 1
        return self.starting

    def stop(self) -> None:
        """Count it."""
        self.stopped += 1


@implementer(IConnectionBackend)
@define(eq=False)
class FakeBackend(_FakeBackend):
    """
    A backend with an upstream.

    @ivar starting: what C{start} returns.
    @ivar connecting: a L{Deferred} for each connection asked for; fire it with a stream.
    """

    connecting: list[Deferred[Any]] = field(factory=list)
    cancelled: int = 0

    async def connect(self, connection: Connection) -> Any:
        """Wait for the test."""
        waiting: Deferred[Any] = Deferred(self._cancel)
        self.connecting.append(waiting)
        return await waiting

    def _cancel(self, waiting: Deferred[Any]) -> None:
        self.cancelled += 1


@implementer(IProtocolBackend)
@define(eq=False)
class FakeProtocolBackend(_FakeBackend):
    """
    A backend that answers itself.

    @ivar make: makes the protocol for each connection.
    @ivar built: the protocols made.
    """

    make: Callable[[], Any] = RecordingProtocol
    built: list[Any] = field(factory=list)

    def build_protocol(self, connection: Connection) -> Any:
        """Make one."""
        self.built.append(self.make())
        return self.built[-1]


def make_member(
    name: str, written: Mapping[str, str] | None = None, probe_names: Sequence[str] = ()
) -> Member:
    """A member of a router, under the condition that C{written} states."""
    return Member(FakeBackend(name, make_condition(written or {}, probe_names)))


@implementer(IRoutingStrategy)
class FirstStrategy:
    """
    Takes the first candidate, as the reference strategy does.

    @ivar offered: the names of the candidates it saw.
    """

    name = "first"

    def __init__(self, looks_at_all: bool = False) -> None:
        """@param looks_at_all: asks for every candidate before it takes the first."""
        self.looks_at_all = looks_at_all
        self.offered: list[str] = []

    async def choose(self, client: Client, properties: Mapping[str, str], candidates: Any) -> Any:
        """The first one."""
        first = None
        async for member in candidates:
            self.offered.append(member.name)
            first = first or member
            if not self.looks_at_all:
                break
        return first


@implementer(INegotiator)
class FakeNegotiator:
    """
    A negotiator that does what its test says.

    @ivar act: called with the connection; a coroutine function that may wait or raise.
    """

    def __init__(self, act: Callable[[Connection], Any], name: str = "fake") -> None:
        self.name = name
        self.act = act

    async def negotiate(self, connection: Connection, proceed: Callable[[Connection], Any]) -> Any:
        """Act, and pass on."""
        await self.act(connection)
        return await proceed(connection)
