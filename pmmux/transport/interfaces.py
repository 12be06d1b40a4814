"""What moves octets, and whom it tells."""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface


class IDataPath(Interface):
    """
    How octets move: accept, connect, relay. One on Twisted's transports, one on its own poller.
    """

    def accept(descriptor: Any, build: Any) -> Any:
        """
        Take over an accepted stream socket.

        @param descriptor: a C{socket.SocketType}; owned by the data path from here on.
        @param build: called without arguments for the L{twisted.internet.interfaces.IProtocol}
            that is then connected to the stream, an ITCPTransport.
        """

    def connect(target: Any, timeout_seconds: float) -> Any:
        """
        Connect to one L{pmmux.model.Address}; a coroutine function.

        @return: an upstream stream to be given to L{relay}.
        @raises pmmux.errors.UpstreamError: refused, unreachable, or not within the time-out.
        """

    def relay(client: Any, upstream: Any, limits: Any, owner: Any) -> Any:
        """
        Move octets both ways until both sides ended, beginning with the client's preview.

        The end of one side's data ends only that direction; a reset is passed on as a reset; a
        side that reads slowly stops the reading from the other.

        @param client: the L{pmmux.preview.PreviewTransport} to be released.
        @param upstream: from L{connect}.
        @param limits: L{pmmux.transport.relaying.RelayLimits}
        @param owner: an L{IRelayOwner}; told of it from before the first octet to the end.
        @return: an L{IRelay}
        """


class IRelay(Interface):
    """One connection being relayed."""

    octets_from_client = Attribute("Octets taken from the client so far, the preview included.")
    octets_from_upstream = Attribute("Octets taken from the upstream so far.")

    def close(outcome: str) -> None:
        """End it at once, both sides; its owner is told C{outcome}."""


class IRelayOwner(Interface):
    """Whom a relay tells what becomes of it: one object, for there is one for each idle connection."""

    def begin(relay: Any) -> None:
        """The octets are about to flow through C{relay}, an L{IRelay}."""

    def hear_upstream() -> None:
        """The upstream's first octet is there."""

    def finish(outcome: str) -> None:
        """Both sides are closed; called once, with the outcome's slug."""
