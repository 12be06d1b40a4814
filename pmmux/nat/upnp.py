"""
The UPnP driver.

It needs the package txupnp (C{pip install pmmux[upnp]}), which is imported when a gateway was found, and
without which the other drivers go on alone.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock
from twisted.internet.task import deferLater
from zope.interface import implementer

from pmmux.nat.http import DeviceHTTP
from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.mapping import (
    MAPPING_DESCRIPTION,
    PERMANENT,
    DriverContext,
    Finding,
    GatewayFacts,
    Grant,
    MappingRequest,
    NATRefused,
    NATUnavailable,
    NATUnreachable,
    Reason,
    refuse,
)
from pmmux.nat.settings import IPV4, LARGEST_PORT
from pmmux.nat.ssdp import GatewaySearch
from pmmux.wire import ssdp

if TYPE_CHECKING:
    from pmmux.nat.igd import IGDFault, InternetGateway, PortEntry

MOST_PORTS_TRIED = 8
FIRST_DYNAMIC_PORT = 49152

_INVALID_ACTION = 401
_NOT_AUTHORIZED = 606
_CONFLICT = 718
_SAME_PORTS_REQUIRED = 724
_ONLY_PERMANENT_LEASES = 725
_NO_PORTS_AVAILABLE = 728
_CONFLICT_WITH_OTHER_MECHANISM = 729
_CONFLICTS = (_CONFLICT, _CONFLICT_WITH_OTHER_MECHANISM)
_REFUSALS = {
    _INVALID_ACTION: (Reason.UNSUPPORTED, "the device does not map ports after all"),
    _NOT_AUTHORIZED: (
        Reason.PORT_DENIED,
        "the gateway does not let this machine have port {port}: it is in a denied range, or in use by "
        "the gateway itself",
    ),
    _SAME_PORTS_REQUIRED: (
        Reason.UNSUPPORTED,
        "the gateway maps a port only to the same port; use the same local and public port",
    ),
    _NO_PORTS_AVAILABLE: (Reason.NO_RESOURCES, "the gateway has no port left"),
}

T = TypeVar("T")


@implementer(INATClient)
class UPnPClient:
    """UPnP with one gateway."""

    name = "upnp"
    one_mapping_per_local_port = False
    polls_cheaply = False

    def __init__(self, context: DriverContext, search_port: int = ssdp.PORT) -> None:
        self._context = context
        self._search_port = search_port
        self._gateway: InternetGateway | None = None
        self._only_permanent = False
        # Looking whose a port is and taking it must not be interleaved with another of our own.
        self._lock = DeferredLock()
        self._running: set[Deferred[Any]] = set()
        self._closed = False

    async def probe(self) -> GatewayFacts:
        """@see: L{INATClient.probe}"""
        return await self._run(self._probe())

    async def poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        """@see: L{INATClient.poll}"""
        return await self._run(self._poll(grants))

    async def map(self, request: MappingRequest) -> Grant:
        """@see: L{INATClient.map}"""
        return await self._run(self._alone(self._map(request)))

    async def unmap(self, grant: Grant) -> None:
        """@see: L{INATClient.unmap}"""
        await self._run(self._alone(self._unmap(grant)))

    async def find_holder(self, transport: str, external_port: int) -> str:
        """@see: L{INATClient.find_holder}"""
        entry = await self._run(self._device().find(transport, external_port))
        return self._describe(entry) if entry else ""

    def close(self) -> Deferred[None]:
        """@see: L{INATClient.close}"""
        self._closed = True
        ended: list[Deferred[None]] = [Deferred() for _ in self._running]
        for running, end in zip(tuple(self._running), ended, strict=True):

            def tell(result: T, end: Deferred[None] = end) -> T:
                end.callback(None)
                return result

            running.addBoth(tell)
            running.cancel()
        # An aborted connection is gone one turn of the reactor later.
        reactor = self._context.reactor
        return DeferredList(ended).addCallback(lambda _: deferLater(reactor, 0, lambda: None))

    async def _probe(self) -> GatewayFacts:
        from pmmux.nat.igd import open_gateway

        location, answer = await GatewaySearch(self._context, self._search_port).find()
        link = self._context.link
        http = DeviceHTTP(self._context.reactor, link.gateway, link.address, self._context.timeout_seconds)
        self._gateway = await open_gateway(http, location, answer)
        return await self._poll(())

    async def _poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        device = self._device()
        address = await device.ask_external_address()
        lost = False
        for grant in grants:
            entry = await device.find(grant.transport, grant.external_port)
            lost = lost or entry is None or not self._is_ours(entry, grant.internal_port)
        return GatewayFacts(address, device.service_type.rpartition("service:")[2], lost, not address)

    async def _map(self, request: MappingRequest) -> Grant:
        from pmmux.nat.igd import IGDFault

        device = self._device()
        port = request.external_port or request.internal_port
        refusal = refuse(Reason.NO_RESOURCES, "no free port was found on the gateway")
        for _ in range(MOST_PORTS_TRIED):
            entry = await device.find(request.transport, port)
            if entry is None or self._is_ours(entry, request.internal_port):
                try:
                    return await self._add(device, request, port)
                except IGDFault as fault:
                    refusal = self._read_refusal(fault, port)
                    if fault.code not in _CONFLICTS:
                        raise refusal from None
            else:
                refusal = refuse(Reason.PORT_TAKEN, f"port {port} is taken by {self._describe(entry)}")
            if request.fixed:
                raise refusal
            port = self._context.chance.randint(FIRST_DYNAMIC_PORT, LARGEST_PORT)
        raise refusal

    async def _add(self, device: InternetGateway, request: MappingRequest, port: int) -> Grant:
        from pmmux.nat.igd import IGDFault, PortEntry

        lifetime = PERMANENT if self._only_permanent else request.lifetime_seconds
        entry = PortEntry(self._context.link.address, request.internal_port, MAPPING_DESCRIPTION)
        try:
            await device.add(entry, request.transport, port, lifetime)
        except IGDFault as fault:
            if fault.code != _ONLY_PERMANENT_LEASES or lifetime == PERMANENT:
                raise
            self._only_permanent, lifetime = True, PERMANENT
            await device.add(entry, request.transport, port, lifetime)
        return Grant(self.name, request.transport, request.internal_port, port, lifetime)

    async def _unmap(self, grant: Grant) -> None:
        device = self._device()
        entry = await device.find(grant.transport, grant.external_port)
        if entry is not None and self._is_ours(entry, grant.internal_port):
            await device.delete(grant.transport, grant.external_port)

    def _is_ours(self, entry: PortEntry, internal_port: int) -> bool:
        if entry.client != self._context.link.address:
            return False
        return entry.port == internal_port or entry.description == MAPPING_DESCRIPTION

    def _describe(self, entry: PortEntry) -> str:
        whose = "this machine itself" if entry.client == self._context.link.address else entry.client
        description = f" ({entry.description!r})" if entry.description else ""
        return f"{whose}, port {entry.port}{description}"

    def _read_refusal(self, fault: IGDFault, port: int) -> NATRefused:
        if fault.code in _CONFLICTS:
            # Not in the table, as was just seen: that is how miniupnpd's secure mode says no.
            text = (
                f"the gateway refuses port {port} although its table does not have it: another kind of "
                "mapping has it, or the gateway is in secure mode and does not take us for "
                f"{self._context.link.address}, since another NAT or another interface is in use"
            )
            return refuse(Reason.SECURE_MODE, text)
        known = _REFUSALS.get(fault.code)
        return refuse(known[0], known[1].format(port=port)) if known else evolve(fault)

    def _device(self) -> InternetGateway:
        if self._gateway is None:
            raise NATUnreachable("no UPnP device was found yet")
        return self._gateway

    async def _alone(self, operation: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            await self._lock.acquire()
        except CancelledError:
            operation.close()
            raise
        try:
            return await operation
        finally:
            self._lock.release()

    async def _run(self, operation: Coroutine[Deferred[Any], Any, T]) -> T:
        if self._closed:
            operation.close()
            raise NATUnreachable("closed")
        running = Deferred.fromCoroutine(operation)
        self._running.add(running)
        try:
            return await running
        except CancelledError:
            if self._closed:
                raise NATUnreachable("closed") from None
            raise
        finally:
            self._running.discard(running)


@implementer(INATDriver)
class UPnPDriver:
    """
    @see: L{INATDriver}

    @param search_port: where gateways are asked directly, besides the multicast group.
    """

    name = "upnp"
    families = (IPV4,)

    def __init__(self, search_port: int = ssdp.PORT) -> None:
        self._search_port = search_port

    def open(self, context: DriverContext) -> UPnPClient:
        """@see: L{INATDriver.open}"""
        try:
            import pmmux.nat.igd  # noqa: F401
        except ImportError as error:
            text = f"UPnP needs the package {error.name or 'txupnp'}: pip install pmmux[upnp]"
            raise NATUnavailable(Finding(Reason.PACKAGE_MISSING, text)) from None
        except Exception as error:  # txupnp does not import on every Python, and fails in its own ways
            text = f"UPnP cannot be used with this txupnp: {type(error).__name__}: {error}"
            raise NATUnavailable(Finding(Reason.PACKAGE_MISSING, text)) from None
        return UPnPClient(context, self._search_port)
