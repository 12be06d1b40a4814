"""Who is told that a datagram socket has something: by epoll where there is one, else by the reactor."""

from __future__ import annotations

import select
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from pmmux.transport.poller import IN, Ready

EVENTS_PER_ROUND = 64
ROUNDS_PER_TURN = 16


class Readers(Protocol):
    """Level-triggered: the owner of a descriptor is told again as long as something is there."""

    def add(self, descriptor: int, owner: Ready) -> None:
        """Tell C{owner} when C{descriptor} can be read."""

    def forget(self, descriptor: int) -> None:
        """C{descriptor} is about to be closed."""


@implementer(IReadDescriptor)
class EpollReaders:
    """
    On an epoll descriptor of their own, nested in the reactor.

    Datagrams come in answer to each other: what is sent in one round is often answered in the next.
    So a few rounds follow each other before the reactor has its turn again.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        """@param reactor: an IReactorFDSet."""
        self._reactor = reactor
        self._epoll = select.epoll()
        self._owners: dict[int, Ready] = {}
        self._poll = self._epoll.poll
        self._is_added = False

    def add(self, descriptor: int, owner: Ready) -> None:
        """See L{Readers.add}."""
        if not self._is_added:
            self._is_added = True
            self._reactor.addReader(self)
        self._owners[descriptor] = owner
        self._epoll.register(descriptor, IN)

    def forget(self, descriptor: int) -> None:
        """See L{Readers.forget}. Closing takes it out of epoll."""
        self._owners.pop(descriptor, None)

    def fileno(self) -> int:
        """For the reactor."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return "datagrams"

    def connectionLost(self, reason: Any) -> None:
        """The reactor shuts down."""

    def doRead(self) -> None:
        """Tell the owners, for a few rounds."""
        owner_of = self._owners.get
        for _ in range(ROUNDS_PER_TURN):
            events = self._poll(0, EVENTS_PER_ROUND)
            if not events:
                return
            for descriptor, event in events:
                owner = owner_of(descriptor)
                if owner is not None:
                    try:
                        owner.ready(event)
                    except Exception:  # the last line of defence: one session's bug stays its own
                        self.log.failure("a datagram failed")


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
    return ReactorReaders(reactor) if getattr(data_path, "poller", None) is None else EpollReaders(reactor)
