"""Which datagrams may begin a session at all, whatever they say."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Container
from typing import Any

from pmmux.datagrams.options import SessionLimits

LOWEST_UNPRIVILEGED_PORT = 1024
# A loop of two multiplexers begins sessions with the same octets, which nobody answers, from ever new
# ports of one host. So many are let through in each window before it is taken for one: few where we have
# an upstream at that host; more where that is this machine, whose programs may have a socket for each
# message; many where it is anybody else, who may be the one address of a large network.
LOOP_WINDOW_SECONDS = 10
ROUNDS_FROM_UPSTREAMS, ROUNDS_FROM_HERE, ROUNDS_FROM_OTHERS = 64, 512, 2048
# Beyond so many hosts in a second or window, nobody is counted: what is held stays small.
COUNTED_LIMIT = 16384
SITE_OCTETS = 8
_LOOPBACK = ("127.", "::1")

Beginning = tuple[str, int]
"""A host, and what stands for the octets that it began with."""


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

    def __init__(self, clock: Any, limits: SessionLimits, upstream_hosts: Container[str] = ()) -> None:
        """@param upstream_hosts: where sessions have upstreams at the moment."""
        self._clock = clock
        self._upstream_hosts = upstream_hosts
        self._per_address = limits.per_address
        self._per_second = limits.per_address_second
        self._open: Counter[Any] = Counter()
        self._second = 0
        self._begun: Counter[Any] = Counter()
        self._window = 0
        self._unanswered: Counter[Beginning] = Counter()

    def beginning(self, host: str, octets: bytes) -> Beginning:
        """What is counted until it is answered."""
        return host, hash(octets)

    def answered(self, beginning: Beginning) -> None:
        """The upstream answered a session with C{beginning}: that is no loop."""
        if self._unanswered.get(beginning):
            self._unanswered[beginning] -= 1

    def refusal(self, host: str, beginning: Beginning, local_host: str) -> str:
        """
        Count a session that wants to begin.

        @param local_host: the address that was written to.
        @return: why it may not, in words; empty where it may.
        """
        second = int(self._clock.seconds())
        if second != self._second:
            self._second = second
            self._begun.clear()
        if second // LOOP_WINDOW_SECONDS != self._window:
            self._window = second // LOOP_WINDOW_SECONDS
            self._unanswered.clear()
        if len(self._unanswered) < COUNTED_LIMIT or beginning in self._unanswered:
            self._unanswered[beginning] += 1
            if self._unanswered[beginning] > self._most_rounds(host, local_host):
                return "the same datagram again and again from new ports of one host, unanswered: a loop"
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

    def _most_rounds(self, host: str, local_host: str) -> int:
        if host == local_host or host.startswith(_LOOPBACK):
            return ROUNDS_FROM_HERE
        return ROUNDS_FROM_UPSTREAMS if host in self._upstream_hosts else ROUNDS_FROM_OTHERS

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
