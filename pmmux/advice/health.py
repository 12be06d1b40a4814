"""Health checks that nothing follows from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pmmux.advice.advice import Advice, Subject
from pmmux.health.plan import applicable, plan_of
from pmmux.interfaces import IBackendProtocol
from pmmux.model import OptionKey, SectionValues

# Internal error, and unavailable: what a server answers that does not work.
FAILURE_STATUSES = (500, 503)
# Kinds of backends that have nothing behind them that could fail.
WITHOUT_UPSTREAM = frozenset({"noop", "http-response"})


def advise(subject: Subject) -> Iterator[Advice]:
    """See the module."""
    plans = [plan_of(section) for section in subject.settings.health_checks]
    used: dict[int, list[str]] = {}
    for spec in subject.settings.backends:
        plan = applicable(plans, spec.protocol, spec.name)
        if plan is not None:
            used.setdefault(id(plan.section), []).append(spec.name)
    protocols = {spec.name: spec.protocol for spec in subject.settings.backends}
    for section in subject.settings.health_checks:
        names = used.get(id(section), [])
        if not names:
            yield _nothing(section, *_why_unused(subject, section))
        elif all(protocols[name] in WITHOUT_UPSTREAM for name in names):
            listed = ", ".join(names)
            yield _nothing(
                section,
                f"it is for {listed}, which answer by themselves and cannot fail",
                "a check for a backend with a target, or none",
            )
        else:
            yield from _advise_on_expectation(section)


def _nothing(section: SectionValues, message: str, instead: str) -> Advice:
    return Advice(section.location, "checks-nothing", message, "nothing is ever checked by it", instead)


def _why_unused(subject: Subject, section: SectionValues) -> tuple[str, str]:
    protocol, backend = section.get("protocol"), section.get("backend")
    candidates = [
        spec.name
        for spec in subject.settings.backends
        if protocol in (None, spec.protocol) and backend in (None, spec.name)
    ]
    if not candidates:
        known = subject.registry.names(IBackendProtocol)
        kinds = f" of the protocol {protocol}" if protocol in known else ""
        return f"there is no backend{kinds} for it", "the backend or protocol that is meant, or no check"
    listed = ", ".join(candidates)
    return (
        f"for {listed} another check is nearer, or comes before it",
        "one check for each backend: backend with its name",
    )


def _advise_on_expectation(section: SectionValues) -> Iterator[Advice]:
    statuses = section.get("status")
    if statuses is not None and OptionKey("status") in section.values and _takes_failures(statuses):
        yield Advice(
            section.where(OptionKey("status")),
            "checks-nothing",
            f"status = {section.raw.get('status', '')} takes answers that report a failure",
            "a server that answers every request with an error counts as healthy",
            "status = 200-299, or the one status that a healthy server gives",
        )
    if section.get("type") == "tcp" and section.get("expect") is None and section.get("send") is not None:
        yield Advice(
            section.where(OptionKey("send")),
            "checks-nothing",
            "something is sent, but no answer is expected",
            "a server that takes connections and never answers counts as healthy",
            "expect with how its answer begins",
        )


def _takes_failures(statuses: Sequence[range]) -> bool:
    return all(any(failure in each for each in statuses) for failure in FAILURE_STATUSES)
