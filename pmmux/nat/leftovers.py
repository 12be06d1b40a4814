"""
Deleting mappings that nobody wants any more: a crashed process's, and those at a gateway we leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from pmmux.nat.interfaces import INATClient
from pmmux.nat.mapping import Link, NATRefused, NATUnreachable
from pmmux.nat.state import Journal, MappingRecord

_log = Logger()


async def delete_leftovers(
    journal: Journal,
    link: Link,
    clients: Iterable[INATClient],
    is_wanted: Callable[[MappingRecord], bool],
) -> int:
    """
    Delete the mappings of the journal that were made over C{link} and are not wanted.

    Those whose driver is not among C{clients} are left for another time.

    @return: how many were deleted.
    """
    by_name = {client.name: client for client in clients}
    deleted = 0
    for record in journal.records():
        client = by_name.get(record.driver)
        if client is None or (record.gateway, record.address) != (link.gateway, link.address):
            continue
        if is_wanted(record):
            continue
        try:
            await client.unmap(record.to_grant())
        except NATUnreachable:
            break
        except NATRefused as refusal:
            _log.info(
                "NAT: an earlier mapping of port {port} is left behind: {reason}",
                port=record.external_port,
                reason=str(refusal),
            )
        else:
            deleted += 1
        journal.forget(record)
    return deleted
