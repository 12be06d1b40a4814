"""C{noop}: accepts everything and throws it away; a black hole for what nobody else takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Protocol
from zope.interface import implementer

from pmmux.backends.backend import Backend
from pmmux.config.options import Option
from pmmux.connection import Connection
from pmmux.errors import Fault
from pmmux.interfaces import IBackendProtocol, IDatagramBackend, IDatagramSession, IProtocolBackend
from pmmux.model import Address, BackendSpec, Client, PriorityTier


class _Discard(Protocol):
    """Reads and forgets; closes when the client does."""


@implementer(IDatagramSession)
class _DiscardDatagrams:
    """Takes and forgets."""

    address = None

    def send(self, octets: Any) -> None:
        """Forget it."""

    def close(self) -> None:
        """There is nothing to release."""


_DISCARD_DATAGRAMS = _DiscardDatagrams()


@implementer(IProtocolBackend, IDatagramBackend)
class NoopBackend(Backend):
    """Discards."""

    default_tier = PriorityTier.FALLBACK

    def build_protocol(self, connection: Connection) -> Protocol:
        """A protocol that answers nothing."""
        return _Discard()

    async def open_session(self, client: Client, peer: Any, address: Address | None = None) -> Any:
        """A session that answers nothing."""
        return _DISCARD_DATAGRAMS


@implementer(IBackendProtocol)
class NoopProtocol:
    """See the module."""

    name = "noop"
    transports = ("tcp", "udp")
    options: tuple[Option, ...] = ()

    def validate(self, spec: BackendSpec) -> Sequence[Fault]:
        """Nothing can be wrong."""
        return ()

    def create(self, spec: BackendSpec, condition: Any, services: Any) -> NoopBackend:
        """Make one."""
        return NoopBackend(spec, condition)


protocol = NoopProtocol()
