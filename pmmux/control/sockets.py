"""Opening the control sockets: for their owner alone, and never in the place of one that is alive."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define

from pmmux.control.places import NAMES, Directory, directories, is_listened_on

BACKLOG = 128
LOCK_TRIES = 40
LOCK_PAUSE_SECONDS = 0.05
_OWNER_ONLY = 0o177


@define(slots=True, eq=False)
class UnixSocket:
    """
    A listening socket with a path of its own.

    @ivar made_directory: the directory that was made for it; C{None} where it was there.
    """

    listening: socket.socket
    path: Path
    made_directory: Path | None = None
    _identity: tuple[int, int] = (0, 0)

    def give_to(self, user: int, group: int) -> None:
        """Let C{user} own it, and the directory that was made for it."""
        os.chown(self.path, user, group)
        if self.made_directory is not None:
            os.chown(self.made_directory, user, group)

    def close(self) -> None:
        """Close it, and remove the path where that is still its own."""
        self.listening.close()
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self.path)


def open_unix(path: Path) -> UnixSocket:
    """
    Listen on C{path}, in the place of a socket that nobody listens on any more.

    @raises OSError: it cannot be; C{FileExistsError} where somebody listens there, or it is
        something else.
    """
    with _locked(path.parent):
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            # Never open to others, not for a moment: so not chmod afterwards.
            before = os.umask(_OWNER_ONLY)
            try:
                listening.bind(str(path))
            finally:
                os.umask(before)
            listening.listen(BACKLOG)
            found = os.lstat(path)
        except OSError:
            listening.close()
            raise
    return UnixSocket(listening, path, None, (found.st_dev, found.st_ino))


def open_default(environment: Mapping[str, str], user: int) -> UnixSocket:
    """
    Listen under the first free name in the runtime directory.

    @raises OSError: there is no such directory and none can be made, or no name is free.
    """
    place: Directory = directories(environment, user)[0]
    was_there = place.path.is_dir()
    place.make(user)
    for name in NAMES:
        try:
            opened = open_unix(place.path / name)
        except FileExistsError:
            continue
        if not was_there:
            opened.made_directory = place.path
        return opened
    raise FileExistsError(f"{place.path}: {len(NAMES)} are running already")


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is there, and not a socket")
    if is_listened_on(path):
        raise FileExistsError(f"{path}: another pmmux listens there")
    os.unlink(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep others that start at the same moment from removing what is just being made."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock_soon(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock_soon(descriptor: int) -> None:
    # Where another user holds it for good, in a directory of everybody's, go on without.
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return
