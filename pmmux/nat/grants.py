"""What the leases on one gateway come to together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pmmux.nat.interfaces import INATClient
from pmmux.nat.lease import Lease
from pmmux.nat.mapping import Grant


def list_grants(leases: Iterable[Lease], driver: str) -> list[Grant]:
    """@return: what one driver has mapped of C{leases}."""
    return [lease.grant for lease in leases if lease.grant is not None and lease.grant.driver == driver]


def choose_clients_to_poll(answered: Sequence[INATClient], leases: Iterable[Lease]) -> list[INATClient]:
    """
    Those that have mappings, and those that are polled at little cost; where there are none, the preferred.

    @param answered: the preferred one first.
    """
    owners = {lease.grant.driver for lease in leases if lease.grant is not None}
    return [
        client
        for client in answered
        if client.name in owners or client.polls_cheaply or (not owners and client is answered[0])
    ]
