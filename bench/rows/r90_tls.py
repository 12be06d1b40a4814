"""
TLS 1.3 terminated, the server name deciding: handshakes, each with a short exchange, and bulk.

Everybody has the same certificate (ECDSA, P-256) and cipher suite (AES-128-GCM), and the load generator
offers one group (X25519).
"""

from bench.contenders import TLS, Routes
from bench.row import LoadRow, Measure

CONCURRENCY = 32
REPLY_OCTETS = 128
BULK_FLOWS = 4
BULK_SHARE = 0.5
"""Of what plain flows move in a run: load and upstream encrypt and compare what the proxy only encrypts."""

HANDSHAKES = Measure("conn/s", cpu_name="us/conn")
TERMINATED = Routes(transport=TLS)


def _handshake_row(name: str, resumes: bool) -> LoadRow:
    return LoadRow(
        name=f"tls-{name}",
        title=f"TLS 1.3, {name} handshakes per second",
        mode="tls-connections",
        arguments=lambda effort: (int(resumes), CONCURRENCY, effort.seconds, REPLY_OCTETS),
        shown=HANDSHAKES,
        routes=TERMINATED,
    )


def _bulk_row(direction: str) -> LoadRow:
    return LoadRow(
        name=f"tls-{direction}",
        title=f"TLS 1.3, bulk {direction}, {BULK_FLOWS} flows",
        mode=f"tls-{direction}",
        arguments=lambda effort: (int(effort.bulk_octets * BULK_SHARE), BULK_FLOWS),
        shown=Measure("GB/s", scale=1e-9, cpu_name="s/GB", cpu_scale=1e9),
        routes=TERMINATED,
    )


ROWS = [
    _handshake_row("full", False),
    _handshake_row("resumed", True),
    *(_bulk_row(direction) for direction in ("down", "up")),
]
