"""
What is configured: the C{[nat]} section, and the ports wanted on the gateway.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Protocol

from attrs import field, frozen, validators

from pmmux.config import values
from pmmux.config.options import Option, SectionSchema

ANY_PORT = 0
"""A port written C{?}: whatever the gateway, or the system, chooses."""

LARGEST_PORT = 65535
IPV4, IPV6 = 4, 6
BUILT_IN_DRIVERS = ("pcp", "pmp", "upnp")

DEFAULT_LIFETIME_SECONDS = 3600.0
LEAST_LIFETIME_SECONDS = 2.0
LARGEST_LIFETIME_SECONDS = 7 * 86400.0
DEFAULT_TIMEOUT_SECONDS = 4.0
LARGEST_TIMEOUT_SECONDS = 60.0
DEFAULT_POLL_SECONDS = 45.0
LARGEST_POLL_SECONDS = 3600.0
LEAST_TIMEOUT_SECONDS = 0.25
LEAST_POLL_SECONDS = 1.0


class Observer(Protocol):
    """A distribution of times."""

    def observe(self, seconds: float) -> None:
        """Take in how long something took."""


class Reporter(Protocol):
    """What is asked of the L{pmmux.metrics.reporter.MetricReporter}."""

    def count(self, name: str, value: int = 1, /, **labels: str) -> None:
        """Add C{value} to a counter."""

    def duration(self, name: str, /, **labels: str) -> Observer:
        """The distribution of that name."""

    def event(self, name: str, /, **fields: Any) -> None:
        """Something happened."""


@frozen(slots=True)
class NATSettings:
    """
    The C{[nat]} section.

    @ivar protocols: names of drivers, the preferred one first.
    @ivar gateway: the gateway's address, for its family; empty for the one of the default route.
    @ivar interface: the network interface to use; empty for the one of the default route.
    @ivar lifetime_seconds: how long a mapping is asked for; the gateway may give another lifetime.
    @ivar renewal_lead_seconds: how long before its end a mapping is renewed; C{None} for at half of
        its lifetime.
    @ivar strict: whether a public port given as a number must be that number.
    @ivar timeout_seconds: how long one request may stay unanswered.
    @ivar poll_seconds: how often at most the gateway is asked whether it still knows us.
    @ivar state_path: the file that remembers the mappings made; empty for none.
    """

    protocols: tuple[str, ...] = BUILT_IN_DRIVERS
    gateway: str = ""
    interface: str = ""
    lifetime_seconds: float = DEFAULT_LIFETIME_SECONDS
    renewal_lead_seconds: float | None = None
    strict: bool = True
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    poll_seconds: float = DEFAULT_POLL_SECONDS
    state_path: str = ""

    @property
    def terms(self) -> tuple[float, float | None, bool]:
        """What mappings are asked for by."""
        return (self.lifetime_seconds, self.renewal_lead_seconds, self.strict)


@frozen(slots=True)
class WantedMapping:
    """
    One port wanted on the gateway.

    @ivar name: unique; the listener's or binding's name.
    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar local_port: where the gateway is to send traffic; L{ANY_PORT} to take the one that the
        mapping is made with.
    @ivar public_port: the port on the gateway; L{ANY_PORT} for any.
    @ivar family: L{IPV4}, or L{IPV6} for a pinhole in the gateway's firewall.
    @ivar strict: C{None} for what L{NATSettings} says.
    @ivar listens: C{False} where the port is only mapped, and another program listens on it.
    @ivar addresses: the addresses listened on; empty for all.
    """

    name: str
    transport: str = field(validator=validators.in_(("tcp", "udp")))
    local_port: int = field(validator=[validators.ge(0), validators.le(LARGEST_PORT)])
    public_port: int = field(validator=[validators.ge(0), validators.le(LARGEST_PORT)])
    family: int = field(default=IPV4, validator=validators.in_((IPV4, IPV6)))
    strict: bool | None = None
    listens: bool = True
    addresses: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, int]:
        """Both of them: what makes it another mapping."""
        return (self.local_port, self.public_port)

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the others: one name may be wanted for both transports and families."""
        return (self.name, self.transport, self.family)


def parse_drivers(text: str) -> tuple[str, ...]:
    """
    Names of drivers, separated by commas, the preferred one first.

    Whether each is known is told when all is read: drivers are plugins.

    @raises ValueError: with what is wrong.
    """
    names = tuple(values.name(name).lower() for name in text.split(","))
    if len(set(names)) != len(names):
        raise ValueError("the same name twice")
    return names


def parse_gateway(text: str) -> str:
    """
    The gateway's address.

    @raises ValueError: with what is wrong.
    """
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise ValueError("not an IP address") from None
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError("not the address of one machine")
    return str(address)


OPTIONS: Sequence[Option] = (
    Option(
        "protocol",
        parse_drivers,
        "any of pcp, pmp, upnp, separated by commas, the preferred one first",
        default=BUILT_IN_DRIVERS,
        description="How the gateway is asked; the first one that it speaks is used.",
    ),
    Option(
        "gateway",
        values.optional(parse_gateway, "auto"),
        "an IP address, or auto",
        description="The gateway; by default the one of the default route.",
    ),
    Option(
        "interface",
        values.optional(values.name, "all"),
        "an interface, or all",
        description="The network interface; by default the one of the default route.",
    ),
    Option(
        "lifetime",
        values.duration_between(LEAST_LIFETIME_SECONDS, LARGEST_LIFETIME_SECONDS, values.duration_in_seconds),
        "a duration of 2s to 7d; a bare number is seconds",
        default=DEFAULT_LIFETIME_SECONDS,
        description="How long a mapping lives on the gateway unless it is renewed.",
    ),
    Option(
        "renewal-lead",
        values.duration_between(0.0, LARGEST_LIFETIME_SECONDS, values.duration_in_seconds),
        "a duration of up to 7d; a bare number is seconds",
        description="How long before its end a mapping is renewed; by default at half of its lifetime.",
    ),
    Option(
        "strict",
        values.boolean,
        "yes or no",
        default=True,
        description="Whether a public port given as a number must be that very number.",
    ),
    Option(
        "timeout",
        values.duration_between(LEAST_TIMEOUT_SECONDS, LARGEST_TIMEOUT_SECONDS),
        "a duration of 250ms to 60s; a bare number is milliseconds",
        default=DEFAULT_TIMEOUT_SECONDS,
        description="How long one request to the gateway may stay unanswered.",
    ),
    Option(
        "poll-interval",
        values.duration_between(LEAST_POLL_SECONDS, LARGEST_POLL_SECONDS),
        "a duration of 1s to 1h; a bare number is milliseconds",
        default=DEFAULT_POLL_SECONDS,
        description="How often the gateway is asked whether it still knows the mappings.",
    ),
    Option(
        "state-file",
        values.optional(values.text, "none"),
        "a path, or none",
        description=(
            "Remembers the mappings made, so that those of a crash are removed at the next start; absent: "
            "one for each configuration file, where such files belong."
        ),
    ),
)
"""A bare lifetime is in seconds as it was in the reference, not milliseconds."""

NAT_SECTION = SectionSchema("nat", False, OPTIONS)
"""The C{[nat]} section."""
