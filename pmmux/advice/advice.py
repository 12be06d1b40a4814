"""What a piece of advice is, and what all that give it are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from pmmux.conditions import AllOf
from pmmux.config.settings import Settings
from pmmux.interfaces import IBackendProtocol
from pmmux.matching import compile_condition
from pmmux.model import BackendSpec, Location
from pmmux.registry import Registry

FIRST_AVAILABLE = "first-available"


@frozen
class Advice:
    """
    One thing that is allowed and yet hardly meant.

    @ivar topic: what kind of thing, for programs: C{"shadowed"}.
    @ivar message: what is so.
    @ivar why: what comes of it.
    @ivar instead: what to write.
    """

    location: Location
    topic: str
    message: str
    why: str
    instead: str


@frozen
class Rule:
    """A backend as the order of rules has it."""

    spec: BackendSpec
    condition: AllOf

    @property
    def name(self) -> str:
        """The backend's."""
        return self.spec.name

    @property
    def is_catch_all(self) -> bool:
        """Whether it takes everything."""
        return not self.condition.conditions


@frozen
class Subject:
    """A valid configuration under scrutiny."""

    settings: Settings
    registry: Registry

    def rules(self) -> Sequence[Rule]:
        """The backends whose conditions are written out, in order; extensions may have others."""
        return [Rule(spec, compile_condition(spec.options)) for spec in self.settings.backends]

    def transports(self, spec: BackendSpec) -> frozenset[str]:
        """The transports by which C{spec} can be given anything."""
        protocol = self.registry.get(IBackendProtocol, spec.protocol)
        return frozenset(protocol.transports) & self.listening()

    def listening(self) -> frozenset[str]:
        """The transports there are listeners for."""
        return frozenset(spec.transport for spec in self.settings.listeners)

    def option(self, name: str) -> Any:
        """An option of C{[pmmux]}; C{None} where there is no such option either."""
        return self.settings.globals.get(name)

    def goes_by_order(self) -> bool:
        """Whether the first backend that matches is taken."""
        return bool(self.option("routing-strategy") == FIRST_AVAILABLE)
