"""Many networks to look an address up in, as they are written in the configuration or in a file."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Sequence

from attrs import define
from twisted.logger import Logger

from pmmux.config import values

# Files are looked at no more often than this, and only when somebody comes.
LOOK_SECONDS = 2.0
COMMENT = "#"


class NetworkSet:
    """Finds an address by one look for each length of prefix there is, however many networks."""

    def __init__(self, networks: Iterable[values.IPNetwork] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            found = self._prefixes.setdefault((network.version, shift), set())
            found.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            # The path of a unix socket lies in no network.
            return False
        number = int(address)
        return any(
            version == address.version and number >> shift in prefixes
            for (version, shift), prefixes in self._prefixes.items()
        )


def read_networks(path: str) -> list[values.IPNetwork]:
    """
    Read a file with a network, or an address, on each line; C{#} begins a comment.

    @raises OSError: it cannot be read.
    @raises ValueError: a line is neither; says which.
    """
    found = []
    with open(path, encoding="utf-8", errors="backslashreplace") as file:
        for number, line in enumerate(file, 1):
            text = line.partition(COMMENT)[0].strip()
            if text:
                try:
                    found.append(values.network(text))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None
    return found


@define(eq=False)
class _Listed:
    path: str
    signature: tuple[int, ...] | None
    networks: Sequence[values.IPNetwork]


class WatchedNetworks:
    """Networks of the configuration and of a file, which is read again when it has changed."""

    log = Logger()

    def __init__(
        self, networks: Sequence[values.IPNetwork], path: str | None, seconds: Callable[[], float]
    ) -> None:
        """
        @param path: of the file; C{None} for none.
        @param seconds: of a clock.
        """
        self._networks = tuple(networks)
        self._seconds = seconds
        self._file = None if path is None else _Listed(path, None, ())
        self._looked_at = seconds()
        self._set = NetworkSet(self._networks)
        self.is_configured = bool(networks) or path is not None
        if self._file is not None:
            self._read(self._file)

    def __contains__(self, host: str) -> bool:
        if self._file is not None and self._seconds() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._seconds()
            self._read(self._file)
        return host in self._set

    def _read(self, file: _Listed) -> None:
        try:
            status = os.stat(file.path)
            signature = status.st_mtime_ns, status.st_size, status.st_ino
            if signature == file.signature:
                return
            file.signature = signature
            file.networks = read_networks(file.path)
        except (OSError, ValueError) as error:
            if file.signature != ():
                self.log.warn(
                    "{path} cannot be read, what it held stays: {error}", path=file.path, error=str(error)
                )
            if isinstance(error, OSError):
                file.signature = ()
            return
        self._set = NetworkSet((*self._networks, *file.networks))
        self.log.info("{path}: {count} networks", path=file.path, count=len(file.networks))
