"""
Backend parameters compiled into one condition.

Conditions on addresses and ports are known at once; those on content ask the inspection, and stay
undecided while octets that may come could change the answer. Where what they ask of is a broken
instance of its protocol, their refusal carries the fault, negated or not: nothing else of the
connection being against it, a rule that stumbles on the fault has it closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from zope.interface import implementer

from pmmux.config.options import Option
from pmmux.config.patterns import Pattern, compile_pattern
from pmmux.inspection import Inspection, IPAddress
from pmmux.interfaces import ICondition
from pmmux.model import MATCH, NO_MATCH, PriorityTier, SectionValues, Verdict, need

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HIGHEST_PORT = 65535
MAX_WEIGHT = 1000
MAX_NAME_LENGTH = 253
HEX_PREFIX = "hex:"
PATTERN_RANGE_OCTETS = 64

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
        found = any(low <= port <= high for low, high in self.ranges)
        return MATCH if found is not self.negated else NO_MATCH

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
        return MATCH if self._finds(value) is not self.negated else NO_MATCH  # type: ignore[arg-type]

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

    @property
    def depends_on_octets(self) -> bool:
        """Whether it is undecided for certain as long as there is no octet."""
        return bool(self.conditions) and all(
            isinstance(each, (DetectCondition, PreviewCondition, ALPNCondition))
            or (isinstance(each, PropertyCondition) and each.name.startswith(_PROBED_PREFIXES))
            for each in self.conditions
        )

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


def _describe(option: str, negated: bool, texts: Iterable[str]) -> str:
    return f"{option}{'!' if negated else ''} = {';'.join(texts)}"


# From text to values, for the options below.


def _split(parse: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse_each(text: str) -> tuple[Any, ...]:
        return tuple(parse(part.strip()) for part in text.split(","))

    return parse_each


def parse_network(text: str) -> IPNetwork:
    """An address or CIDR range; IPv4-mapped ones are taken as IPv4."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        mapped_prefix_bits = 96
        if network.prefixlen >= mapped_prefix_bits:
            mapped = network.network_address.ipv4_mapped
            return ipaddress.ip_network((mapped, network.prefixlen - mapped_prefix_bits), strict=False)
    return network


