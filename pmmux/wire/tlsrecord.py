"""
TLS records, seen from outside.

@see: RFC 8446 section 5.1
"""

from __future__ import annotations

RECORD_CHANGE_CIPHER = 0x14
RECORD_HEADER_OCTETS = 5


def count_application_records(octets: bytes) -> int | None:
    """
    How many records at most carry application data in what a client says at the end of its handshake.

    @param octets: begins with a record.
    @return: C{None} where it does not end with one.
    """
    # One at least is of the handshake.
    count = -1
    at = 0
    total = len(octets)
    while at + RECORD_HEADER_OCTETS <= total:
        # Those that only seem to change the cipher (RFC 8446 appendix D.4) carry nothing.
        count += octets[at] != RECORD_CHANGE_CIPHER
        at += RECORD_HEADER_OCTETS + (octets[at + 3] << 8 | octets[at + 4])
    return count if at == total else None
