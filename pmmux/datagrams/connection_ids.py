"""
QUIC connection IDs, by which a client is known again when its address has changed.

A server chooses the IDs that its client writes to. Those of long headers can be read by anyone; those
that it gives out later are encrypted. So a client whose address was changed for it, by a NAT, is
found again, and one that moves on purpose only if it keeps its ID.

@see: RFC 9000 sections 5.1, 9.3 and 9.5
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pmmux.wire.quic import FIXED_BIT, LONG_FORM, destination_connection_id, long_header

# Enough for a long header with both of its IDs.
HEADER_OCTETS = 64
# A server has one; with a Retry two. An upstream that is none of QUIC must not fill the memory.
IDS_PER_SESSION_LIMIT = 4


class ServerIDs:
    """
    What one session's server chose, read from what passes by.

    @ivar seen: the IDs.
    """

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def read_reply(self, datagram: Any) -> None:
        """Look at what the server sent."""
        if len(datagram) and datagram[0] & LONG_FORM and len(self.seen) < IDS_PER_SESSION_LIMIT:
            header = long_header(bytes(datagram[:HEADER_OCTETS]))
            if header is not None and header.version:
                self.seen.add(header.source)

    def is_answered_by(self, datagram: Any) -> bool:
        """
        Whether what the client sent is addressed to an ID that only a reply can have told it.

        @see: RFC 9000 section 8.1
        """
        head = bytes(datagram[:HEADER_OCTETS])
        return any(destination_connection_id(head, len(known)) == known for known in self.seen)


def has_short_header(datagram: Any) -> bool:
    """Whether the handshake is over, as far as the sender of C{datagram} is concerned."""
    return len(datagram) > 0 and datagram[0] & (LONG_FORM | FIXED_BIT) == FIXED_BIT


class ConnectionIDs:
    """The sessions of one listener by their server's IDs."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Any] = {}
        self._lengths: Counter[int] = Counter()

    def add(self, identifier: bytes, session: Any) -> None:
        """C{session} is established, and its client writes to C{identifier}."""
        if identifier:
            if identifier not in self._sessions:
                self._lengths[len(identifier)] += 1
            self._sessions[identifier] = session

    def discard(self, identifiers: set[bytes], session: Any) -> None:
        """C{session} has ended; what another has taken over stays."""
        for identifier in identifiers:
            if self._sessions.get(identifier) is session:
                del self._sessions[identifier]
                self._lengths[len(identifier)] -= 1
                if not self._lengths[len(identifier)]:
                    del self._lengths[len(identifier)]

    def find(self, datagram: bytes) -> Any:
        """The session that C{datagram}, which came from a new address, belongs to; or C{None}."""
        if not self._sessions or not has_short_header(datagram):
            return None
        for length in self._lengths:
            identifier = destination_connection_id(datagram, length)
            session = None if identifier is None else self._sessions.get(identifier)
            if session is not None:
                return session
        return None
