"""The options of C{[pmmux]} for steering and for being looked at."""

from __future__ import annotations

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.values import Target

OFF = "off"
LOOPBACK = "127.0.0.1"
TOKEN_LEAST_CHARACTERS = 16
TOKEN_LIMIT_CHARACTERS = 1000
LARGEST_RING = 1_000_000
_PLACE = "a port (of 127.0.0.1), or HOST:PORT with an IP address"


def socket_place(text: str) -> str:
    """An absolute path, or C{off}."""
    text = text.strip()
    if text.lower() == OFF:
        return OFF
    if not text.startswith("/"):
        raise ValueError("neither an absolute path nor off")
    return values.unix_path(text)


def listening_place(text: str) -> Target | None:
    """A port on the loopback, an IP address with a port, or C{off}."""
    text = text.strip()
    if text.lower() == OFF:
        return None
    if text.isdigit():
        return Target(LOOPBACK, values.port(text))
    place = values.target(text)
    if place.unix_path is not None or place.is_name:
        raise ValueError("not an IP address with a port")
    return place


def token(text: str) -> str:
    """A secret long enough not to be guessed."""
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError("holds other than printable ASCII characters")
    if not TOKEN_LEAST_CHARACTERS <= len(text) <= TOKEN_LIMIT_CHARACTERS:
        raise ValueError(f"a token has from {TOKEN_LEAST_CHARACTERS} to {TOKEN_LIMIT_CHARACTERS} characters")
    return text


STEERING_OPTIONS = (
    Option(
        "control-socket",
        socket_place,
        "an absolute path, or off",
        description="The control socket; absent: control.sock in the runtime directory.",
    ),
    Option(
        "control-listen",
        listening_place,
        _PLACE,
        description="Where the control protocol is also served on TCP; needs control-token.",
    ),
    Option(
        "control-token",
        token,
        f"a secret of at least {TOKEN_LEAST_CHARACTERS} characters",
        description="What a peer on TCP has to begin with.",
    ),
    Option(
        "metrics-listen",
        listening_place,
        _PLACE,
        description="Where Prometheus finds /metrics; needs the extra prometheus; absent: nowhere.",
    ),
    Option(
        "trace-length",
        values.integer(0, LARGEST_RING),
        f"a number from 0 to {LARGEST_RING}",
        1000,
        description="How many of the last routes are kept for pmmuxctl trace.",
    ),
)
