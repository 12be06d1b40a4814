"""The options of C{[pmmux]} for steering and for being looked at."""

from __future__ import annotations

from urllib.parse import urlsplit

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.config.values import Target

OFF = "off"
LOOPBACK = "127.0.0.1"
TOKEN_LEAST_CHARACTERS = 16
TOKEN_LIMIT_CHARACTERS = 1000
LARGEST_RING = 1_000_000
OTLP_PATH = "/v1/metrics"
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


def collector_url(text: str) -> str:
    """
    An OTLP endpoint, with the path of metrics, which is added where it is not there.

    @see: U{https://opentelemetry.io/docs/specs/otlp/#otlphttp-request}
    """
    text = text.strip()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("holds a user, a query or a fragment")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds other than printable ASCII characters")
    _ = parts.port  # raises where it is none
    return text if parts.path.endswith(OTLP_PATH) else text.rstrip("/") + OTLP_PATH


def header_value(text: str) -> str:
    """
    The value of an HTTP header.

    @see: RFC 9110, section 5.5
    """
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("holds other than printable ASCII characters")
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
        "otlp-endpoint",
        collector_url,
        "an http:// or https:// URL",
        description="The OpenTelemetry collector that metrics are sent to, by OTLP over HTTP, each "
        "metrics-interval; needs the extra otlp; absent: none.",
    ),
    Option(
        "otlp-authorization",
        header_value,
        "the value of the header Authorization",
        description="What the collector wants to see before it takes anything.",
    ),
    Option(
        "trace-length",
        values.integer(0, LARGEST_RING),
        f"a number from 0 to {LARGEST_RING}",
        1000,
        description="How many of the last routes are kept for pmmuxctl trace.",
    ),
)
