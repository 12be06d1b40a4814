"""A backend protocol that answers clients itself, with a Twisted Protocol and an option of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Protocol
from zope.interface import implementer

from pmmux.backends.backend import Backend
from pmmux.config.options import Option
from pmmux.connection import Connection
from pmmux.errors import Fault
from pmmux.interfaces import IBackendProtocol, IProtocolBackend
from pmmux.model import BackendSpec


class Greeting(Protocol):
    """Greets by name, and closes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def connectionMade(self) -> None:
        """The client is there: what it said before follows by dataReceived."""
        self.transport.write(self.text.encode("utf-8"))
        self.transport.loseConnection()


@implementer(IProtocolBackend)
class GreeterBackend(Backend):
    """Answers with the configured greeting and what the probe found."""

    def build_protocol(self, connection: Connection) -> Greeting:
        """One for each connection."""
        name = connection.properties.get("hello.name", "stranger")
        return Greeting(f"{self.spec.options.get('greeting')}, {name}!\n")


@implementer(IBackendProtocol)
class GreeterProtocol:
    """C{protocol = greeter}."""

    name = "greeter"
    transports = ("tcp",)
    options = (Option("greeting", str, "text", default="Hello", description="What to say first."),)

    def validate(self, spec: BackendSpec) -> Sequence[Fault]:
        """Nothing more to check."""
        return ()

    def create(self, spec: BackendSpec, condition: Any, services: Any) -> GreeterBackend:
        """Make one."""
        return GreeterBackend(spec, condition)
