"""
PostgreSQL: the packet that a client begins with.

@see: PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest,
    CancelRequest
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pmmux.wire.reading import Incomplete

STARTUP = "startup"
CANCEL = "cancel"
SSL = "ssl"
GSS = "gss"

#: The longest packet that servers take.
LIMIT_OCTETS = 10_000

_LENGTH_OCTETS = 4
_HEADER_OCTETS = 8
_CODES = {b"\x04\xd2\x16\x2e": CANCEL, b"\x04\xd2\x16\x2f": SSL, b"\x04\xd2\x16\x30": GSS}
_MAJOR_VERSION = b"\x00\x03"
# "user", one letter, their ends and the end of all.
_SMALLEST_STARTUP_OCTETS = _HEADER_OCTETS + 8
# A process and a key; the key was always 4 octets up to version 3.0, and is up to 256 since 3.2.
_CANCEL_OCTETS = range(16, 268 + 1)
_NAME = re.compile(rb"[A-Za-z0-9_.]*")


@frozen(slots=True)
class Request:
    """
    What a client begins with.

    @ivar kind: C{startup}, C{cancel}, C{ssl} or C{gss}.
    @ivar version: C{3.0}, of a startup.
    @ivar parameters: of a startup: C{user}, and mostly C{database}.
    """

    kind: str
    version: str = ""
    parameters: Mapping[bytes, bytes] = {}


def read_request(octets: bytes) -> Request | Incomplete | None:
    """Read the packet, which has to be there whole."""
    length = _read_length(octets)
    if not isinstance(length, int):
        return length
    code = octets[_LENGTH_OCTETS:_HEADER_OCTETS]
    if not any(_fits(kind, length) for kind in _kinds_beginning(code)):
        return None
    if len(code) < _HEADER_OCTETS - _LENGTH_OCTETS:
        return Incomplete(len(octets) + 1)
    kind = _CODES.get(code, STARTUP)
    body = octets[_HEADER_OCTETS:length]
    if kind == STARTUP and not _may_be_parameters(body, length - _HEADER_OCTETS):
        return None
    if len(octets) < length:
        return Incomplete(length)
    if kind != STARTUP:
        return Request(kind)
    parameters = _read_parameters(body)
    if not parameters.get(b"user"):
        return None
    version = f"{int.from_bytes(code[:2], 'big')}.{int.from_bytes(code[2:], 'big')}"
    return Request(STARTUP, version, parameters)


def _read_length(octets: bytes) -> int | Incomplete | None:
    """The length of the packet, itself included."""
    start = octets[:_LENGTH_OCTETS]
    missing = _LENGTH_OCTETS - len(start)
    if int.from_bytes(start + bytes(missing), "big") > LIMIT_OCTETS:
        return None
    if missing:
        return Incomplete(len(octets) + 1)
    length = int.from_bytes(start, "big")
    return length if length >= _HEADER_OCTETS else None


def _kinds_beginning(code: bytes) -> list[str]:
    """The kinds whose code may begin so."""
    kinds = [kind for whole, kind in _CODES.items() if whole.startswith(code)]
    if code[: len(_MAJOR_VERSION)] == _MAJOR_VERSION[: len(code)]:
        kinds.append(STARTUP)
    return kinds


def _fits(kind: str, length: int) -> bool:
    """Whether a packet of that kind may have that length."""
    if kind == STARTUP:
        return length >= _SMALLEST_STARTUP_OCTETS
    return length in _CANCEL_OCTETS if kind == CANCEL else length == _HEADER_OCTETS


def _may_be_parameters(body: bytes, length: int) -> bool:
    """Whether C{body}, of which there may be more, holds names and values by turns."""
    words = body.split(b"\0")
    names = words[0::2]
    if not all(_NAME.fullmatch(name) for name in names):
        return False
    if len(body) < length:
        # An empty name ends the list, so it may only be the last, unfinished word.
        return b"" not in (names if len(words) % 2 == 0 else names[:-1])
    # Whole: the last value's end, the list's end, nothing after.
    return len(words) % 2 == 0 and words[-2:] == [b"", b""] and b"" not in names[:-1]


def _read_parameters(body: bytes) -> dict[bytes, bytes]:
    words = body.split(b"\0")[:-2]
    return dict(zip(words[0::2], words[1::2], strict=True))
