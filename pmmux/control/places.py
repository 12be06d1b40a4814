"""
Where the control socket is: in a directory that only its user can enter, or where it was told to be.

Both sides use this: pmmux to open it, C{pmmuxctl} to find it.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

DIRECTORY_NAME = "pmmux"
SYSTEM_DIRECTORY = Path("/run") / DIRECTORY_NAME
FIRST_NAME = "control.sock"
# Names that pmmux tries one after the other where several run for one user.
NAMES = (FIRST_NAME, *(f"control-{number}.sock" for number in range(2, 100)))
PROBE_SECONDS = 1.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@frozen(slots=True)
class Directory:
    """
    A directory for control sockets.

    @ivar is_shared: whether it stands in a place where everybody may make directories, so that it
        must be looked at before it is trusted.
    """

    path: Path
    is_shared: bool = False

    def fault(self, user: int) -> str:
        """Why it cannot be trusted with C{user}'s sockets; empty where it can."""
        try:
            found = self.path.lstat()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{self.path} is not a directory"
        if self.is_shared and found.st_uid != user:
            return f"{self.path} belongs to another user"
        if self.is_shared and found.st_mode & _OTHERS:
            return f"{self.path} is open to other users"
        return ""

    def make(self, user: int) -> None:
        """
        Make it where it is not there, for its owner alone.

        @raises OSError: it cannot be made, or cannot be trusted.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        fault = self.fault(user)
        if fault:
            raise PermissionError(fault)


def directories(environment: Mapping[str, str], user: int) -> list[Directory]:
    """The places for C{user}'s control sockets, the best first; pmmux uses the first."""
    found = []
    # systemd's RuntimeDirectory=; several are separated by colons.
    if runtime := environment.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        found.append(Directory(Path(runtime)))
    if session := environment.get("XDG_RUNTIME_DIR", ""):
        found.append(Directory(Path(session) / DIRECTORY_NAME))
    if user == 0:
        found.append(Directory(SYSTEM_DIRECTORY))
    else:
        found.append(Directory(Path(tempfile.gettempdir()) / f"{DIRECTORY_NAME}-{user}", is_shared=True))
    return [each for each in found if each.path.is_absolute()]


def is_listened_on(path: Path) -> bool:
    """Whether a process answers on the socket C{path}, or may, as far as can be seen from here."""
    try:
        _probe(path)
    except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # Not allowed to ask, or nobody accepts just now: somebody has it.
        return True
    return True


def running_sockets(environment: Mapping[str, str], user: int) -> list[Path]:
    """The control sockets on which somebody answers C{user}, in the best place that has any."""
    for place in _all_directories(environment, user):
        if not place.fault(user):
            found = [path for path in sorted(place.path.glob("control*.sock")) if _answers(path)]
            if found:
                return found
    return []


def searched(environment: Mapping[str, str], user: int) -> list[str]:
    """The places that L{running_sockets} looks at, in text, with what kept it out."""
    return [_told(place, user) for place in _all_directories(environment, user)]


def _told(place: Directory, user: int) -> str:
    if not place.path.exists():
        return f"{place.path} (not there)"
    if place.fault(user) or not os.access(place.path, os.R_OK | os.X_OK):
        return f"{place.path} (of another user)"
    return str(place.path)


def _all_directories(environment: Mapping[str, str], user: int) -> list[Directory]:
    places = directories(environment, user)
    # Run by systemd it has a runtime directory that a terminal's environment does not name.
    if all(place.path != SYSTEM_DIRECTORY for place in places):
        places.append(Directory(SYSTEM_DIRECTORY))
    return places


def _answers(path: Path) -> bool:
    try:
        _probe(path)
    except OSError:
        return False
    return True


def _probe(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        probe.connect(str(path))
