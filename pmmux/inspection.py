"""
Judging one connection or datagram by its content: probes asked once per new chunk, their findings
joined to the connection properties.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Protocol

from pmmux.model import NO_MATCH, NO_PROPERTIES, Client, Properties, Verdict

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PROTOCOL_PROPERTY = "protocol"


class Octets(Protocol):
    """What an inspection looks at: a L{pmmux.preview.Preview}, or datagrams."""

    @property
    def octets(self) -> bytes:
        """Everything to be judged so far."""

    @property
    def size(self) -> int:
        """The number of octets so far."""

    @property
    def final(self) -> bool:
        """Whether no more will come."""


class ProbeCatalogue:
    """The probes of one transport, by name and by what they provide."""

    def __init__(self, probes: Iterable[Any]) -> None:
        """@param probes: L{pmmux.interfaces.IProbe} providers, in the order of preference."""
        self.probes: dict[str, Any] = {probe.name: probe for probe in probes}
        self._providers: dict[str, tuple[str, ...]] = {PROTOCOL_PROPERTY: tuple(self.probes)}

    def providers_of(self, name: str) -> tuple[str, ...]:
        """The names of the probes that may find the property C{name}."""
        found = self._providers.get(name)
        if found is None:
            found = tuple(
                probe.name
                for probe in self.probes.values()
                if any(name == p or (p.endswith(".") and name.startswith(p)) for p in probe.provides)
            )
            self._providers[name] = found
        return found


class Inspection:
    """
    One connection or datagram under inspection.

    @ivar properties: grows by what the probes find.
    @ivar fault: why what arrived is a broken instance of a protocol that was asked for; C{None} where
        it is not.
    """

    __slots__ = (
        "_catalogue",
        "_local_ip",
        "_remote_ip",
        "_verdicts",
        "client",
        "fault",
        "preview",
        "properties",
    )

    def __init__(
        self, client: Client, properties: Properties, preview: Octets, catalogue: ProbeCatalogue
    ) -> None:
        self.client = client
        self.properties = properties
        self.preview = preview
        self.fault: str | None = None
        self._catalogue = catalogue
        self._verdicts: dict[str, Verdict] = {}
        self._remote_ip: IPAddress | None = None
        self._local_ip: IPAddress | None = None

    def adopt(self, name: str, verdict: Verdict) -> None:
        """Take what the probe C{name} has said elsewhere; it is decided, and not a fault."""
        self.properties.join(verdict.properties)
        self._verdicts[name] = verdict

    def verdict(self, name: str) -> Verdict:
        """What the probe C{name} says of the octets so far."""
        preview = self.preview
        verdict = self._verdicts.get(name)
        if verdict is not None and (
            verdict.octets_needed == 0 or (preview.size < verdict.octets_needed and not preview.final)
        ):
            return verdict
        probe = self._catalogue.probes.get(name)
        # One of another transport recognises nothing here: detect = quic on a TCP connection.
        verdict = NO_MATCH if probe is None else probe.inspect(preview.octets)
        if preview.final and verdict.octets_needed:
            verdict = (
                Verdict(True, 0, verdict.properties)
                if verdict.matched
                else Verdict(False, 0, fault=verdict.fault)
            )
        if verdict.fault is not None and verdict.matched is False:
            self.fault = f"{name}: {verdict.fault}"
            verdict = Verdict(False, 0, verdict.properties, self.fault)
        # Asking a lazy mapping whether it is empty would make it look for everything.
        if verdict.properties is not NO_PROPERTIES:
            self.properties.join(verdict.properties)
        self._verdicts[name] = verdict
        return verdict

    def value(self, name: str) -> str | Verdict | None:
        """
        The property C{name}: its value, C{None} where there is none and will be none, an undecided
        L{Verdict} while octets that may come could tell, or one with a fault where what was to tell is
        a broken instance of its protocol.
        """
        value: str | None = self.properties.get(name)
        if value is not None:
            return value
        if name == PROTOCOL_PROPERTY:
            return self._protocol()
        undecided: Verdict | None = None
        faulty: Verdict | None = None
        for probe in self._catalogue.providers_of(name):
            verdict = self.verdict(probe)
            if verdict.octets_needed and (
                undecided is None or verdict.octets_needed < undecided.octets_needed
            ):
                undecided = verdict
            elif verdict.fault is not None:
                faulty = verdict
        value = self.properties.get(name)
        return undecided or faulty if value is None else value

    def detected(self) -> str | None:
        """The protocol found by the probes asked so far; C{None} where none matched."""
        if not self._verdicts:
            return None
        name: str
        for name in self._catalogue.probes:
            verdict = self._verdicts.get(name)
            if verdict is not None and verdict.matched:
                return name
        return None

    def _protocol(self) -> str | Verdict | None:
        # The first in the catalogue's order that matches; one that is undecided is waited for, so
        # that the answer does not depend on how the octets were cut.
        name: str
        for name in self._catalogue.probes:
            verdict = self.verdict(name)
            if verdict.matched:
                return name
            if verdict.matched is None or verdict.fault is not None:
                return verdict
        return None

    @property
    def remote_ip(self) -> IPAddress | None:
        """The client's address; C{None} on a unix socket."""
        if self._remote_ip is None and self.client.remote.family != "unix":
            self._remote_ip = ipaddress.ip_address(self.client.remote.host)
        return self._remote_ip

    @property
    def local_ip(self) -> IPAddress | None:
        """The address the client wrote to; C{None} on a unix socket."""
        if self._local_ip is None and self.client.local.family != "unix":
            self._local_ip = ipaddress.ip_address(self.client.local.host)
        return self._local_ip
