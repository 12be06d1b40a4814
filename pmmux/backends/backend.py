"""What all built-in backends share."""

from __future__ import annotations

from typing import Any

from pmmux.model import BackendSpec, PriorityTier


class Backend:
    """
    Name, tier, weight and condition as the specification states them.

    @cvar default_tier: where the specification states none.
    """

    default_tier = PriorityTier.NORMAL

    def __init__(self, spec: BackendSpec, condition: Any) -> None:
        """@param condition: L{pmmux.interfaces.ICondition}"""
        tier = spec.options.get("priority")
        self.spec = spec
        self.name = spec.name
        self.condition = condition
        self.tier: PriorityTier = self.default_tier if tier is None else tier
        self.weight: int = spec.options.get("weight") or 1

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to release."""
