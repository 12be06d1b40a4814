"""
What has to be true of a connection for a backend to take it; each condition compiled once.

Conditions on addresses and ports are known at once; those on content ask the inspection, and stay
undecided while octets that may come could change the answer. Where what they ask of is a broken
instance of its protocol, their refusal carries the fault, negated or not: nothing else of the
connection being against it, a rule that stumbles on the fault has it closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable
from typing import Any

from attrs import frozen
from zope.interface import implementer

from pmmux.config.patterns import Pattern
from pmmux.inspection import PROTOCOL_PROPERTY, Inspection, IPAddress
from pmmux.interfaces import ICondition
from pmmux.model import MATCH, NO_MATCH, Verdict, need

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HEX_PREFIX = "hex:"
SNI_PROPERTY = "tls.sni"
ALPN_PROPERTY = "tls.alpn"
HOST_PROPERTY = "http.host"
# Only probes find these.
_PROBED_PREFIXES = ("tls.", "http.", "ssh.")
# These hold names, which compare without regard to case.
NAME_PROPERTIES = frozenset({SNI_PROPERTY, HOST_PROPERTY})


@frozen(slots=True)
class Names:
    """
    Exact names and wildcards that a property is compared with.

    @ivar wildcards: the parts after C{*.}; each covers exactly one more label.
    """

    exact: frozenset[str]
    wildcards: frozenset[str] = frozenset()

    def contain(self, name: str) -> bool:
        """Whether C{name}, in lower case, is one of them."""
        if name in self.exact:
            return True
        return bool(self.wildcards) and name.partition(".")[2] in self.wildcards


@implementer(ICondition)
@frozen(slots=True)
class AddressCondition:
    """The client's or the local address lies in one of C{networks}."""

    side: str
    networks: tuple[IPNetwork, ...]
    negated: bool

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Known at once; an address of a unix socket lies in no network."""
        address: IPAddress | None = inspection.remote_ip if self.side == "remote" else inspection.local_ip
        found = address is not None and any(
            address.version == network.version and address in network for network in self.networks
        )
        return MATCH if found is not self.negated else NO_MATCH

    def describe(self) -> str:
        """As written."""
        return _describe(f"{self.side}-ip", self.negated, map(str, self.networks))


@implementer(ICondition)
@frozen(slots=True)
class PortCondition:
    """The client's or the local port lies in one of C{ranges}."""

    side: str
    ranges: tuple[tuple[int, int], ...]
    negated: bool

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Known at once."""
        client = inspection.client
        port = (client.remote if self.side == "remote" else client.local).port
        return MATCH if self.covers(port) is not self.negated else NO_MATCH

    def covers(self, port: int) -> bool:
        """Whether C{port} lies in one of the ranges."""
        return any(low <= port <= high for low, high in self.ranges)

    def describe(self) -> str:
        """As written."""
        texts = (str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)
        return _describe(f"{self.side}-port", self.negated, texts)


@implementer(ICondition)
@frozen(slots=True)
class PropertyCondition:
    """The property C{name} is one of C{names}, or matched whole by one of C{patterns}."""

    option: str
    name: str
    names: Names
    patterns: tuple[Pattern, ...]
    negated: bool
    texts: tuple[str, ...] = ()

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Undecided while a probe may still find the property."""
        value = inspection.value(self.name)
        if value.__class__ is Verdict:
            return value if value.octets_needed == 0 else need(value.octets_needed)
        return MATCH if self.takes(value) else NO_MATCH  # type: ignore[arg-type]

    def takes(self, value: str | None) -> bool:
        """Whether it is true where the property is C{value}; C{None} where there is none."""
        return self._finds(value) is not self.negated

    def _finds(self, value: str | None) -> bool:
        if value is None:
            return False
        if self.name in NAME_PROPERTIES:
            value = value.lower()
        return self.names.contain(value) or any(pattern.matches(value) for pattern in self.patterns)

    def describe(self) -> str:
        """As written."""
        return _describe(self.option, self.negated, self.texts)


@implementer(ICondition)
@frozen(slots=True)
class ALPNCondition:
    """One of the offered application protocols is one of C{names}."""

    names: frozenset[str]
    negated: bool

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Undecided while a probe may still find the offer."""
        value = inspection.value(ALPN_PROPERTY)
        if value.__class__ is Verdict:
            return value if value.octets_needed == 0 else need(value.octets_needed)
        found = value is not None and not self.names.isdisjoint(value.lower().split(","))  # type: ignore[union-attr]
        return MATCH if found is not self.negated else NO_MATCH

    def describe(self) -> str:
        """As written."""
        return _describe("alpn", self.negated, sorted(self.names))


@implementer(ICondition)
@frozen(slots=True)
class DetectCondition:
    """One of the probes C{names} matches."""

    names: tuple[str, ...]
    negated: bool

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Undecided while one of the probes is."""
        needed = 0
        faulty: Verdict | None = None
        for name in self.names:
            verdict = inspection.verdict(name)
            if verdict.matched:
                return NO_MATCH if self.negated else MATCH
            if verdict.matched is None:
                if needed == 0 or verdict.octets_needed < needed:
                    needed = verdict.octets_needed
            elif verdict.fault is not None:
                faulty = verdict
        if needed:
            return need(needed)
        if faulty is not None:
            return faulty
        return MATCH if self.negated else NO_MATCH

    def asks(self, probes: Container[str]) -> bool:
        """Whether it asks any of C{probes}; else it is known at once."""
        return any(name in probes for name in self.names)

    def describe(self) -> str:
        """As written."""
        return _describe("detect", self.negated, self.names)


