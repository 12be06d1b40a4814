"""The control server: its sockets, who may use them, and the connections that are open."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from pmmux.config.steering_options import OFF
from pmmux.config.values import Target
from pmmux.control.connection import ControlConnection
from pmmux.control.sockets import UnixSocket, open_default, open_unix
from pmmux.errors import ListenError
from pmmux.transport.accepting import Acceptor, ConnectionLimit
from pmmux.transport.sockets import close_sockets, open_stream_sockets

NAME = "control"
CONNECTIONS_LIMIT = 32
BACKLOG = 128
# struct ucred: pid, uid, gid.
_CREDENTIALS = struct.Struct("iII")


class ControlServer:
    """
    Serves the commands of the registry.

    Opened before twistd becomes a daemon, given to the user it will run as, started with the rest.
    """

    log = Logger()

    def __init__(self, reactor: Any, service: Any, globals_: Any) -> None:
        """
        @param service: the L{pmmux.service.PmmuxService}, which commands are given.
        @param globals_: the L{pmmux.model.SectionValues} of C{[pmmux]}.
        """
        self._reactor = reactor
        self._service = service
        self._place: str | None = globals_.get("control-socket")
        self._listen: Target | None = globals_.get("control-listen")
        self._token: str | None = globals_.get("control-token")
        self._unix: UnixSocket | None = None
        self._tcp: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []
        self._connections: set[ControlConnection] = set()
        self._limit = ConnectionLimit(CONNECTIONS_LIMIT)
        self._trouble = ""

    def places(self) -> tuple[str, ...]:
        """Where it listens, in text."""
        unix = () if self._unix is None else (f"unix:{self._unix.path}",)
        return (*unix, *(f"{_written(opened.getsockname())}" for opened in self._tcp))

    def open(self, environment: Mapping[str, str]) -> list[ListenError]:
        """
        Open the sockets that are configured. @return: every fault; empty where all are open.

        Where nothing was configured and the usual place cannot be used, there is none: pmmux serves
        its clients all the same, and says so when it starts.
        """
        faults: list[ListenError] = []
        if self._place is None:
            try:
                self._unix = open_default(environment, os.geteuid())
            except OSError as error:
                self._trouble = error.strerror or str(error)
        elif self._place != OFF:
            try:
                self._unix = open_unix(Path(self._place))
            except OSError as error:
                faults.append(ListenError(NAME, f"unix:{self._place}", _reason(error)))
        if self._listen is not None:
            faults.extend(self._open_tcp(self._listen))
        if faults:
            self._close()
        return faults

    def _open_tcp(self, where: Target) -> Sequence[ListenError]:
        if not self._token:
            return [ListenError(NAME, str(where), "control-listen needs a control-token")]
        try:
            self._tcp = open_stream_sockets(NAME, (where.host,), where.port, None, BACKLOG)
        except ListenError as error:
            return [error]
        return []

    def give_to(self, user: int | None, group: int | None) -> None:
        """Let C{user} own what was opened by root; C{None} for no other user."""
        if self._unix is not None and os.geteuid() == 0 and user is not None:
            self._unix.give_to(user, -1 if group is None else group)

    def start(self) -> None:
        """Serve from now on."""
        if self._trouble:
            self.log.warn("no control socket: {reason}; set control-socket", reason=self._trouble)
        if self._unix is not None:
            self._accept(self._unix.listening, None)
        for opened in self._tcp:
            self._accept(opened, self._token)
        for place in self.places():
            self.log.info("control socket {place}", place=place)

    def stop(self) -> None:
        """Close everything at once."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors.clear()
        self._close()
        for connection in tuple(self._connections):
            connection.close()

    def _close(self) -> None:
        unix, self._unix = self._unix, None
        if unix is not None:
            unix.close()
        close_sockets(self._tcp)
        self._tcp = []

    def _accept(self, listening: socket.socket, token: str | None) -> None:
        factory = _ConnectionFactory()
        factory.noisy = False

        def accepted(opened: Any, _: Any) -> None:
            if token is None and not _is_allowed(opened):
                self.log.warn("a control connection of another user was refused")
                opened.close()
                return
            made = factory.made = ControlConnection(self._service, self._reactor, token, self._finished)
            self._limit.take()
            self._connections.add(made)
            try:
                opened.setblocking(False)
                self._reactor.adoptStreamConnection(opened.fileno(), listening.family, factory)
            except OSError as error:
                self._finished(made)
                self.log.info("a control connection was lost: {error}", error=str(error))
            finally:
                # The reactor has a descriptor of its own.
                opened.close()

        acceptor = Acceptor(self._reactor, listening, self._limit, accepted)
        self._acceptors.append(acceptor)
        acceptor.start()

    def _finished(self, connection: ControlConnection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._limit.give_back()


class _ConnectionFactory(ServerFactory):
    made: ControlConnection

    def buildProtocol(self, addr: Any) -> ControlConnection:
        return self.made


def _is_allowed(opened: Any) -> bool:
    """Whether the peer of a unix socket is of our own user, or root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the socket's mode has to do
    octets = opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(octets)[1] in (0, os.geteuid())


def _written(name: Any) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _reason(error: OSError) -> str:
    return str(error.args[0]) if error.errno is None else (error.strerror or str(error))
