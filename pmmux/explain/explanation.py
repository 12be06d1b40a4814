"""What an explanation says, as a value and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from pmmux.explain.judgement import Judgement

NO_LISTENER = "no-listener"
# The capture lacks octets of the client's on which the decision depended.
INCOMPLETE = "incomplete-capture"


@frozen
class Explanation:
    """
    Where one flow goes, and why.

    @ivar number: of the flow, from 1.
    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar client: address and port, as text.
    @ivar server: what the client wrote to.
    @ivar listener: the listener it is taken to have come in by; C{None} where there is none.
    @ivar detected: the protocol found by all probes in their order, whatever the rules ask for.
    @ivar properties: what negotiators and all probes found.
    @ivar backend: C{None} where there is none for it.
    @ivar outcome: C{"routed"}, a slug of L{pmmux.errors}, L{NO_LISTENER} or L{INCOMPLETE}.
    @ivar detail: the outcome in words.
    @ivar octets_needed: how many octets in all were needed to decide; where they did not come, how
        many were wanted.
    @ivar decided_by: C{"octets"}; C{"detect-timeout"} where what had arrived by then decided;
        C{"end"} where the end of the client's data did; C{"limit"} for that of the preview.
    @ivar waited_seconds: how long the client was kept waiting for the decision.
    @ivar missing_octets: how many of the client's octets the capture is known to lack.
    @ivar candidates: the backends that were looked at, in the order of the configuration.
    """

    number: int
    transport: str
    client: str
    server: str
    listener: str | None
    detected: str | None
    properties: Mapping[str, str]
    backend: str | None
    outcome: str
    detail: str
    octets_needed: int
    decided_by: str
    waited_seconds: float
    missing_octets: int
    candidates: tuple[Judgement, ...] = field(factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """As C{pmmuxctl explain --json} writes it."""
        return {
            "flow": self.number,
            "proto": self.transport,
            "client": self.client,
            "server": self.server,
            "listener": self.listener,
            "detected": self.detected,
            "properties": dict(sorted(self.properties.items())),
            "backend": self.backend,
            "outcome": self.outcome,
            "detail": self.detail,
            "octets_needed": self.octets_needed,
            "decided_by": self.decided_by,
            "waited_seconds": round(self.waited_seconds, 6),
            "missing_octets": self.missing_octets,
            "candidates": [
                {
                    "backend": each.backend,
                    "verdict": each.verdict,
                    "reason": each.reason,
                    "octets_seen": each.octets_seen,
                    "octets_needed": each.octets_needed,
                }
                for each in self.candidates
            ],
        }
