"""
The manager that has started us, systemd for one: sockets that it opened, and messages about how we do.

@see: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3): the protocols, which are environment variables
    and datagrams, are documented there as stable.
"""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from twisted.logger import Logger

from pmmux.transport.handover import SocketPool
from pmmux.transport.sockets import InheritedSocket

FIRST_DESCRIPTOR = 3
NO_NAME = "unknown"
INITIAL_ENVIRONMENT = "/proc/self/environ"
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# The manager takes the first of these after half of its time; that leaves the other half.
WATCHDOG_SHARE = 0.5
_MICROSECONDS = 1_000_000
_ABSTRACT = "@"

READY = "READY=1"
STOPPING = "STOPPING=1"
RELOADING = "RELOADING=1"
ALIVE = "WATCHDOG=1"


def read_initial_environment(path: str = INITIAL_ENVIRONMENT) -> dict[str, str]:
    """
    The environment that the process was started with.

    Twisted's parser of endpoints, which twistd imports before it asks us for anything, takes the names
    of C{LISTEN_FDS} out of the environment, whether somebody wants the sockets or not.

    @return: empty where the system does not tell.
    """
    try:
        with open(path, "rb") as file:
            entries = file.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def take_sockets(
    environment: MutableMapping[str, str], pid: int, initial: Mapping[str, str] = NO_VARIABLES
) -> SocketPool:
    """
    The sockets that were opened for us; nobody whom we start is given them, or told of them.

    @param environment: the process's; what tells of the sockets is taken out of it.
    @param pid: our own: what is meant for another process is left alone.
    @param initial: see L{read_initial_environment}.
    @raises ValueError: what is said of them cannot be.
    """
    pool = SocketPool()
    said = {name: environment.pop(name, "") or initial.get(name, "") for name in _LISTEN_VARIABLES}
    if said["LISTEN_PID"] != str(pid):
        return pool
    if not said["LISTEN_FDS"].isdecimal():
        raise ValueError(f"LISTEN_FDS is {said['LISTEN_FDS']!r}, not a number")
    count = int(said["LISTEN_FDS"])
    names = said["LISTEN_FDNAMES"].split(":") if said["LISTEN_FDNAMES"] else [NO_NAME] * count
    if len(names) != count:
        raise ValueError(f"LISTEN_FDNAMES has {len(names)} names for {count} sockets")
    for descriptor, name in enumerate(names, FIRST_DESCRIPTOR):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            opened = InheritedSocket(fileno=descriptor)
        except OSError as error:
            raise ValueError(f"descriptor {descriptor} ({name}): {error.strerror}") from None
        pool.add_inherited(name, opened)
    return pool


class Notifier:
    """
    Tells the manager how we do, as long as it wants to know.

    Its socket is kept: a daemon that has given up privileges might not be able to open it again.
    """

    log = Logger()

    def __init__(self, clock: Any, environment: MutableMapping[str, str], pid: int) -> None:
        """@param environment: what is for us alone is taken out of it."""
        self._clock = clock
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._watchdog_seconds = _read_watchdog(environment, pid)
        self._socket: socket.socket | None = None
        self._call: Any = None
        if self._address.startswith(("/", _ABSTRACT)):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            if self._address.startswith(_ABSTRACT):
                self._address = "\0" + self._address[1:]

    @property
    def watchdog_seconds(self) -> float | None:
        """After so long a silence the manager takes us for hung; C{None} for never."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        """We serve; also said after a reload."""
        self._tell(READY, f"STATUS={status}")
        if self._watchdog_seconds is not None and self._call is None:
            self._keep_alive(self._watchdog_seconds)

    def reloading(self) -> None:
        """We read the configuration anew; L{ready} follows."""
        self._tell(RELOADING, f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """We end."""
        self._tell(STOPPING, f"STATUS={status}")

    def close(self) -> None:
        """Tell nothing any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _keep_alive(self, seconds: float) -> None:
        self._tell(ALIVE)
        self._call = self._clock.callLater(seconds * WATCHDOG_SHARE, self._keep_alive, seconds)

    def _tell(self, *assignments: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
        except OSError as error:
            self.log.warn(
                "the service manager was not told {what}: {error}",
                what=assignments[0],
                error=error.strerror or str(error),
            )


def _read_watchdog(environment: MutableMapping[str, str], pid: int) -> float | None:
    microseconds = environment.pop("WATCHDOG_USEC", "")
    whose = environment.pop("WATCHDOG_PID", str(pid))
    if whose != str(pid) or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / _MICROSECONDS
