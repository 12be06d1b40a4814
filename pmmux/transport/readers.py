"""Who is told that a datagram socket has something: by the poller where there is one, else by the reactor."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from pmmux.transport.poller import IN, Ready


class Readers(Protocol):
    """Level-triggered: the owner of a descriptor is told again as long as something is there."""

    def add(self, descriptor: int, owner: Ready) -> None:
        """Tell C{owner} when C{descriptor} can be read."""

    def forget(self, descriptor: int) -> None:
        """C{descriptor} is about to be closed."""


class PollerReaders:
    """On a L{pmmux.transport.poller.Poller}."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self.forget = poller.forget

    def add(self, descriptor: int, owner: Ready) -> None:
        """See L{Readers.add}."""
        self._poller.add(descriptor, owner, IN)


@implementer(IReadDescriptor)
class _Reader:
    """One descriptor in the reactor."""

    def __init__(self, descriptor: int, owner: Ready) -> None:
        self._descriptor = descriptor
        self._owner = owner

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "datagrams"

    def connectionLost(self, reason: Any) -> None:
        """The reactor shuts down."""

    def doRead(self) -> None:
        self._owner.ready(IN)


class ReactorReaders:
    """On the reactor's own."""

    def __init__(self, reactor: Any) -> None:
        """@param reactor: an IReactorFDSet."""
        self._reactor = reactor
        self._readers: dict[int, _Reader] = {}

    def add(self, descriptor: int, owner: Ready) -> None:
        """See L{Readers.add}."""
        reader = self._readers[descriptor] = _Reader(descriptor, owner)
        self._reactor.addReader(reader)

    def forget(self, descriptor: int) -> None:
        """See L{Readers.forget}."""
        reader = self._readers.pop(descriptor, None)
        if reader is not None:
            self._reactor.removeReader(reader)


def readers_for(reactor: Any, data_path: Any) -> Readers:
    """What suits C{data_path}."""
    poller = getattr(data_path, "poller", None)
    return ReactorReaders(reactor) if poller is None else PollerReaders(poller)
