"""
The PCP driver, for mappings on IPv4 and pinholes on IPv6.

@see: RFC 6887
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
from pmmux.nat.settings import IPV4, IPV6
from pmmux.wire import pcp
from pmmux.wire.pcp import AnnounceAnswer, Answer, MapAnswer, OtherVersion, Result

LONGEST_REFUSAL_SECONDS = 1800.0
_NAT_PMP_VERSION = 0

_REFUSALS = {
    Result.NOT_AUTHORIZED: (
        Reason.NOT_AUTHORIZED,
        "the gateway does not allow this machine to map ports by PCP",
    ),
    Result.UNSUPPORTED_OPCODE: (Reason.UNSUPPORTED, "the gateway does not map ports by PCP"),
    Result.NETWORK_FAILURE: (NO_EXTERNAL_ADDRESS.reason, NO_EXTERNAL_ADDRESS.text),
    Result.NO_RESOURCES: (Reason.NO_RESOURCES, "the gateway has no room for another mapping"),
    Result.UNSUPPORTED_PROTOCOL: (Reason.UNSUPPORTED, "the gateway does not map this kind of port by PCP"),
    Result.USER_EXCEEDED_QUOTA: (Reason.NO_RESOURCES, "this machine has used up its mappings on the gateway"),
    Result.CANNOT_PROVIDE_EXTERNAL: (Reason.PORT_TAKEN, "the gateway cannot give this port"),
    Result.ADDRESS_MISMATCH: (
        Reason.ADDRESS_MISMATCH,
        "another NAT stands between this machine and the gateway: it sees another address than ours",
    ),
}


@implementer(INATClient)
class PCPClient(GatewayClient):
    """PCP with one gateway."""

    name = "pcp"
    polls_cheaply = False

    def __init__(self, context: DriverContext) -> None:
        super().__init__(context, pcp.SERVER_PORT)

    async def poll(self, grants: Sequence[Grant]) -> GatewayFacts:
        """
        Ask by ANNOUNCE; a server that does not know that has answered all the same.

        @see: L{INATClient.poll}
        """
        answer = await self._ask(
            pcp.encode_announce(self._context.link.address), lambda answer: isinstance(answer, AnnounceAnswer)
        )
        return GatewayFacts(detail="PCP version 2", lost=self._shows_loss(answer.epoch_seconds))

    async def map(self, request: MappingRequest) -> Grant:
        """@see: L{INATClient.map}"""
        answer = await self._ask_mapping(
            request.transport, request.internal_port, request.external_port, request.lifetime_seconds
        )
        if answer.result:
            raise _read_refusal(answer)
        if not answer.external_port:
            raise refuse(Reason.BROKEN_DEVICE, "the gateway answered with port 0")
        return Grant(
            self.name,
            request.transport,
            request.internal_port,
            answer.external_port,
            answer.lifetime_seconds,
            answer.external_address,
        )

    async def unmap(self, grant: Grant) -> None:
        """@see: L{INATClient.unmap}"""
        answer = await self._ask_mapping(grant.transport, grant.internal_port, 0, 0)
        # miniupnpd 2.3.1 says NO_RESOURCES of a mapping that is not there.
        if answer.result not in (Result.SUCCESS, Result.NO_RESOURCES):
            raise _read_refusal(answer)

    async def _ask_mapping(
        self, transport: str, internal_port: int, external_port: int, lifetime_seconds: int
    ) -> MapAnswer:
        nonce = self._context.nonce

        def is_ours(answer: Answer) -> bool:
            if not isinstance(answer, MapAnswer):
                return False
            if answer.nonce is None:
                return True
            if (answer.nonce, answer.transport, answer.internal_port) != (nonce, transport, internal_port):
                return False
            # With the lifetime a late answer to "map" is told from the one to "delete".
            return bool(answer.result) or bool(answer.lifetime_seconds) == bool(lifetime_seconds)

        question = pcp.encode_map(
            self._context.link.address,
            nonce=nonce,
            transport=transport,
            internal_port=internal_port,
            external_port=external_port,
            lifetime_seconds=lifetime_seconds,
        )
        answer = await self._ask(question, is_ours)
        assert isinstance(answer, MapAnswer)
        self._tell_loss(answer.epoch_seconds)
        return answer

    async def _ask(self, question: bytes, is_ours: Callable[[Answer], bool]) -> AnnounceAnswer | MapAnswer:
        def read(datagram: bytes) -> AnnounceAnswer | MapAnswer | None:
            answer = pcp.decode(datagram)
            if isinstance(answer, OtherVersion):
                speaks = "NAT-PMP only" if answer.version == _NAT_PMP_VERSION else f"version {answer.version}"
                raise refuse(Reason.UNSUPPORTED, f"the gateway does not speak PCP version 2, but {speaks}")
            return answer if answer is not None and is_ours(answer) else None

        return await self._exchange.ask(question, read)


@implementer(INATDriver)
class PCPDriver:
    """@see: L{INATDriver}"""

    name = "pcp"
    families = (IPV4, IPV6)

    def open(self, context: DriverContext) -> PCPClient:
        """@see: L{INATDriver.open}"""
        return PCPClient(context)


def _read_refusal(answer: MapAnswer) -> NATRefused:
    retry_seconds = min(float(answer.lifetime_seconds), LONGEST_REFUSAL_SECONDS)
    try:
        reason, text = _REFUSALS[Result(answer.result)]
    except (ValueError, KeyError):
        text = f"the gateway refuses by PCP with result {answer.result}"
        return refuse(Reason.BROKEN_DEVICE, text, retry_seconds)
    return refuse(reason, text, retry_seconds)
