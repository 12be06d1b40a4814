"""Pipes through which octets go from one socket to another without being copied to us and back."""

from __future__ import annotations

import fcntl
import os

# 1 MiB is what an unprivileged process may have. HAProxy's 64 KiB were measured at half the rate.
PIPE_OCTETS = 1 << 20
# A pipe is held only while it holds octets, so a few serve many flows.
POOLED_PIPES = 32
MOST_PIPES = 256
_F_SETPIPE_SZ = 1031
_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE if hasattr(os, "SPLICE_F_MOVE") else 0


class Pipe:
    """
    A pipe between two sockets.

    @ivar held: how many octets are in it.
    """

    __slots__ = ("_read", "_write", "held", "is_open", "limit_octets")

    def __init__(self) -> None:
        """@raises OSError: there is no descriptor for it."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        self.is_open = True
        try:
            self.limit_octets = fcntl.fcntl(self._write, _F_SETPIPE_SZ, PIPE_OCTETS)
        except OSError:
            # Pipes of this user use up what the system allows: it stays as small as it is.
            self.limit_octets = fcntl.fcntl(self._write, fcntl.F_GETPIPE_SZ)

    def fill(self, descriptor: int) -> int:
        """
        Take what there is from a socket.

        @return: how many octets; 0 at the end of its data.
        @raises BlockingIOError: there is nothing now.
        @raises OSError: the socket failed.
        """
        count = os.splice(descriptor, self._write, self.limit_octets, flags=_SPLICE)
        self.held += count
        return count

    def drain(self, descriptor: int) -> int:
        """
        Give a socket what it takes of what is held.

        @return: how many octets it took.
        @raises OSError: the socket failed.
        """
        before = self.held
        while self.held:
            try:
                self.held -= os.splice(self._read, descriptor, self.held, flags=_SPLICE)
            except BlockingIOError:
                break
        return before - self.held

    def close(self) -> None:
        """Throw it away, with what it holds."""
        if self.is_open:
            self.is_open = False
            os.close(self._read)
            os.close(self._write)


class PipePool:
    """Empty pipes, kept for the next flow."""

    def __init__(self) -> None:
        self._empty: list[Pipe] = []
        self.lent = 0

    def take(self) -> Pipe | None:
        """An empty pipe; C{None} where there may be no more of them."""
        if self._empty:
            self.lent += 1
            return self._empty.pop()
        if self.lent >= MOST_PIPES:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Of no use any more; one that is not empty is closed."""
        self.lent -= 1
        if pipe.held or len(self._empty) >= POOLED_PIPES:
            pipe.close()
        else:
            self._empty.append(pipe)

    def close(self) -> None:
        """Close those that are not lent."""
        while self._empty:
            self._empty.pop().close()
