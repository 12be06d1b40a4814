"""Clients that wait for a server to speak first, and are kept waiting for what they will not say."""

from __future__ import annotations

from collections.abc import Iterator

from pmmux.advice.advice import Advice, Rule, Subject
from pmmux.backends.passthrough import target_of
from pmmux.conditions import AddressCondition, PortCondition

# By the target's port: protocols in which the server speaks first.
SERVER_SPEAKS_FIRST = {
    21: "FTP",
    25: "SMTP",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    587: "SMTP",
    2525: "SMTP",
    3306: "MySQL",
    5900: "VNC",
}


def advise(subject: Subject) -> Iterator[Advice]:
    """See the module."""
    rules = subject.rules()
    for position, rule in enumerate(rules):
        protocol = _server_first(rule)
        if protocol is None or "tcp" not in subject.transports(rule.spec):
            continue
        location = rule.spec.options.location
        if not _is_known_at_once(rule):
            yield Advice(
                location,
                "waits-for-silence",
                f"a client of {protocol} says nothing before the server does, but {rule.name} has conditions "
                "on what it says",
                f"no client of {protocol} ever gets to {rule.name}",
                "local-port, local-ip or remote-ip as its only conditions, and a listener of its own",
            )
            continue
        others = rules if not subject.goes_by_order() else rules[:position]
        waiting = [each.name for each in others if each is not rule and _makes_wait(rule, each)]
        if waiting:
            seconds = subject.option("detect-timeout")
            yield Advice(
                location,
                "waits-for-silence",
                f"in {protocol} the server speaks first, and {', '.join(waiting)} first want to know what "
                "the client says",
                f"each client of {rule.name} waits {seconds:g} s (detect-timeout) before it is connected",
                f"a listener of its own, local-port with its port in [backend {rule.name}], and that before "
                f"{waiting[0]}; or a shorter detect-timeout",
            )


def _server_first(rule: Rule) -> str | None:
    if rule.spec.protocol != "pass":
        return None
    return SERVER_SPEAKS_FIRST.get(target_of(rule.spec.options).port)


def _is_known_at_once(rule: Rule) -> bool:
    return all(isinstance(each, (AddressCondition, PortCondition)) for each in rule.condition.conditions)


def _makes_wait(rule: Rule, other: Rule) -> bool:
    """Whether C{other} may wait for octets of a client that is one of C{rule}'s."""
    if _is_known_at_once(other):
        return False
    known = [
        each for each in other.condition.conditions if isinstance(each, (AddressCondition, PortCondition))
    ]
    return not any(_excludes(mine, each) for mine in rule.condition.conditions for each in known)


def _excludes(first: object, second: object) -> bool:
    if isinstance(first, PortCondition) and isinstance(second, PortCondition):
        if first.side != second.side:
            return False
        if first.negated or second.negated:
            return first.negated is not second.negated and first.ranges == second.ranges
        return not any(a <= d and c <= b for a, b in first.ranges for c, d in second.ranges)
    if isinstance(first, AddressCondition) and isinstance(second, AddressCondition):
        if first.side != second.side or first.negated or second.negated:
            return False
        return not any(
            a.version == b.version and a.overlaps(b) for a in first.networks for b in second.networks
        )
    return False
