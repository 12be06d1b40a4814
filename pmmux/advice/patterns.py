"""
Regular expressions that match more than meant. RE2 matches in linear time, so that none is dangerous;
but a pattern that is no plain name is tried on each connection, where names are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pmmux.advice.advice import Advice, Subject
from pmmux.conditions import PropertyCondition
from pmmux.model import Location, SectionValues

_HOST_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_LOOSE_SUFFIX = re.compile(r"\.[*+]([A-Za-z0-9-]+((\\\.|\.)[A-Za-z0-9-]+)+)")
_NAMES = ("http.host", "tls.sni")


def advise(subject: Subject) -> Iterator[Advice]:
    """See the module."""
    for rule in subject.rules():
        for condition in rule.condition.conditions:
            if isinstance(condition, PropertyCondition):
                yield from _advise_on(rule.spec.options, condition)


def _advise_on(options: SectionValues, condition: PropertyCondition) -> Iterator[Advice]:
    where = _where(options, condition)
    for pattern in condition.patterns:
        text = pattern.text
        if condition.name in _NAMES and _HOST_NAME.fullmatch(text):
            escaped = text.replace(".", r"\.")
            other = text.replace(".", "x", 1)
            yield Advice(
                where,
                "pattern",
                f"{condition.option} = {text} is a regular expression, in which a dot is any character",
                f"{other} matches too; and it is tried on each connection instead of being looked up",
                f"{condition.option} = {escaped}",
            )
        elif condition.name in _NAMES and (found := _LOOSE_SUFFIX.fullmatch(text)):
            suffix = found[1].replace(r"\.", ".")
            escaped = suffix.replace(".", r"\.")
            yield Advice(
                where,
                "pattern",
                f"{condition.option} = {text} matches every name that ends so",
                f"evil{suffix} matches too",
                f"{condition.option} = (.*\\.)?{escaped}",
            )


def _where(options: SectionValues, condition: PropertyCondition) -> Location:
    for key, place in options.locations.items():
        if str(key).rstrip("!") == condition.option and key.negated is condition.negated:
            return place
    return options.location
