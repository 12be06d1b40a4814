"""Backends that nothing reaches: behind broader ones, or with conditions that cannot be true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from pmmux.advice.advice import Advice, Rule, Subject
from pmmux.advice.implication import Providers, can_both_hold, takes_all_of
from pmmux.conditions import DetectCondition, PortCondition
from pmmux.inspection import ProbeCatalogue
from pmmux.interfaces import IBackendProtocol
from pmmux.model import PriorityTier
from pmmux.tls.contexts import OFF
from pmmux.tls.options import terminates

# Those that answer themselves cannot fail, so that nothing is ever tried after them.
ANSWERING = frozenset({"noop", "http-response"})


def advise(subject: Subject) -> Iterator[Advice]:
    """See the module."""
    providers = providers_of(subject)
    rules = subject.rules()
    for rule in rules:
        yield from _advise_on_conditions(subject, rule, providers)
    if subject.goes_by_order():
        yield from _advise_on_order(subject, rules, providers)


def providers_of(subject: Subject) -> Providers:
    """Which probes may find a property, over all transports that are listened on."""
    catalogues = [ProbeCatalogue(subject.registry.probes(each)) for each in sorted(subject.listening())]

    terminates_tls = any(terminates(each, subject.settings) != OFF for each in subject.settings.listeners)

    def providers(name: str) -> frozenset[str]:
        if terminates_tls and name.startswith("tls."):
            # Then it is known of what is not TLS any more.
            return frozenset()
        return frozenset(probe for catalogue in catalogues for probe in catalogue.providers_of(name))

    return providers


def _advise_on_conditions(subject: Subject, rule: Rule, providers: Providers) -> Iterator[Advice]:
    location = rule.spec.options.location
    transports = subject.transports(rule.spec)
    if not transports:
        wanted = "/".join(subject.registry.get(IBackendProtocol, rule.spec.protocol).transports)
        yield Advice(
            location,
            "never-reached",
            f"nothing listens for what {rule.spec.protocol} takes ({wanted})",
            f"{rule.name} never gets anything",
            f"a [listener] with protocol = {wanted}, or no {rule.name}",
        )
        return
    for first, second in combinations(rule.condition.conditions, 2):
        if not can_both_hold(first, second, providers):
            yield Advice(
                location,
                "never-reached",
                f"{first.describe()} and {second.describe()} are never true together",
                f"{rule.name} never gets anything",
                "two backends, one with each condition",
            )
    for condition in rule.condition.conditions:
        if isinstance(condition, DetectCondition) and not condition.negated:
            known = {probe.name for each in transports for probe in subject.registry.probes(each)}
            if known.isdisjoint(condition.names):
                yield Advice(
                    location,
                    "never-reached",
                    f"{condition.describe()}, but nothing listens by the transport of that protocol",
                    f"{rule.name} never gets anything",
                    "a [listener] with the other protocol",
                )
        elif isinstance(condition, PortCondition) and condition.side == "local" and not condition.negated:
            ports = [spec.port for spec in subject.settings.listeners if spec.unix_path is None]
            if None not in ports and not any(
                low <= port <= high for low, high in condition.ranges for port in ports if port is not None
            ):
                listed = ", ".join(map(str, ports))
                yield Advice(
                    location,
                    "never-reached",
                    f"{condition.describe()}, but the listeners' ports are {listed}",
                    f"{rule.name} never gets anything; the port is that of the listener, not the public one",
                    "local-port with a listener's port",
                )


def _advise_on_order(subject: Subject, rules: Sequence[Rule], providers: Providers) -> Iterator[Advice]:
    for position, rule in enumerate(rules):
        if rule.is_catch_all:
            yield from _advise_on_catch_all(subject, rule, rules[position + 1 :])
            return
        for earlier in rules[:position]:
            if subject.transports(rule.spec) <= subject.transports(earlier.spec) and takes_all_of(
                earlier.condition, rule.condition, providers
            ):
                if not _stands_in(rule, earlier):
                    yield _shadowed(rule, earlier)
                break


def _advise_on_catch_all(subject: Subject, rule: Rule, later: Sequence[Rule]) -> Iterator[Advice]:
    behind = [
        each
        for each in later
        if subject.transports(each.spec) <= subject.transports(rule.spec) and not _stands_in(each, rule)
    ]
    if not behind:
        return
    names = ", ".join(each.name for each in behind)
    if rule.spec.protocol in ANSWERING:
        why = f"nothing ever gets to {names}"
    else:
        why = f"{names} get something only while {rule.name} is unhealthy or cannot be reached"
    yield Advice(
        rule.spec.options.location,
        "catch-all",
        f"{rule.name} has no conditions, so it takes everything, and it stands before {names}",
        why,
        f"[backend {rule.name}] after all others, or conditions for it",
    )


def _stands_in(rule: Rule, earlier: Rule) -> bool:
    """Whether C{rule} is clearly meant for when C{earlier}, which may fail, has failed."""
    if earlier.spec.protocol in ANSWERING or earlier.condition.describe() != rule.condition.describe():
        return False
    tier = rule.spec.options.get("priority")
    return rule.spec.protocol in ANSWERING or (tier is not None and tier > PriorityTier.NORMAL)


def _shadowed(rule: Rule, earlier: Rule) -> Advice:
    where = earlier.spec.options.location
    line = "" if where.line is None else f" on line {where.line}"
    broader = earlier.condition.describe()
    if earlier.spec.protocol in ANSWERING:
        topic, why = "never-reached", f"nothing ever gets to {rule.name}"
    else:
        topic = "shadowed"
        why = f"{rule.name} gets something only while {earlier.name} is unhealthy or cannot be reached"
    return Advice(
        rule.spec.options.location,
        topic,
        f"{earlier.name}{line} takes all of it before: {broader}",
        why,
        f"[backend {rule.name}] before [backend {earlier.name}]"
        if broader != rule.condition.describe()
        else "priority = standby in it, if it is to stand in; one of the two; or, to share the load, "
        "a routing-strategy that goes by tier",
    )
