"""One client's connection on its way from the listener to a backend."""

from __future__ import annotations

from attrs import define, field

from pmmux.model import Client, Properties, RouteTrace
from pmmux.preview import Preview, PreviewTransport


@define(slots=True, eq=False)
class Connection:
    """
    What is known of a connection, and its stream.

    @ivar identifier: unique in this process.
    @ivar listener: the listener's name.
    @ivar opened_at: seconds on the reactor's clock when it was accepted.
    @ivar properties: what negotiators and probes found, as text.
    @ivar upstream: the chosen upstream in text; empty before.
    """

    identifier: int
    listener: str
    client: Client
    stream: PreviewTransport
    opened_at: float
    properties: Properties = field(factory=Properties)
    trace: RouteTrace = field(factory=RouteTrace)
    upstream: str = ""

    @property
    def preview(self) -> Preview:
        """What the client has said so far."""
        return self.stream.preview
