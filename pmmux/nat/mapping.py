"""
The values that drivers and leases exchange, and the ways in which a gateway says no.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from pmmux.errors import PmmuxError

MAPPING_DESCRIPTION = "pmmux"
"""What stands beside our mappings in the gateway's own table. Some devices refuse long ones."""

PERMANENT = 0
"""The lifetime of a mapping that the gateway never lets go by itself."""


class Reason(enum.Enum):
    """Why a port is not mapped, or not reachable although it is; the slug in metrics and reports."""

    NO_GATEWAY = "no-gateway"
    NO_ANSWER = "no-answer"
    NOT_AUTHORIZED = "not-authorized"
    NO_EXTERNAL_ADDRESS = "no-external-address"
    NO_RESOURCES = "no-resources"
    PORT_TAKEN = "port-taken"
    PORT_DENIED = "port-denied"
    OTHER_PORT = "other-port"
    LOCAL_PORT_TAKEN = "local-port-taken"
    ADDRESS_MISMATCH = "address-mismatch"
    SECURE_MODE = "secure-mode"
    UNSUPPORTED = "unsupported"
    BROKEN_DEVICE = "broken-device"
    PACKAGE_MISSING = "package-missing"
    PERMANENT_ONLY = "permanent-only"
    DOUBLE_NAT = "double-nat"
    CARRIER_NAT = "cgnat"
    PUBLIC_ADDRESS = "public-address"
    WRONG_INTERFACE = "wrong-interface"
    IPV6_INSTEAD = "ipv6-instead"


@frozen(slots=True)
class Finding:
    """One thing found out, in a slug and in words."""

    reason: Reason
    text: str

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=True, slots=False)
class NATUnreachable(PmmuxError):
    """The gateway, or the way to it, is silent."""

    text: str
    outcome = Reason.NO_ANSWER.value

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=True, slots=False)
class NATRefused(PmmuxError):
    """
    The gateway answered, and not with yes.

    @ivar retry_seconds: how long the refusal will last, as the gateway says; 0 where it does not.
    """

    finding: Finding
    retry_seconds: float = 0.0
    outcome = "refused"

    def __str__(self) -> str:
        return self.finding.text


@frozen(auto_exc=True, slots=False)
class NATUnavailable(PmmuxError):
    """A driver cannot work on this machine."""

    finding: Finding
    outcome = "unavailable"

    def __str__(self) -> str:
        return self.finding.text


@frozen(slots=True)
class Link:
    """
    The way to a gateway.

    @ivar gateway: its address; a link-local IPv6 one with its scope, C{fe80::1%eth0}.
    @ivar address: our own address on that way.
    @ivar interface: the network interface's name.
    """

    gateway: str
    address: str
    interface: str


@frozen(slots=True)
class MappingRequest:
    """
    What is asked of a gateway.

    @ivar external_port: 0 for any.
    @ivar fixed: whether another external port would be of no use.
    @ivar lifetime_seconds: at least 1.
    """

    transport: str
    internal_port: int
    external_port: int
    lifetime_seconds: int
    fixed: bool = False

    def foresee(self, driver: str) -> Grant:
        """The mapping as it will be where C{driver} gets what is asked for."""
        return Grant(driver, self.transport, self.internal_port, self.external_port, self.lifetime_seconds)


@frozen(slots=True)
class Grant:
    """
    A mapping that a gateway made.

    @ivar driver: the name of the driver that made it, which alone can renew and delete it.
    @ivar external_address: empty where the protocol does not tell.
    @ivar lifetime_seconds: L{PERMANENT} for one without an end.
    """

    driver: str
    transport: str
    internal_port: int
    external_port: int
    lifetime_seconds: int
    external_address: str = ""


@frozen(slots=True)
class GatewayFacts:
    """
    What a probe or a poll found.

    @ivar external_address: empty where the protocol does not tell, or there is none.
    @ivar detail: the device or protocol version in words.
    @ivar lost: whether the gateway no longer has the mappings.
    @ivar is_offline: whether the gateway said that it has no external address.
    """

    external_address: str = ""
    detail: str = ""
    lost: bool = False
    is_offline: bool = False


@frozen
class DriverContext:
    """
    What a driver is given with a gateway.

    @ivar reactor: for sockets and timers.
    @ivar timeout_seconds: how long one request may stay unanswered.
    @ivar nonce: 12 octets that our mappings are known by, kept over restarts.
    @ivar lost: to be called when an answer shows that the gateway lost its mappings.
    @ivar chance: where jitter comes from.
    """

    reactor: Any
    link: Link
    timeout_seconds: float
    nonce: bytes
    lost: Callable[[], None]
    chance: random.Random = field(factory=random.Random)


NO_EXTERNAL_ADDRESS = Finding(
    Reason.NO_EXTERNAL_ADDRESS,
    "the gateway has no public address itself: it is offline, or behind another NAT (double NAT or CGNAT)",
)
"""miniupnpd says so, by each protocol in its own way, where its outer address is a private one."""


def refuse(reason: Reason, text: str, retry_seconds: float = 0.0) -> NATRefused:
    """A L{NATRefused} of one finding."""
    return NATRefused(Finding(reason, text), retry_seconds)
