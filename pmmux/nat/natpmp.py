"""
The NAT-PMP driver.

@see: RFC 6886
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from pmmux.nat.gateway import GatewayClient
from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.mapping import (
    NO_EXTERNAL_ADDRESS,
    DriverContext,
    GatewayFacts,
    Grant,
    MappingRequest,
    NATRefused,
    Reason,
    refuse,
)
from pmmux.nat.settings import IPV4
from pmmux.wire import natpmp
from pmmux.wire.natpmp import AddressAnswer, Answer, ErrorAnswer, MapAnswer, OtherVersion, Result

_REFUSALS = {
    Result.UNSUPPORTED_VERSION: (Reason.UNSUPPORTED, "the gateway does not speak NAT-PMP"),
    Result.NOT_AUTHORIZED: (
        Reason.NOT_AUTHORIZED,
        "the gateway does not allow this machine to map ports by NAT-PMP",
    ),
    Result.NETWORK_FAILURE: (NO_EXTERNAL_ADDRESS.reason, NO_EXTERNAL_ADDRESS.text),
    Result.OUT_OF_RESOURCES: (Reason.NO_RESOURCES, "the gateway has no room for another mapping"),
    Result.UNSUPPORTED_OPCODE: (Reason.UNSUPPORTED, "the gateway does not map this kind of port by NAT-PMP"),
}
_UNSPECIFIED = "0.0.0.0"


@implementer(INATClient)
class NATPMPClient(GatewayClient):
    """NAT-PMP with one gateway."""

    name = "pmp"
    # It alone tells the external address without a mapping, for PCP too where a server speaks both.
    polls_cheaply = True

    def __init__(self, context: DriverContext) -> None:
        super().__init__(context, natpmp.SERVER_PORT)

    async def poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        """@see: L{INATClient.poll}"""
        answer = await self._ask(
            natpmp.encode_address_request(), lambda answer: isinstance(answer, AddressAnswer), ""
        )
        assert isinstance(answer, AddressAnswer)
        is_offline = answer.address == _UNSPECIFIED
        lost = self._shows_loss(answer.epoch_seconds)
        return GatewayFacts("" if is_offline else answer.address, "NAT-PMP", lost, is_offline)

    async def map(self, request: MappingRequest) -> Grant:
        """@see: L{INATClient.map}"""
        answer = await self._ask_mapping(
            request.transport, request.internal_port, request.external_port, request.lifetime_seconds
        )
        return Grant(
            self.name,
            request.transport,
            request.internal_port,
            answer.external_port,
            answer.lifetime_seconds,
        )

    async def unmap(self, grant: Grant) -> None:
        """@see: L{INATClient.unmap}"""
        await self._ask_mapping(grant.transport, grant.internal_port, 0, 0)

    async def _ask_mapping(
        self, transport: str, internal_port: int, external_port: int, lifetime_seconds: int
    ) -> MapAnswer:
        def is_ours(answer: Answer) -> bool:
            # With the lifetime a late answer to "map" is told from the one to "delete".
            return (
                isinstance(answer, MapAnswer)
                and (answer.transport, answer.internal_port) == (transport, internal_port)
                and bool(answer.lifetime_seconds) == bool(lifetime_seconds)
            )

        question = natpmp.encode_map_request(transport, internal_port, external_port, lifetime_seconds)
        answer = await self._ask(question, is_ours, transport, internal_port)
        assert isinstance(answer, MapAnswer)
        self._tell_loss(answer.epoch_seconds)
        if lifetime_seconds and not answer.external_port:
            raise refuse(Reason.BROKEN_DEVICE, "the gateway answered with port 0")
        return answer

    async def _ask(
        self,
        question: bytes,
        is_ours: Callable[[Answer], bool],
        transport: str,
        internal_port: int | None = None,
    ) -> Answer:
        def read(datagram: bytes) -> Answer | None:
            answer = natpmp.decode(datagram)
            if isinstance(answer, OtherVersion):
                raise refuse(Reason.UNSUPPORTED, "the gateway does not speak NAT-PMP")
            if isinstance(answer, ErrorAnswer) and answer.transport == transport:
                if answer.internal_port in (None, internal_port):
                    raise _read_refusal(answer.result)
                return None
            return answer if answer is not None and is_ours(answer) else None

        return await self._exchange.ask(question, read)


@implementer(INATDriver)
class NATPMPDriver:
    """@see: L{INATDriver}"""

    name = "pmp"
    families = (IPV4,)

    def open(self, context: DriverContext) -> NATPMPClient:
        """@see: L{INATDriver.open}"""
        return NATPMPClient(context)


def _read_refusal(result: int) -> NATRefused:
    try:
        reason, text = _REFUSALS[Result(result)]
    except (ValueError, KeyError):
        return refuse(Reason.BROKEN_DEVICE, f"the gateway refuses by NAT-PMP with unknown result {result}")
    return refuse(reason, text)
