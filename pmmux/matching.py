"""
Backend parameters: the options that every backend has, and how they become one condition.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pmmux.conditions import (
    HEX_PREFIX,
    HOST_PROPERTY,
    NAME_PROPERTIES,
    SNI_PROPERTY,
    AddressCondition,
    AllOf,
    ALPNCondition,
    DetectCondition,
    IPNetwork,
    Names,
    PortCondition,
    PreviewCondition,
    PropertyCondition,
)
from pmmux.config.options import Option
from pmmux.config.patterns import Pattern, compile_pattern
from pmmux.config.values import UnknownWordError
from pmmux.model import PriorityTier, SectionValues

HIGHEST_PORT = 65535
MAX_WEIGHT = 1000
MAX_NAME_LENGTH = 253
PATTERN_RANGE_OCTETS = 64


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
        tiers = [tier.name.lower() for tier in PriorityTier]
        raise UnknownWordError("not a priority tier", text, tiers) from None


def _parse_host_pattern(text: str) -> Pattern:
    return compile_pattern(text, ignore_case=True)


def standard_options(probe_names: Sequence[str]) -> tuple[Option, ...]:
    """
    The options that every backend has.

    @param probe_names: what C{detect} accepts.
    """

    def parse_probe(text: str) -> str:
        if text not in probe_names:
            raise UnknownWordError(f"there is no probe {text!r}", text, probe_names)
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
