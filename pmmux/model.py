"""
The values that every floor speaks: verdicts, clients, backends, statuses and the route trace.

Nothing here does I/O, and nothing here imports Twisted.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen

NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})


class PriorityTier(enum.IntEnum):
    """How preferred a backend is; a smaller number is preferred."""

    VIP = 0
    NORMAL = 1
    STANDBY = 2
    FALLBACK = 3


class Status(enum.Enum):
    """What is known of a backend's health and life."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"
    STABILIZING = "stabilizing"
    DRAINING = "draining"
    STOPPED = "stopped"

    @property
    def is_offered(self) -> bool:
        """Whether a backend in this status may be given new traffic."""
        return self not in _NOT_OFFERED


_NOT_OFFERED = frozenset({Status.UNHEALTHY, Status.DRAINING, Status.STOPPED})


class Properties(Mapping[str, str]):
    """
    Connection properties: what negotiators set, over layers of what was found.

    Layers are looked up when asked and not copied: most of what a probe finds nobody asks for.
    """

    __slots__ = ("_layers", "_own")

    def __init__(self, own: Mapping[str, str] = NO_PROPERTIES) -> None:
        self._own: dict[str, str] = {} if own is NO_PROPERTIES else dict(own)
        self._layers: list[Mapping[str, str]] = []

    def join(self, layer: Mapping[str, str]) -> None:
        """Add C{layer} beneath what there is."""
        self._layers.append(layer)

    def __setitem__(self, name: str, value: str) -> None:
        self._own[name] = value

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The property C{name}, or C{default}."""
        value = self._own.get(name)
        if value is None:
            for layer in self._layers:
                value = layer.get(name)
                if value is not None:
                    return value
            return default
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._own, *(name for layer in self._layers for name in layer))))

    def __len__(self) -> int:
        return sum(1 for _ in self)


# Not frozen: made for each chunk of each connection, and that would cost three times as much.
@define(slots=True)
class Verdict:
    """
    What a probe or a condition says of the octets seen so far.

    @ivar matched: C{True}, C{False}, or C{None} while more octets would be needed to tell.
    @ivar octets_needed: how many octets in all would change the answer; 0 where none would. A match
        with C{octets_needed} above 0 means that the protocol is certain and that more octets would
        tell more properties.
    @ivar properties: what was found, as connection properties. Also allowed on a refusal
        (C{tls = false}).
    @ivar fault: on a refusal, why the octets are a broken instance of this very protocol, so that
        the connection is to be closed rather than offered to another rule; while undecided, the
        fault that it becomes if nothing more arrives.
    """

    matched: bool | None
    octets_needed: int = 0
    properties: Mapping[str, str] = NO_PROPERTIES
    fault: str | None = None


MATCH = Verdict(True)
NO_MATCH = Verdict(False)


def match(properties: Mapping[str, str], octets_needed: int = 0) -> Verdict:
    """A match that found C{properties}; C{octets_needed} in all would tell more of them."""
    return Verdict(True, octets_needed, properties)


def need(octets: int, fault: str | None = None) -> Verdict:
    """Undecided until C{octets} in all have arrived."""
    return Verdict(None, octets, NO_PROPERTIES, fault)


def malformed(fault: str) -> Verdict:
    """Certainly this protocol, and broken: C{fault} says how, in words without client text."""
    return Verdict(False, 0, NO_PROPERTIES, fault)


@frozen(slots=True)
class Address:
    """
    One end of a connection or datagram.

    @ivar host: an IP address in text (IPv4-mapped IPv6 addresses written as IPv4), or a path for
        a unix socket.
    @ivar port: 0 to 65535; 0 for a unix socket.
    @ivar family: C{"ipv4"}, C{"ipv6"} or C{"unix"}.
    """

    host: str
    port: int
    family: str = "ipv4"

    def __str__(self) -> str:
        if self.family == "unix":
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if self.family == "ipv6" else f"{self.host}:{self.port}"


@define(slots=True, unsafe_hash=True, weakref_slot=False)
class Client:
    """
    Who is connected to what.

    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar remote: the client's address; a PROXY header may have announced it.
    @ivar local: the address that the client wrote to.
    """

    transport: str
    remote: Address
    local: Address

    @property
    def remote_text(self) -> str:
        """C{str(self.remote)}."""
        return str(self.remote)


@define(slots=True, unsafe_hash=True, weakref_slot=False)
class AnnouncedClient(Client):
    """
    One whom a PROXY header has announced.

    @ivar peer: who is really connected, and has told so.
    """

    peer: Address


@frozen(slots=True)
class Location:
    """
    Where a piece of configuration was written.

    @ivar source: a file's path, C{"command line"} or C{"environment"}.
    @ivar line: the line in the file, from 1; C{None} where there are no lines.
    @ivar section: such as C{backend web}; empty where there is none.
    @ivar option: the option as written; empty for a whole section.
    """

    source: str
    line: int | None = None
    section: str = ""
    option: str = ""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        section = f" [{self.section}]" if self.section else ""
        return f"{place}{section}{' ' + self.option if self.option else ''}"


@frozen(slots=True)
class OptionKey:
    """
    An option's name taken apart: C{property[tls.sni]!} is C{("property", "tls.sni", True)}.
    """

    name: str
    key: str | None = None
    negated: bool = False

    def __str__(self) -> str:
        inner = "" if self.key is None else f"[{self.key}]"
        return f"{self.name}{inner}{'!' if self.negated else ''}"


@frozen(slots=True)
class SectionValues:
    """
    One section of the configuration, each option parsed once into its type.

    @ivar kind: C{listener}, C{backend}, C{health-check} …
    @ivar name: the section's own name; empty where the kind has one section only.
    @ivar values: what was written, in the order it was written. Absent options are absent here.
    @ivar defaults: the value of each option of the schema that has a default.
    @ivar raw: the options as text, as written; what a change is recognised by at a reload.
    """

    kind: str
    name: str
    values: Mapping[OptionKey, Any] = field(factory=dict, eq=False, repr=False)
    defaults: Mapping[str, Any] = field(factory=dict, eq=False, repr=False)
    raw: Mapping[str, str] = field(factory=dict, repr=False)
    location: Location = field(default=Location("code"), eq=False)
    locations: Mapping[OptionKey, Location] = field(factory=dict, eq=False, repr=False)

    def get(self, name: str) -> Any:
        """The plain option C{name}: as written, else its default, else C{None}."""
        value = self.values.get(OptionKey(name), _ABSENT)
        return self.defaults.get(name) if value is _ABSENT else value

    def keyed(self, name: str) -> Iterator[tuple[OptionKey, Any]]:
        """Every written form of C{name}: plain, with a key, negated; in written order."""
        return ((key, value) for key, value in self.values.items() if key.name == name)

    def where(self, key: OptionKey) -> Location:
        """Where C{key} was written; the section's place where it was not."""
        return self.locations.get(key, self.location)


