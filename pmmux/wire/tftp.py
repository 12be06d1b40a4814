"""
TFTP requests.

@see: RFC 1350 section 5, RFC 2347
"""

from __future__ import annotations

from attrs import frozen

OPERATIONS = {b"\0\1": "read", b"\0\2": "write"}
MODES = frozenset({"netascii", "octet", "mail"})
REQUEST_LIMIT_OCTETS = 4096
"""RFC 2347 allows 512; some network boot loaders send more."""


@frozen(slots=True)
class Request:
    """
    A request to read or to write a file.

    @ivar operation: C{read} or C{write}.
    @ivar filename: as the client wrote it; printable.
    @ivar mode: C{octet}, C{netascii} or C{mail}.
    @ivar options: their names in lower case, in order.
    """

    operation: str
    filename: str
    mode: str
    options: tuple[str, ...]


def parse_request(datagram: bytes) -> Request | None:
    """@return: C{None} where the datagram is not exactly one request."""
    operation = OPERATIONS.get(datagram[:2])
    if operation is None or datagram[-1:] != b"\0" or len(datagram) > REQUEST_LIMIT_OCTETS:
        return None
    try:
        fields = datagram[2:-1].decode("utf-8").split("\0")
    except UnicodeDecodeError:
        return None
    if len(fields) % 2 or not all(field and field.isprintable() for field in fields):
        return None
    filename, mode, *options = fields
    mode = mode.lower()
    if mode not in MODES:
        return None
    return Request(operation, filename, mode, tuple(option.lower() for option in options[::2]))
