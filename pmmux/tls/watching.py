"""What is read from files, and read again when they have changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.logger import Logger

from pmmux.tls.certificates import CertificateError

# Files are looked at no more often than this, and only when there is a connection.
RELOAD_SECONDS = 2.0

Content = TypeVar("Content")
Signature = tuple[tuple[int, int, int] | None, ...]


def _sign(paths: Sequence[str]) -> Signature:
    """What tells that one of C{paths} has changed."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


class Watched(Generic[Content]):
    """
    What some files hold, as it was when they could be read last.

    Files that cannot be used leave it as it was: they may be half written, so they are tried again.

    @ivar content: C{None} where they could never be read.
    """

    log = Logger()

    def __init__(self, what: str, paths: Sequence[str], load: Callable[[], Content]) -> None:
        """
        @param what: for the log: C{certificate shop}.
        @param load: raises L{CertificateError} where the files cannot be used.
        """
        self.content: Content | None = None
        self._what = what
        self._paths = paths
        self._load = load
        self._loaded: Signature | None = None
        self._refused: Signature | None = None

    def look(self) -> bool:
        """Read again where the files have changed. @return: whether there is other content now."""
        signature = _sign(self._paths)
        if signature == self._loaded:
            return False
        try:
            content = self._load()
        except CertificateError as error:
            if self._refused != signature:
                self._refused = signature
                self.log.warn("{what} cannot be used: {reason}", what=self._what, reason=str(error))
            return False
        if self._loaded is not None:
            self.log.info("{what} was loaded again", what=self._what)
        self.content, self._loaded, self._refused = content, signature, None
        return True


class Pace:
    """Lets files be looked at now and then only."""

    def __init__(self, now: float) -> None:
        """@param now: in seconds of a clock that may be set back."""
        self._looked_at = now

    def is_due(self, now: float) -> bool:
        """Whether they are to be looked at; that counts as having been done."""
        if 0 <= now - self._looked_at < RELOAD_SECONDS:
            return False
        self._looked_at = now
        return True