_ABSENT = object()


@frozen(slots=True)
class BackendSpec:
    """
    A backend as configured.

    @ivar name: unique among the backends.
    @ivar protocol: the name of the L{pmmux.interfaces.IBackendProtocol} that makes it.
    @ivar options: its options, already checked against that protocol's schema.
    """

    name: str
    protocol: str
    options: SectionValues


@frozen(slots=True)
class BackendInfo:
    """What strategies and reports may know of a backend at one moment."""

    name: str
    protocol: str
    tier: PriorityTier
    status: Status
    weight: float
    routed: int
    active: int


@define(slots=True)
class Step:
    """
    What one candidate came to.

    @ivar verdict: C{"match"}, C{"no match"}, C{"unavailable"} (its status), or C{"undecided"}.
    @ivar reason: which condition decided, or the status, in words.
    @ivar octets_seen: how much of the preview there was when this was decided.
    @ivar octets_needed: how many octets in all it asked for last; 0 for none.
    """

    backend: str
    verdict: str
    reason: str = ""
    octets_seen: int = 0
    octets_needed: int = 0


@define(slots=True)
class Attempt:
    """
    One try to reach an upstream.

    @ivar error: empty where it was reached, else why not.
    """

    backend: str
    target: str
    seconds: float = 0.0
    error: str = ""


@define(slots=True)
class RouteTrace:
    """
    The route as it was decided; the decision is made from it, so it is what happened.

    @ivar negotiators: each negotiator that acted, with what it did.
    @ivar chosen: the backend the strategy chose; empty where there was none.
    @ivar outcome: the slug of L{pmmux.errors} or C{"routed"}; empty while undecided.
    @ivar detail: the outcome in words, client text escaped.
    """

    steps: list[Step] = field(factory=list)
    attempts: list[Attempt] = field(factory=list)
    negotiators: list[tuple[str, str]] = field(factory=list)
    strategy: str = ""
    chosen: str = ""
    outcome: str = ""
    detail: str = ""
    octets_needed: int = 0
    selection_seconds: float = 0.0
