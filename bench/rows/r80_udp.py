"""Datagrams: to and fro with a few in flight for each client, and one way as fast as the load can."""

from __future__ import annotations

from attrs import evolve, field, frozen

from bench.contenders import UDP, Routes
from bench.figures import Sample
from bench.load import LoadResult
from bench.row import Measure
from bench.stand import Running, Stand

CLIENTS = 16
IN_FLIGHT = 4
DATAGRAM_OCTETS = 200

DATAGRAMS = Measure("dgram/s", cpu_name="us/dgram")


def _share_lost(result: LoadResult) -> float:
    lost = float(result.extra["lost"])
    return lost / (lost + result.total) if lost else 0.0


@frozen
class DatagramRow:
    """
    A row of datagrams: what comes back or arrives is counted once, each of its octets compared.

    @ivar one_way: as many as the load can send, counted by the upstream; else to and fro.
    """

    name: str
    title: str
    one_way: bool
    routes: Routes = field(factory=lambda: Routes(names=1, transport=UDP))
    shown: Measure = DATAGRAMS
    baseline: str = ""
    is_fresh: bool = False
    once: bool = False

    def measure(self, stand: Stand, running: Running) -> Sample:
        """See L{bench.row.Row}."""
        seconds, results = stand.effort.seconds, list[LoadResult]()

        def keep(result: LoadResult) -> float:
            results.append(result)
            return result.rate

        mode, first, second = ("udp-echo", CLIENTS, IN_FLIGHT)
        if self.one_way:
            mode, first, second = ("udp-flood", stand.upstream_ports[0], CLIENTS)
        sample = stand.measure(running, mode, first, second, seconds, DATAGRAM_OCTETS, value=keep)
        if not results:
            return sample
        note = "datagrams repeated" if results[0].extra["unexpected"] and self.one_way else ""
        return evolve(sample, loss_share=_share_lost(results[0]), note=note)


ROWS = [
    DatagramRow("udp-echo", f"UDP echo, {CLIENTS} clients x {IN_FLIGHT} in flight", one_way=False),
    DatagramRow("udp-flood", f"UDP one way, {CLIENTS} clients, arrived", one_way=True),
]
