"""
SSH: the identification line that both sides begin with.

@see: RFC 4253, section 4.2
"""

from __future__ import annotations

import re

from attrs import frozen

from pmmux.wire.reading import Incomplete

#: The longest line, its end included.
LINE_LIMIT_OCTETS = 255

_PREFIXES = {b"SSH-2.0-": "2.0", b"SSH-1.99-": "1.99"}
# The RFC forbids the minus sign in the software's name, and clients use it.
_SOFTWARE = re.compile(rb"([!-~]+)(?: [ -~\x80-\xff]*)?\r?")


@frozen(slots=True)
class Identification:
    """
    How a client names itself.

    @ivar software: C{None} while its line has not ended, or where it breaks the rules.
    @ivar octets_needed: the octets in all that would tell more; 0 for none.
    """

    version: str
    software: bytes | None
    octets_needed: int


def read_identification(octets: bytes) -> Identification | Incomplete | None:
    """Read the line; the protocol is certain before it ends."""
    for prefix, version in _PREFIXES.items():
        if octets.startswith(prefix):
            return _read_software(octets, len(prefix), version)
    if any(prefix.startswith(octets) for prefix in _PREFIXES):
        return Incomplete(len(octets) + 1)
    return None


def _read_software(octets: bytes, start: int, version: str) -> Identification:
    end = octets.find(b"\n", start, LINE_LIMIT_OCTETS)
    if end >= 0:
        found = _SOFTWARE.fullmatch(octets, start, end)
        return Identification(version, found[1] if found else None, 0)
    return Identification(version, None, len(octets) + 1 if len(octets) < LINE_LIMIT_OCTETS else 0)
