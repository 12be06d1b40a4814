"""What the configuration says of datagrams: options of listeners and of backends."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pmmux.config import values
from pmmux.config.options import Option
from pmmux.model import SectionValues

SESSION = "session"
MESSAGE = "message"
QUIC_AMPLIFICATION_LIMIT = 3.0
"""RFC 9000 section 8.1."""
LARGEST_COUNT = 1_000_000
LARGEST_RATIO = 1000.0

_COUNT = f"a number from 1 to {LARGEST_COUNT}"


def parse_ratio(text: str) -> float:
    """A factor above 0, or C{off}, which is 0."""
    if text.strip().lower() == "off":
        return 0.0
    ratio = float(text)
    if not 0 < ratio <= LARGEST_RATIO:
        raise ValueError("out of range")
    return ratio


LISTENER_OPTIONS = (
    Option(
        "affinity",
        values.choice(SESSION, MESSAGE),
        "session or message",
        SESSION,
        description="UDP: whether a client's first datagram is routed and the rest follow it, or each anew.",
    ),
    Option(
        "max-sessions",
        values.integer(1, LARGEST_COUNT),
        _COUNT,
        description="UDP: sessions at a time; absent: the global `max-udp-sessions`.",
    ),
    Option(
        "max-sessions-per-address",
        values.integer(1, LARGEST_COUNT),
        _COUNT,
        description="UDP: sessions at a time of one client address, or IPv6 /64; absent: any number.",
    ),
    Option(
        "max-new-sessions-per-second",
        values.integer(1, LARGEST_COUNT),
        _COUNT,
        description="UDP: new sessions a second of one client address, or IPv6 /64; absent: any number.",
    ),
)

BACKEND_OPTIONS = (
    Option(
        "amplification-limit",
        parse_ratio,
        f"a number above 0, to {LARGEST_RATIO:g}, or off",
        description=(
            "UDP: how many times what a client sent it may be sent before it has answered; "
            "absent: 3 for QUIC, off for others."
        ),
    ),
    Option(
        "refuse-low-ports",
        values.boolean,
        "true or false",
        description="UDP: whether clients with ports below 1024 are refused; absent: for QUIC only.",
    ),
)


@frozen(slots=True)
class SessionLimits:
    """
    The bounds on the sessions of one listener.

    @ivar is_by_message: whether each datagram is routed anew.
    @ivar per_address: sessions at a time of one address; 0 for any number.
    @ivar per_address_second: new sessions a second of one address; 0 for any number.
    @ivar preview_octets: how much of a client's datagrams is held until it is routed.
    """

    most: int
    is_by_message: bool = False
    per_address: int = 0
    per_address_second: int = 0
    preview_octets: int = 32768

    @classmethod
    def of(cls, options: SectionValues, most: int, preview_octets: int) -> SessionLimits:
        """@param most: where the listener does not state its own."""
        return cls(
            options.get("max-sessions") or most,
            options.get("affinity") == MESSAGE,
            options.get("max-sessions-per-address") or 0,
            options.get("max-new-sessions-per-second") or 0,
            preview_octets,
        )


def amplification_limit(options: SectionValues, is_quic: bool) -> float:
    """How many times what a client sent it may be sent; 0 for any."""
    limit: float | None = options.get("amplification-limit")
    if limit is None:
        return QUIC_AMPLIFICATION_LIMIT if is_quic else 0.0
    return limit


def refuses_low_ports(options: Any, is_quic: bool) -> bool:
    """Whether clients with ports below 1024 are refused."""
    refuses: bool | None = options.get("refuse-low-ports")
    return is_quic if refuses is None else refuses
