"""
Deleting mappings that nobody wants any more: a crashed process's, and those at a gateway we leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pmmux.nat.interfaces import INATClient
from pmmux.nat.lease import Dealings
from pmmux.nat.mapping import Link, NATRefused, NATUnreachable
from pmmux.nat.state import MappingRecord

_log = Logger()


def wait_for_all(reactor: Any, deferreds: Sequence[Deferred[Any]], timeout_seconds: float) -> Deferred[Any]:
    """@return: fires when all have, those cancelled that have not within C{timeout_seconds}."""

    def cancel_all() -> None:
        for deferred in deferreds:
            deferred.cancel()

    def end(result: Any) -> Any:
        if expiry.active():
            expiry.cancel()
        return result

    expiry = reactor.callLater(timeout_seconds, cancel_all)
    return DeferredList(deferreds, consumeErrors=True).addBoth(end)


async def delete_all(
    dealings: Dealings, link: Link, clients: Iterable[INATClient], timeout_seconds: float
) -> None:
    """Delete every mapping of the journal that was made over C{link}, as far as there is time."""
    deletions = [
        Deferred.fromCoroutine(delete_leftovers(dealings, link, (client,), lambda _: False))
        for client in clients
    ]
    await wait_for_all(dealings.reactor, deletions, timeout_seconds)


async def delete_leftovers(
    dealings: Dealings,
    link: Link,
    clients: Iterable[INATClient],
    is_wanted: Callable[[MappingRecord], bool],
) -> None:
    """
    Delete the mappings of the journal that were made over C{link} and are not wanted.

    Those whose driver is not among C{clients} are left for another time.
    """
    by_name = {client.name: client for client in clients}
    journal = dealings.journal
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
            dealings.reporter.count("portmap.deleted", protocol=client.name)
        journal.forget(record)
