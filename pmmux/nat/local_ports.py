"""Finding a local port where the configuration leaves it to us."""

from __future__ import annotations

import socket

from pmmux.nat.settings import IPV6


def find_free_port(transport: str, family: int, preferred: int) -> int:
    """
    A port that nobody listens on at the moment.

    @param preferred: taken if it is free; 0 for none.
    """
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET6 if family == IPV6 else socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return preferred
