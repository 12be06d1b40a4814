"""
The server queries of Valve's Source engine, which many games speak.

@see: U{https://developer.valvesoftware.com/wiki/Server_queries}
"""

from __future__ import annotations

SIMPLE_HEADER = b"\xff\xff\xff\xff"
INFO = SIMPLE_HEADER + b"TSource Engine Query\0"
CHALLENGE_OCTETS = 4
CHALLENGED = {b"U": "players", b"V": "rules"}
BARE = {b"i": "ping", b"W": "challenge"}
OPERATION_END = 5


def parse_query(datagram: bytes) -> str | None:
    """
    Recognise a query.

    @return: C{info}, C{players}, C{rules}, C{ping} or C{challenge}; C{None} for anything else.
    """
    if not datagram.startswith(SIMPLE_HEADER):
        return None
    if datagram.startswith(INFO):
        return "info" if len(datagram) - len(INFO) in (0, CHALLENGE_OCTETS) else None
    operation = datagram[OPERATION_END - 1 : OPERATION_END]
    if len(datagram) == OPERATION_END + CHALLENGE_OCTETS:
        return CHALLENGED.get(operation)
    return BARE.get(operation) if len(datagram) == OPERATION_END else None
