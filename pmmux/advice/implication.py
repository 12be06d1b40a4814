"""Whether one condition takes everything that another takes: told only where it is certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmmux.conditions import (
    ALPN_PROPERTY,
    AddressCondition,
    AllOf,
    ALPNCondition,
    DetectCondition,
    Names,
    PortCondition,
    PreviewCondition,
    PropertyCondition,
)

ANY_TEXT = frozenset({".*", "(?s).*"})
# The names of the probes that may find a property.
Providers = Callable[[str], frozenset[str]]


def takes_all_of(broad: AllOf, narrow: AllOf, providers: Providers) -> bool:
    """Whether C{broad} is true wherever C{narrow} is."""
    return all(
        any(_implies(part, wanted, providers) for part in narrow.conditions) for wanted in broad.conditions
    )


def can_both_hold(first: Any, second: Any, providers: Providers) -> bool:
    """Whether two conditions of one backend can be true together; true also where that is not known."""
    if isinstance(second, DetectCondition) and not isinstance(first, DetectCondition):
        first, second = second, first
    if isinstance(first, DetectCondition) and not first.negated and not isinstance(second, DetectCondition):
        found_by = _found_by(second, providers)
        return not found_by or not found_by.isdisjoint(first.names)
    return not (_are_opposed(first, second) or _are_opposed(second, first))


def _are_opposed(first: Any, second: Any) -> bool:
    """Whether C{first} is C{second} denied."""
    if type(first) is not type(second) or first.negated or not second.negated:
        return False
    plain = str(second.describe()).replace("! = ", " = ", 1)
    return str(first.describe()) == plain


def _found_by(condition: Any, providers: Providers) -> frozenset[str]:
    """The probes of which one has matched where C{condition} is true; none where that is not known."""
    if isinstance(condition, ALPNCondition) and not condition.negated:
        return providers(ALPN_PROPERTY)
    if isinstance(condition, PropertyCondition) and not condition.negated:
        # A refusal has properties too: tls = false.
        return providers(condition.name) if "." in condition.name else frozenset()
    return frozenset()


def _implies(part: Any, wanted: Any, providers: Providers) -> bool:
    if type(part) is type(wanted) and part.describe() == wanted.describe():
        return True
    if isinstance(wanted, DetectCondition) and not wanted.negated:
        if isinstance(part, DetectCondition):
            return not part.negated and set(part.names) <= set(wanted.names)
        found_by = _found_by(part, providers)
        return bool(found_by) and found_by <= set(wanted.names)
    if type(part) is not type(wanted) or part.negated or wanted.negated:
        return False
    if isinstance(part, AddressCondition):
        return part.side == wanted.side and all(
            any(_lies_in(network, other) for other in wanted.networks) for network in part.networks
        )
    if isinstance(part, PortCondition):
        return part.side == wanted.side and all(
            any(low <= each_low and each_high <= high for low, high in wanted.ranges)
            for each_low, each_high in part.ranges
        )
    if isinstance(part, ALPNCondition):
        return bool(part.names <= wanted.names)
    if isinstance(part, PropertyCondition):
        return part.name == wanted.name and _names_lie_in(part, wanted)
    if isinstance(part, PreviewCondition):
        return (
            not part.patterns
            and bool(part.prefixes)
            and all(prefix.startswith(wanted.prefixes) for prefix in part.prefixes)
        )
    return False


def _lies_in(network: Any, other: Any) -> bool:
    return bool(network.version == other.version and network.subnet_of(other))


def _names_lie_in(part: PropertyCondition, wanted: PropertyCondition) -> bool:
    texts = {pattern.text for pattern in wanted.patterns}
    if texts & ANY_TEXT:
        return True
    return (
        all(_takes_name(wanted.names, wanted.patterns, name) for name in part.names.exact)
        and bool(part.names.wildcards <= wanted.names.wildcards)
        and {pattern.text for pattern in part.patterns} <= texts
    )


def _takes_name(names: Names, patterns: Any, name: str) -> bool:
    return names.contain(name) or any(pattern.matches(name) for pattern in patterns)
