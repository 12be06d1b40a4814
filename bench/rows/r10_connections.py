"""Short connections: as many as go through, one after the other on each of a few lanes."""

from bench.row import LoadRow, Measure

CONCURRENCY = 32
"""Below the backlog of 50 that sslh listens with, so that nobody is measured by retransmitted SYNs."""

REPLY_OCTETS = 128

CONNECTIONS = Measure("conn/s", cpu_name="us/conn")

ROWS = [
    LoadRow(
        name="connections",
        title="connections per second",
        mode="connections",
        arguments=lambda effort: (CONCURRENCY, effort.seconds, REPLY_OCTETS),
        shown=CONNECTIONS,
    )
]
