"""How much of what we wrote the other side of a socket has not taken yet."""

from __future__ import annotations

import fcntl
import struct
import termios

_COUNT = struct.Struct("i")


def unsent_octets(descriptor: int) -> int:
    """
    Octets that are with the system, unsent or not acknowledged; 0 where it does not tell.

    While a slow reader works on these nothing moves through us, and yet there is progress.
    """
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_COUNT.size))
    except OSError:
        return 0
    count: int = _COUNT.unpack(answer)[0]
    return count
