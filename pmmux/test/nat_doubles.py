"""Doubles for the tests of NAT port mapping: a reporter, a driver that does as it is told, a network."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.mapping import DriverContext, GatewayFacts, Grant, MappingRequest, NATUnreachable
from pmmux.nat.settings import IPV4

GATEWAY, ADDRESS = "192.168.77.1", "192.168.77.2"
EXTERNAL = "11.22.33.1"


class FakeReporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []
        self.events: list[tuple[str, dict[str, str]]] = []
        self.timed: list[str] = []

    def count(self, name: str, value: int = 1, /, **labels: str) -> None:
        self.counted += [(name, labels)] * value

    def duration(self, name: str, /, **labels: str) -> FakeReporter:
        self.timed.append(name)
        return self

    def observe(self, seconds: float) -> None:
        assert seconds >= 0

    def event(self, name: str, /, **fields: Any) -> None:
        self.events.append((name, fields))

    def counts(self, name: str) -> int:
        return sum(counted == name for counted, _ in self.counted)


@implementer(INATClient)
class FakeClient:
    """
    A gateway's side in one object.

    @ivar table: the mappings, from transport and external port to the grant.
    @ivar answer: what a probe or a poll finds: facts, an exception, or C{None} for silence.
    @ivar on_map: from a request to the grant or an exception; C{None} for silence.
    """

    one_mapping_per_local_port = True

    def __init__(self, driver: FakeDriver, context: DriverContext) -> None:
        self.name = driver.name
        self.polls_cheaply = driver.polls_cheaply
        self.driver = driver
        self.context = context
        self.closed = False
        self._hanging: list[Deferred[Any]] = []

    async def probe(self) -> GatewayFacts:
        return await self.poll(())

    async def poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        self.driver.asked.append(("poll", grants))
        return await self._answer(self.driver.answer)

    async def map(self, request: MappingRequest) -> Grant:
        self.driver.asked.append(("map", request))
        grant: Grant = await self._answer(self.driver.on_map(request))
        self.driver.table[grant.transport, grant.external_port] = grant
        return grant

    async def unmap(self, grant: Grant) -> None:
        self.driver.asked.append(("unmap", grant))
        await self._answer(self.driver.on_unmap)
        self.driver.table.pop((grant.transport, grant.external_port), None)

    async def find_holder(self, transport: str, external_port: int) -> str:
        return self.driver.holder

    def close(self) -> Deferred[None]:
        self.closed = True
        self.end_waiting(NATUnreachable("closed"))
        return succeed(None)

    def end_waiting(self, error: Exception) -> None:
        """Let what waits in vain end with C{error}."""
        for hanging in self._hanging:
            if not hanging.called:
                hanging.errback(error)

    async def _answer(self, answer: Any) -> Any:
        if self.closed:
            raise NATUnreachable("closed")
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            hanging: Deferred[Any] = Deferred()
            self._hanging.append(hanging)
            return await hanging
        return answer


@implementer(INATDriver)
class FakeDriver:
    """Opens L{FakeClient}s, which it remembers."""

    def __init__(self, name: str, families: tuple[int, ...] = (IPV4,)) -> None:
        self.name = name
        self.families = families
        self.answer: Any = GatewayFacts(EXTERNAL, f"{name} of a double")
        self.on_map: Callable[[MappingRequest], Any] = self.grant
        self.on_unmap: Any = True
        self.holder = ""
        self.polls_cheaply = False
        self.lifetime_seconds: int | None = None
        self.external_address = ""
        self.table: dict[tuple[str, int], Grant] = {}
        self.asked: list[tuple[str, Any]] = []
        self.clients: list[FakeClient] = []

    def open(self, context: DriverContext) -> FakeClient:
        self.clients.append(FakeClient(self, context))
        return self.clients[-1]

    def grant(self, request: MappingRequest, external_port: int = 0) -> Grant:
        lifetime = request.lifetime_seconds if self.lifetime_seconds is None else self.lifetime_seconds
        return Grant(
            self.name,
            request.transport,
            request.internal_port,
            external_port or request.external_port,
            lifetime,
            self.external_address,
        )

    def requests(self, kind: str) -> list[Any]:
        return [what for asked, what in self.asked if asked == kind]


class FakePort:
    """A socket of L{FakeNetwork}."""

    def __init__(self, network: FakeNetwork, protocol: Any, interface: str) -> None:
        self._network = network
        self.protocol = protocol
        self.interface = interface
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def write(self, datagram: bytes, address: tuple[str, int]) -> None:
        self.sent.append((datagram, address))
        if self._network.fault is not None:
            raise self._network.fault

    def receive(self, datagram: bytes, address: tuple[str, int] = (GATEWAY, 5351)) -> None:
        self.protocol.datagramReceived(datagram, address)

    def stopListening(self) -> Deferred[None]:
        self._network.ports.remove(self)
        self.protocol.transport = None
        return succeed(None)

    def getHandle(self) -> FakePort:
        return self

    def setTTL(self, hops: int) -> None:
        """Nothing leaves here."""

    def setOutgoingInterface(self, address: str) -> None:
        """Nothing leaves here."""

    def setsockopt(self, *_: object) -> None:
        """Joins no group: there is none."""


class FakeNetwork(Clock):
    """A reactor with UDP sockets that lead nowhere; tests answer by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.fault: OSError | None = None

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> FakePort:
        self.ports.append(FakePort(self, protocol, interface))
        protocol.transport = self.ports[-1]
        return self.ports[-1]

    def listenMulticast(
        self,
        port: int,
        protocol: Any,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> FakePort:
        fake = self.listenUDP(port, protocol, interface)
        protocol.startProtocol()
        return fake

    def adoptDatagramPort(
        self, descriptor: int, family: int, protocol: Any, maxPacketSize: int = 8192
    ) -> FakePort:
        with socket.socket(fileno=os.dup(descriptor)) as adopted:
            return self.listenMulticast(0, protocol, adopted.getsockname()[0])
