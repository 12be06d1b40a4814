"""
What must outlive this process: the PCP nonce, and which mappings it made.

A mapping is written down before the gateway is asked for it, so that after a crash there is none on the
gateway that is not in the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from attrs import asdict, frozen
from twisted.logger import Logger

from pmmux.nat.mapping import PERMANENT, Grant, Link
from pmmux.nat.settings import LARGEST_PORT
from pmmux.wire.pcp import NONCE_OCTETS

FORMAT_VERSION = 1
LARGEST_FILE_OCTETS = 256 * 1024
MOST_RECORDS = 1024
FORGET_PERMANENT_SECONDS = 90 * 86400.0
_OWNER_ONLY = 0o600
_OWNER_ONLY_DIRECTORY = 0o700


@frozen(slots=True)
class MappingRecord:
    """
    A mapping that we made, or were about to make.

    @ivar name: the listener it was for.
    @ivar gateway: whom we asked, and C{address}, from which address of ours.
    @ivar ends_at: when the gateway lets it go, in seconds since 1970.
    """

    name: str
    driver: str
    gateway: str
    address: str
    transport: str
    internal_port: int
    external_port: int
    ends_at: float

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """What tells it from the others."""
        return (
            self.driver,
            self.gateway,
            self.address,
            self.transport,
            self.internal_port,
            self.external_port,
        )

    def to_grant(self) -> Grant:
        """The mapping as its driver wants it for deleting."""
        return Grant(self.driver, self.transport, self.internal_port, self.external_port, PERMANENT)


class Journal:
    """
    The state file. Without a path, or where it cannot be written, it is kept in memory only.

    One process has it at a time: another would take the first one's mappings for leftovers, and delete
    them.

    @param now: seconds since 1970.
    """

    log = Logger()

    def __init__(
        self,
        path: str,
        now: Callable[[], float],
        make_nonce: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._path = Path(path) if path else None
        self._now = now
        self._records: dict[tuple[str, str, str, str, int, int], MappingRecord] = {}
        self._complained = False
        self._lock: TextIO | None = None
        self.nonce = self._load() or make_nonce(NONCE_OCTETS)

    def records(self) -> tuple[MappingRecord, ...]:
        """Mappings that may be on a gateway still, the oldest first."""
        now = self._now()
        self._records = {key: record for key, record in self._records.items() if record.ends_at > now}
        return tuple(self._records.values())

    def remember(
        self,
        name: str,
        link: Link,
        grant: Grant,
    ) -> None:
        """Write down a mapping that is made, about to be made, or renewed."""
        lifetime = grant.lifetime_seconds or FORGET_PERMANENT_SECONDS
        record = MappingRecord(
            name,
            grant.driver,
            link.gateway,
            link.address,
            grant.transport,
            grant.internal_port,
            grant.external_port,
            self._now() + lifetime,
        )
        self._records[record.key] = record
        self._save()

    def forget(self, record: MappingRecord) -> None:
        """The mapping is on the gateway no longer."""
        if self._records.pop(record.key, None) is not None:
            self._save()

    def find_former_address(self, link: Link, transport: str, external_port: int) -> str:
        """@return: another address of ours that a port was mapped to over C{link}; empty where none was."""
        for record in self.records():
            mapped = (record.gateway, record.transport, record.external_port)
            if mapped == (link.gateway, transport, external_port) and record.address != link.address:
                return record.address
        return ""

    def find(self, link: Link, grant: Grant) -> MappingRecord | None:
        """The record of a mapping that was made over C{link}."""
        key = (
            grant.driver,
            link.gateway,
            link.address,
            grant.transport,
            grant.internal_port,
            grant.external_port,
        )
        return self._records.get(key)

    def close(self) -> None:
        """Let another have the file."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _load(self) -> bytes | None:
        if self._path is None or not os.path.exists(self._path) or not self._claim(self._path):
            return None
        try:
            with self._path.open("rb") as file:
                octets = file.read(LARGEST_FILE_OCTETS + 1)
        except OSError as error:
            self._complain("read", error)
            return None
        try:
            if len(octets) > LARGEST_FILE_OCTETS:
                raise ValueError("too large")
            content = json.loads(octets)
            if content["version"] != FORMAT_VERSION:
                raise ValueError("another version")
            nonce = bytes.fromhex(content["nonce"])
            if len(nonce) != NONCE_OCTETS:
                raise ValueError("a nonce of another length")
            records = [_read_record(fields) for fields in content["mappings"][:MOST_RECORDS]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._complain("read", error)
            return None
        self._records = {record.key: record for record in records}
        return nonce

    def _claim(self, path: Path) -> bool:
        """Have the file to ourselves, until we end."""
        if self._lock is not None:
            return True
        try:
            path.parent.mkdir(_OWNER_ONLY_DIRECTORY, parents=True, exist_ok=True)
            # Beside it, since the file itself is replaced at each change.
            lock = path.with_name(f"{path.name}.lock").open("w")
        except OSError as error:
            self._complain("write", error)
            return False
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            self._complain("use", BlockingIOError("another process uses it"))
            return False
        self._lock = lock
        return True

    def _save(self) -> None:
        if self._path is None or not self._claim(self._path):
            return
        content = {
            "version": FORMAT_VERSION,
            "nonce": self.nonce.hex(),
            "mappings": [asdict(record) for record in self._records.values()],
        }
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(content, file, indent=1)
            beside.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            self._complain("write", error)

    def _complain(self, action: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            self.log.warn(
                "NAT: cannot {action} the state file {path}: {error}; mappings are remembered in memory only",
                action=action,
                path=str(self._path),
                error=str(error) or type(error).__name__,
            )


def _read_record(fields: dict[str, Any]) -> MappingRecord:
    record = MappingRecord(
        name=str(fields["name"]),
        driver=str(fields["driver"]),
        gateway=str(fields["gateway"]),
        address=str(fields["address"]),
        transport=str(fields["transport"]),
        internal_port=int(fields["internal_port"]),
        external_port=int(fields["external_port"]),
        ends_at=float(fields["ends_at"]),
    )
    if not (0 < record.internal_port <= LARGEST_PORT and 0 <= record.external_port <= LARGEST_PORT):
        raise ValueError("a port out of range")
    if record.transport not in ("tcp", "udp"):
        raise ValueError("an unknown transport")
    return record
