"""All advice on one configuration, in the order of its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pmmux.advice import certificates, exposure, health, patterns, reaching, waiting
from pmmux.advice.advice import Advice, Subject
from pmmux.config.settings import Settings
from pmmux.registry import Registry

ADVISERS: Sequence[Callable[[Subject], Iterable[Advice]]] = (
    reaching.advise,
    waiting.advise,
    patterns.advise,
    exposure.advise,
    health.advise,
    certificates.advise,
)


def advise(settings: Settings, registry: Registry) -> list[Advice]:
    """
    @param settings: valid.
    @return: what is allowed and yet hardly meant.
    """
    subject = Subject(settings, registry)
    found = [advice for adviser in ADVISERS for advice in adviser(subject)]
    return sorted(found, key=lambda advice: (advice.location.source, advice.location.line or 0))
