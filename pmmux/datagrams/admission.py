"""Which datagrams may begin a session at all, whatever they say."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from pmmux.datagrams.options import SessionLimits

LOWEST_UNPRIVILEGED_PORT = 1024
# So many sessions a second may begin with the same octets from the same host. A loop of two
# multiplexers makes thousands; clients that all ask the same question from one host, dozens.
SAME_BEGINNINGS_LIMIT = 64
# Beyond so many hosts a second, nobody is counted: what is held stays small.
COUNTED_LIMIT = 16384
SITE_OCTETS = 8


def can_be_answered(host: str, port: int) -> bool:
    """
    Whether C{host} and C{port} can be those of one client: not multicast, not the limited broadcast,
    not unspecified, and not port 0, to which nothing can be sent.
    """
    if port == 0:
        return False
    if ":" in host:
        return not host.startswith(("ff", "FF")) and host != "::"
    network = int(host[: host.index(".")])
    return 0 < network < MULTICAST_V4_FIRST


MULTICAST_V4_FIRST = 224


def site_of(host: str) -> Any:
    """What limits per address count: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in host:
        return host
    return ipaddress.IPv6Address(host.partition("%")[0]).packed[:SITE_OCTETS]


class Admission:
    """
    The limits on new sessions of one listener.
    """

    def __init__(self, clock: Any, limits: SessionLimits) -> None:
        self._clock = clock
        self._per_address = limits.per_address
        self._per_second = limits.per_address_second
        self._open: Counter[Any] = Counter()
        self._second = 0
        self._begun: Counter[Any] = Counter()
        self._beginnings: Counter[Any] = Counter()

    def refusal(self, host: str, octets: bytes) -> str:
        """
        Count a session that wants to begin.

        @return: why it may not, in words; empty where it may.
        """
        second = int(self._clock.seconds())
        if second != self._second:
            self._second = second
            self._begun.clear()
            self._beginnings.clear()
        if len(self._beginnings) < COUNTED_LIMIT:
            beginning = (host, hash(octets))
            self._beginnings[beginning] += 1
            if self._beginnings[beginning] > SAME_BEGINNINGS_LIMIT:
                return "the same datagram again and again from new ports of one host: a loop"
        if not self._per_address and not self._per_second:
            return ""
        site = site_of(host)
        if self._per_address and self._open[site] >= self._per_address:
            return "too many sessions of one address"
        if self._per_second and (site in self._begun or len(self._begun) < COUNTED_LIMIT):
            self._begun[site] += 1
            if self._begun[site] > self._per_second:
                return "too many new sessions of one address"
        return ""

    def opened(self, host: str) -> None:
        """A session of C{host} is open."""
        if self._per_address:
            self._open[site_of(host)] += 1

    def closed(self, host: str) -> None:
        """What L{opened} counted has ended."""
        if self._per_address:
            site = site_of(host)
            self._open[site] -= 1
            if not self._open[site]:
                del self._open[site]
