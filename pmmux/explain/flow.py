"""One client's side of a conversation, as it is to be routed: what it said, and when."""

from __future__ import annotations

import enum

from attrs import define, field, frozen

from pmmux.model import Address


class Kind(enum.Enum):
    """What a client did."""

    OCTETS = "octets"
    END = "end"
    LOST = "lost"


@frozen(slots=True)
class Event:
    """
    One thing that a client did.

    @ivar time: in seconds, on the same clock as those of all other flows.
    @ivar octets: for L{Kind.OCTETS}: a segment in its place, or a datagram.
    """

    time: float
    kind: Kind
    octets: bytes = b""


@define(slots=True, eq=False)
class Flow:
    """
    A TCP connection or a UDP conversation.

    @ivar number: from 1, in the order they began.
    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar server: the address the client wrote to.
    @ivar opened_at: when it began, in seconds.
    @ivar events: what the client did, in order.
    @ivar prompted_from: the first of the events that came when the server had already spoken or
        ended, where the client had said nothing before: what follows may be its answer.
    @ivar missing_octets: how many octets of the client's are known to be absent from the capture; of
        datagrams, of the first.
    """

    number: int
    transport: str
    client: Address
    server: Address
    opened_at: float
    events: list[Event] = field(factory=list)
    prompted_from: int | None = None
    missing_octets: int = 0

    def octets(self) -> bytes:
        """Everything the client said, in one."""
        return b"".join(event.octets for event in self.events)

    def has_spoken(self) -> bool:
        """Whether the client has said anything."""
        return any(event.kind is Kind.OCTETS for event in self.events)

    def has_ended(self) -> bool:
        """Whether the client's data ended, in order or not."""
        return any(event.kind is not Kind.OCTETS for event in self.events)