def parse_ports(text: str) -> tuple[int, int]:
    """A port or a range C{low-high}, both ends included."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    low, high = int(first), int(last if dash else first)
    if not 0 <= low <= high <= HIGHEST_PORT:
        raise ValueError(f"ports lie between 0 and {HIGHEST_PORT}, the lower first")
    return low, high


def parse_name(text: str) -> str:
    """A host name or wildcard, in lower case and without the trailing dot."""
    name = text.lower().rstrip(".")
    bare = name[2:] if name.startswith("*.") else name
    if not bare or "*" in bare or len(name) > MAX_NAME_LENGTH or any(c.isspace() for c in name):
        raise ValueError("not a name")
    if not bare.isascii():
        raise ValueError("write international names in their xn-- form")
    return name


def parse_preview(text: str) -> bytes | Pattern:
    """C{hex:} and octets, or a regular expression on octets."""
    if text.startswith(HEX_PREFIX):
        prefix = bytes.fromhex(text[len(HEX_PREFIX) :])
        if not prefix:
            raise ValueError("no octets after hex:")
        return prefix
    return compile_pattern(text, octets=True)


def _parse_weight(text: str) -> int:
    weight = int(text)
    if not 1 <= weight <= MAX_WEIGHT:
        raise ValueError("out of range")
    return weight


def _parse_tier(text: str) -> PriorityTier:
    try:
        return PriorityTier[text.upper()]
    except KeyError:
        raise ValueError("not a priority tier") from None


def _parse_host_pattern(text: str) -> Pattern:
    return compile_pattern(text, ignore_case=True)


def standard_options(probe_names: Sequence[str]) -> tuple[Option, ...]:
    """
    The options that every backend has.

    @param probe_names: what C{detect} accepts.
    """

    def parse_probe(text: str) -> str:
        if text not in probe_names:
            raise ValueError(f"there is no probe {text!r}")
        return text

    network = "an address or CIDR range"
    port = "a port or a range low-high"
    name = "a host name, or *. and a name for one more label"
    pattern = "a regular expression, matched against the whole"
    many = {"negatable": True, "multiple": True}
    return (
        Option(
            "priority",
            _parse_tier,
            "vip, normal, standby or fallback",
            description="The priority tier, for strategies that go by tier.",
        ),
        Option(
            "weight",
            _parse_weight,
            f"a number from 1 to {MAX_WEIGHT}",
            default=1,
            description="The share against others of the same tier.",
        ),
        Option("remote-ip", _split(parse_network), network, **many, description="The client's address."),
        Option(
            "local-ip", _split(parse_network), network, **many, description="The address the client wrote to."
        ),
        Option("remote-port", _split(parse_ports), port, **many, description="The client's port."),
        Option("local-port", _split(parse_ports), port, **many, description="The port the client wrote to."),
        Option(
            "property",
            _parse_property_text,
            pattern,
            keyed=True,
            **many,
            description="A connection property.",
        ),
        Option(
            "detect",
            _split(parse_probe),
            "one of " + ", ".join(probe_names),
            **many,
            description="The protocol, recognised by its first octets.",
        ),
        Option("sni", _split(parse_name), name, **many, description="The server name in a TLS ClientHello."),
        Option(
            "alpn",
            _split(str.lower),
            "an application protocol such as h2",
            **many,
            description="An application protocol offered in a TLS ClientHello.",
        ),
        Option(
            "preview",
            parse_preview,
            "a regular expression on the first octets, or hex: and octets",
            **many,
            description="What the client's first octets are.",
        ),
        Option("host", _parse_host_pattern, pattern, **many, description="The host of an HTTP request."),
        Option(
            "path",
            compile_pattern,
            pattern,
            **many,
            description="The path of an HTTP request, without the query.",
        ),
        Option("method", compile_pattern, pattern, **many, description="The method of an HTTP request."),
        Option(
            "protocol-version",
            compile_pattern,
            pattern,
            **many,
            description="The version of an HTTP request: 1.0 or 1.1.",
        ),
        Option(
            "header",
            compile_pattern,
            pattern,
            keyed=True,
            **many,
            description="A header field of an HTTP request.",
        ),
    )


def _parse_property_text(text: str) -> Pattern:
    # Whether case matters depends on the property, which is not known here; compile both ways late.
    return compile_pattern(text)


_HTTP_PROPERTIES = {
    "host": HOST_PROPERTY,
    "path": "http.path",
    "method": "http.method",
    "protocol-version": "http.version",
}


def compile_condition(options: SectionValues) -> AllOf:
    """
    The condition that C{options} state: all of what is written must be true.

    @param options: values read with L{standard_options}; other options are passed over.
    """
    known_at_once: list[Any] = []
    by_content: list[Any] = []
    for key, values in options.values.items():
        name, negated = key.name, key.negated
        if name in ("remote-ip", "local-ip"):
            known_at_once.append(AddressCondition(name[:-3], _flatten(values), negated))
        elif name in ("remote-port", "local-port"):
            known_at_once.append(PortCondition(name[:-5], _flatten(values), negated))
        elif name == "detect":
            by_content.append(DetectCondition(_flatten(values), negated))
        elif name == "sni":
            by_content.append(_name_condition(_flatten(values), negated))
        elif name == "alpn":
            by_content.append(ALPNCondition(frozenset(_flatten(values)), negated))
        elif name == "preview":
            by_content.append(_preview_condition(values, negated))
        elif name == "property":
            by_content.append(_property_condition(str(key).rstrip("!"), key.key or "", values, negated))
        elif name == "header":
            by_content.append(
                _property_condition(
                    str(key).rstrip("!"), f"http.header.{(key.key or '').lower()}", values, negated
                )
            )
        elif name in _HTTP_PROPERTIES:
            by_content.append(_property_condition(name, _HTTP_PROPERTIES[name], values, negated))
    return AllOf((*known_at_once, *by_content))


def _flatten(values: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(value for group in values for value in group)


def _name_condition(names: Sequence[str], negated: bool) -> PropertyCondition:
    wildcards = frozenset(name[2:] for name in names if name.startswith("*."))
    exact = frozenset(name for name in names if not name.startswith("*."))
    return PropertyCondition("sni", SNI_PROPERTY, Names(exact, wildcards), (), negated, tuple(names))


def _property_condition(
    option: str, name: str, values: Sequence[Pattern], negated: bool
) -> PropertyCondition:
    if name in NAME_PROPERTIES:
        values = tuple(compile_pattern(pattern.text, ignore_case=True) for pattern in values)
    literals = frozenset(pattern.literal for pattern in values if pattern.literal is not None)
    patterns = tuple(pattern for pattern in values if pattern.literal is None)
    texts = tuple(pattern.text for pattern in values)
    return PropertyCondition(option, name, Names(literals), patterns, negated, texts)


def _preview_condition(values: Sequence[bytes | Pattern], negated: bool) -> PreviewCondition:
    prefixes = tuple(value for value in values if isinstance(value, bytes))
    patterns = tuple(
        (value, value.range(PATTERN_RANGE_OCTETS)) for value in values if isinstance(value, Pattern)
    )
    return PreviewCondition(prefixes, patterns, negated)
