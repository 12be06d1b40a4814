"""What deciding costs as backends grow in number: each has an exact server name, and all are asked for."""

from bench.contenders import Routes
from bench.row import LoadRow
from bench.rows.r10_connections import CONCURRENCY, CONNECTIONS, REPLY_OCTETS

FEWEST = 10


def _decision_row(backends: int) -> LoadRow:
    return LoadRow(
        name=f"decision-{backends}",
        title=f"connections per second, {backends:,} backends",
        mode="connections",
        arguments=lambda effort: (CONCURRENCY, effort.seconds, REPLY_OCTETS),
        shown=CONNECTIONS,
        routes=Routes(names=backends),
        baseline="" if backends == FEWEST else f"decision-{FEWEST}",
    )


ROWS = [_decision_row(backends) for backends in (FEWEST, 100, 1000, 10000)]
