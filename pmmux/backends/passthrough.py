"""C{pass}: relays to an upstream, untouched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from pmmux.backends.announcing import (
    ANNOUNCING_OPTIONS,
    V1,
    AnnouncingSession,
    announcement_of,
    announcing_faults,
)
from pmmux.backends.backend import Backend
from pmmux.checks.target import target_under_check
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.connection import Connection
from pmmux.errors import Fault
from pmmux.interfaces import IBackendProtocol, IConnectionBackend, IDatagramBackend, IHealthCheckable
from pmmux.model import NO_PROPERTIES, Address, BackendSpec, Client, OptionKey, SectionValues
from pmmux.preview import PreviewTransport
from pmmux.tls.upstream import UpstreamContexts, UpstreamTLS
from pmmux.tls.upstream_options import UPSTREAM_TLS_OPTIONS, upstream_settings, upstream_tls_faults
from pmmux.transport.connecting import literal_address


@implementer(IConnectionBackend, IDatagramBackend, IHealthCheckable)
class PassBackend(Backend):
    """Relays to one target."""

    default_check = "connect"

    def __init__(
        self, spec: BackendSpec, condition: Any, services: Any, contexts: UpstreamContexts | None = None
    ) -> None:
        """
        @param services: L{pmmux.registry.Services}
        @param contexts: shared with other backends.
        """
        super().__init__(spec, condition)
        self._target = target_of(spec.options)
        self.target = str(self._target)
        self._connector = services.connector
        self._services = services
        self.announcement = announcement_of(spec.options)
        self._numbers = itertools.count(1)
        settings = upstream_settings(spec.options)
        self._upstream_tls = (
            None if settings is None else UpstreamTLS(settings, self._target, contexts or UpstreamContexts())
        )
        header = b"" if self.announcement is None else self.announcement.octets_for_check()
        self.health_target = target_under_check(self._target, header, settings)
        says_something_first = self.announcement is not None or self._upstream_tls is not None
        # Where the express lane may go: a plain address, with nothing to be said first.
        self.express_target = (
            None
            if self._target.unix_path is not None or says_something_first
            else literal_address(self._target.host, self._target.port)
        )
        self._timeout_seconds: float | None = spec.options.get("connect-timeout")

    async def connect(self, connection: Connection) -> PreviewTransport:
        """Connect to the target."""
        seconds = self._timeout_seconds or self._services.connect_seconds
        stream: PreviewTransport = await self._connector.connect(self._target, seconds)
        if self.announcement is not None:
            header = self.announcement.octets_for(
                connection.client, connection.properties, connection.identifier
            )
            stream.transport.write(header)
        if self._upstream_tls is not None:
            stream = await self._upstream_tls.secure(
                stream, connection.properties, self._services.reactor, seconds
            )
        return stream

    async def open_session(self, client: Client, peer: Any, address: Address | None = None) -> Any:
        """Open a socket towards the target, or towards C{address}."""
        datagrams = self._services.datagrams
        if address is not None:
            opened = datagrams.connect(address, peer)
        else:
            opened = await datagrams.connect_target(self._target, peer)
        announcement = self.announcement
        if announcement is None or announcement.version == V1:
            # Version 1 is for TCP only.
            return opened
        identifier = f"u{next(self._numbers)}"
        return AnnouncingSession(opened, announcement.octets_for(client, NO_PROPERTIES, identifier))


def target_of(options: SectionValues) -> values.Target:
    """The target in C{target}, or in the pair C{target.ip} and C{target.port}."""
    target: values.Target | None = options.get("target")
    if target is None:
        target = values.Target(str(options.get("target.ip")), options.get("target.port"), None)
    return target


@implementer(IBackendProtocol)
class PassProtocol:
    """See the module."""

    name = "pass"
    transports = ("tcp", "udp")
    default_check = PassBackend.default_check
    options = (
        Option(
            "target",
            values.target,
            "host:port, [v6]:port or unix:path",
            description="Where the traffic goes. Names are resolved again as they age.",
        ),
        Option("target.ip", values.address, "an IP address", description="With `target.port`: the same."),
        Option("target.port", values.port, "a port", description="With `target.ip`: the same."),
        Option(
            "connect-timeout",
            values.duration,
            "a duration",
            description="How long connecting may take; the global `connect-timeout` where absent.",
        ),
        *ANNOUNCING_OPTIONS,
        *UPSTREAM_TLS_OPTIONS,
    )

    def __init__(self) -> None:
        self._contexts = UpstreamContexts()

    def validate(self, spec: BackendSpec) -> Sequence[Fault]:
        """One target, stated one way."""
        options = spec.options
        pair = [name for name in ("target.ip", "target.port") if options.get(name) is not None]
        if options.get("target") is not None:
            if not pair:
                return self._other_faults(options)
            where = options.where(OptionKey(pair[0]))
            return (Fault(where, f"target says it already; {pair[0]} must not be there too"),)
        if len(pair) == len(("ip", "port")):
            return self._other_faults(options)
        missing = "target" if not pair else "target.port" if pair == ["target.ip"] else "target.ip"
        return (Fault(options.location, f"{missing} is missing", "host:port, [v6]:port or unix:path"),)

    def _other_faults(self, options: SectionValues) -> Sequence[Fault]:
        return (*announcing_faults(options), *upstream_tls_faults(options, target_of(options)))

    def create(self, spec: BackendSpec, condition: Any, services: Any) -> PassBackend:
        """Make one."""
        return PassBackend(spec, condition, services, self._contexts)


protocol = PassProtocol()
