"""What pmmux calls when C{extensions = greeter} is configured."""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import implementer

from pmmux.interfaces import IExtension
from pmmux.registry import Registry
from pmmux_greeter.backend import GreeterProtocol
from pmmux_greeter.probe import probe
from pmmux_greeter.strategy import LastAvailable


@implementer(IPlugin, IExtension)
class GreeterExtension:
    """Registers a probe, a backend protocol and a strategy."""

    name = "greeter"

    def register(self, registry: Registry) -> None:
        """See L{IExtension}."""
        registry.add_probe(probe)
        registry.add_backend_protocol(GreeterProtocol())
        registry.add_strategy(LastAvailable())