@implementer(ICondition)
@frozen(slots=True)
class PreviewCondition:
    """The octets begin with one of C{prefixes}, or are matched from the first by a pattern."""

    prefixes: tuple[bytes, ...]
    patterns: tuple[tuple[Pattern, tuple[bytes, bytes] | None], ...]
    negated: bool

    def evaluate(self, inspection: Inspection) -> Verdict:
        """Refuses at the first octet that no prefix has, or that lies outside a pattern's bounds."""
        preview = inspection.preview
        octets = preview.octets
        needed = 0
        for prefix in self.prefixes:
            if octets.startswith(prefix):
                return NO_MATCH if self.negated else MATCH
            if prefix.startswith(octets):
                needed = min(needed or len(prefix), len(prefix))
        for pattern, bounds in self.patterns:
            if pattern.begins(octets) if preview.final else pattern.begins_whatever_follows(octets):
                return NO_MATCH if self.negated else MATCH
            if bounds is None or (
                octets >= bounds[0][: len(octets)] and octets[: len(bounds[1])] <= bounds[1]
            ):
                needed = len(octets) + 1
        if needed and not preview.final:
            return need(max(needed, len(octets) + 1))
        return MATCH if self.negated else NO_MATCH

    def describe(self) -> str:
        """As written."""
        texts = [HEX_PREFIX + prefix.hex() for prefix in self.prefixes]
        return _describe("preview", self.negated, texts + [pattern.text for pattern, _ in self.patterns])


@implementer(ICondition)
@frozen(slots=True)
class AllOf:
    """Every one of C{conditions}; those known at once come first."""

    conditions: tuple[Any, ...]

    def depends_on_octets(self, probes: Container[str]) -> bool:
        """
        Whether it is undecided for certain as long as there is no octet.

        @param probes: the names of those of the transport.
        """
        return bool(self.conditions) and all(
            isinstance(each, (PreviewCondition, ALPNCondition))
            or (isinstance(each, DetectCondition) and each.asks(probes))
            or (isinstance(each, PropertyCondition) and each.name.startswith(_PROBED_PREFIXES))
            for each in self.conditions
        )

    def can_match_silence(self, silence: Inspection) -> bool:
        """
        Whether a client that says nothing may be taken, at once or at the end of the time to detect: its
        addresses, and what negotiators find, may be anything.

        @param silence: of no octet, judged for good.
        """
        return all(each.evaluate(silence).matched for each in self.conditions if _judges_octets(each))

    def can_match(self, probes: Container[str], local_port: int | None = None) -> bool:
        """
        Whether anything may match: not where only probes of another transport would recognise it.

        @param probes: the names of those of the transport.
        @param local_port: the only one that is written to; C{None} for any.
        """
        for each in self.conditions:
            if isinstance(each, DetectCondition) and not (each.negated or each.asks(probes)):
                return False
            is_of_port = isinstance(each, PortCondition) and each.side == "local"
            if is_of_port and local_port is not None and each.covers(local_port) is each.negated:
                return False
        return True

    def evaluate(self, inspection: Inspection) -> Verdict:
        """
        Refuses as soon as one does, however undecided the others are. A fault counts where none refuses
        without one: so it makes no difference how the octets were cut.
        """
        needed = 0
        faulty: Verdict | None = None
        for condition in self.conditions:
            verdict = condition.evaluate(inspection)
            if verdict.matched is False:
                if verdict.fault is None:
                    return NO_MATCH
                faulty = verdict
            elif verdict.matched is None and (needed == 0 or verdict.octets_needed < needed):
                needed = verdict.octets_needed
        if needed:
            return need(needed)
        return MATCH if faulty is None else faulty

    def describe(self) -> str:
        """As written, one after the other."""
        return ", ".join(condition.describe() for condition in self.conditions)


ANYTHING = AllOf(())


def _judges_octets(condition: Any) -> bool:
    if isinstance(condition, PropertyCondition):
        return condition.name == PROTOCOL_PROPERTY or condition.name.startswith(_PROBED_PREFIXES)
    return isinstance(condition, (PreviewCondition, ALPNCondition, DetectCondition))


def _describe(option: str, negated: bool, texts: Iterable[str]) -> str:
    return f"{option}{'!' if negated else ''} = {';'.join(texts)}"
