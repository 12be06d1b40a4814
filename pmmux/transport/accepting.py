"""Accepting connections: in batches, no more than there is room for, and pausing when descriptors run out."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from pmmux.transport.poller import IN, Poller

ACCEPTS_PER_TURN = 64
# In the poller, and told of nothing.
ASLEEP = 0
EXHAUSTED_PAUSE_SECONDS = 0.2
# Kept for the control socket, health checks, log files, the resolver's threads and the like.
RESERVED_DESCRIPTORS = 256
DESCRIPTORS_PER_CONNECTION = 2
# The share of the most there may be, below which reaching the limit is worth another word.
TOLD_AGAIN_BELOW = 0.9
_STREAM = int(socket.SOCK_STREAM)
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one. @return: the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_for(descriptor_limit: int) -> int:
    """How many connections a limit of open files has room for, with the reserve kept."""
    reserved = min(RESERVED_DESCRIPTORS, descriptor_limit // 2)
    return max(1, (descriptor_limit - reserved) // DESCRIPTORS_PER_CONNECTION)


class ConnectionLimit:
    """How many connections there are and may be; acceptors pause at the limit."""

    log = Logger()

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.open = 0
        self._paused: list[Acceptor] = []
        # Told once, and not again for each connection that takes the place of one.
        self._is_told = False
        self._quiet_below = maximum * TOLD_AGAIN_BELOW

    def change(self, maximum: int) -> None:
        """Let there be so many from now on."""
        self.maximum = maximum
        self._quiet_below = maximum * TOLD_AGAIN_BELOW
        self._let_in()

    def take(self) -> None:
        """One more is open."""
        self.open += 1

    def give_back(self) -> None:
        """One is closed: whoever waited for room goes on."""
        self.open -= 1
        if self._is_told and self.open < self._quiet_below:
            self._is_told = False
        if self._paused:
            self._let_in()

    def _let_in(self) -> None:
        if self.open < self.maximum:
            paused, self._paused = self._paused, []
            for acceptor in paused:
                acceptor.resume()

    def wait(self, acceptor: Acceptor) -> None:
        """Let C{acceptor} wait for room."""
        if not self._is_told:
            self._is_told = True
            self.log.warn(
                "{open} connections are open, the most there may be: accepting pauses", open=self.open
            )
        self._paused.append(acceptor)

    def forget(self, acceptor: Acceptor) -> None:
        """C{acceptor} stops."""
        if acceptor in self._paused:
            self._paused.remove(acceptor)


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts from one listening socket."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        listening: socket.socket,
        limit: ConnectionLimit,
        accepted: Callable[[Any, Any], None],
        poller: Poller | None = None,
    ) -> None:
        """
        @param listening: non-blocking, and closed by whoever opened it.
        @param accepted: called with each accepted socket, a C{socket.SocketType}, and its peer's name.
        @param poller: tells of connections in place of the reactor, where there is one.
        """
        self._reactor = reactor
        self._poller = poller
        self._listening = listening
        self._limit = limit
        self._accepted = accepted
        self._accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined]
        self._family = int(listening.family)
        self._retry: Any = None
        self._running = False

    def start(self) -> None:
        """Accept from now on."""
        self._running = True
        if self._poller is not None:
            self._poller.add(self._listening.fileno(), self, ASLEEP)
        self.resume()

    def resume(self) -> None:
        """Go on after a pause."""
        if not self._running:
            return
        if self._poller is not None:
            self._poller.again(self._listening.fileno(), IN)
        else:
            self._reactor.addReader(self)

    def _sleep(self) -> None:
        if self._poller is not None:
            self._poller.again(self._listening.fileno(), ASLEEP)
        else:
            self._reactor.removeReader(self)

    def stop(self) -> None:
        """Accept no more."""
        if not self._running:
            return
        self._running = False
        self._limit.forget(self)
        if self._poller is not None:
            self._poller.remove(self._listening.fileno())
        else:
            self._reactor.removeReader(self)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def fileno(self) -> int:
        """For the reactor."""
        return self._listening.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return "accept"

    def connectionLost(self, reason: Any) -> None:
        """The reactor shuts down."""

    def ready(self, events: int) -> None:
        """For the poller."""
        self.doRead()

    def broken(self) -> None:
        """For the poller: whatever failed concerns one connection."""

    def doRead(self) -> None:
        """Accept what waits, up to a batch."""
        limit = self._limit
        for _ in range(ACCEPTS_PER_TURN):
            if limit.open >= limit.maximum:
                self._sleep()
                limit.wait(self)
                return
            try:
                # Not C{accept}: what that adds in Python costs more than the system call.
                descriptor, peer = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Anything else is the fault of one client that has gone (accept(2)).
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                return
            try:
                self._accepted(socket.SocketType(self._family, _STREAM, 0, descriptor), peer)
            except Exception:  # the last line of defence: one connection's bug must not end accepting
                self.log.failure("a connection failed while it was accepted")

    def _pause(self, error: OSError) -> None:
        self.log.warn("cannot accept: {reason}; trying again soon", reason=error.strerror)
        self._sleep()
        self._retry = self._reactor.callLater(EXHAUSTED_PAUSE_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.resume()
