"""What a client says of itself, as the text of a property."""

from __future__ import annotations

#: The longest text of a property, in characters; longer ones are cut.
TEXT_LIMIT = 255


def read_text(octets: bytes) -> str:
    """
    Octets from a client as text: UTF-8, cut, nothing escaped, never refused.

    @return: at most L{TEXT_LIMIT} characters; what is no UTF-8 stands as U+FFFD.
    """
    return octets.decode("utf-8", "replace")[:TEXT_LIMIT]


def read_host(octets: bytes) -> str:
    """The same for the name of a host: in lower case, without the dot at the end."""
    return read_text(octets).lower().removesuffix(".")
