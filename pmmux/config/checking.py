"""From sections of text to typed values, with everything that is wrong reported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import define, field

from pmmux.config.draft import DraftSection, Entry
from pmmux.config.faults import NOT_SHOWN, FaultList, clean, is_secret, show
from pmmux.config.options import Option
from pmmux.config.schema import canonical_name
from pmmux.config.suggest import nearest, one_of
from pmmux.config.values import split_list
from pmmux.model import Location, OptionKey, SectionValues

VALUE_DELIMITER = ";"
_OPTION_KEY = re.compile(r"([^\[\]!]+)(?:\[([^\[\]]*)\]\s*)?(!?)")
_NOTHING_KNOWN: Mapping[str, Collection[str]] = MappingProxyType({})
_REFUSED = object()


def parse_option_key(text: str) -> OptionKey | None:
    """
    Take C{name[key]!} apart.

    @return: C{None} where it has another form.
    """
    found = _OPTION_KEY.fullmatch(text.strip())
    if found is None or not found[1].strip():
        return None
    key = found[2]
    return OptionKey(found[1].strip(), None if key is None else key.strip(), bool(found[3]))


def read_plainly(section: DraftSection, option: str) -> str | None:
    """The text of C{option}, before anything was checked; C{None} where there is none."""
    for entry in section.entries:
        if canonical_name(section.kind, entry.option.strip()) == option and isinstance(entry.value, str):
            return entry.value.strip()
    return None


def check_section(
    section: DraftSection,
    options: Sequence[Option],
    faults: FaultList,
    known: Mapping[str, Collection[str]] = _NOTHING_KNOWN,
    is_complete: bool = True,
) -> SectionValues:
    """
    Read every value of C{section}.

    @param options: what the section may hold; of equal names the last one counts.
    @param known: by option, the names that exist.
    @param is_complete: C{False} where C{options} are not all there may be, so that others are let pass.
    @return: all that could be read; what could not is absent, and reported.
    """
    reading = _Reading(section, {option.name: option for option in options}, faults, known, is_complete)
    return reading.read()


@define
class _Reading:
    """The reading of one section."""

    section: DraftSection
    options: Mapping[str, Option]
    faults: FaultList
    known: Mapping[str, Collection[str]]
    is_complete: bool
    values: dict[OptionKey, Any] = field(factory=dict)
    raw: dict[str, str] = field(factory=dict)
    locations: dict[OptionKey, Location] = field(factory=dict)

    def read(self) -> SectionValues:
        for entry in self.section.entries:
            self._read_entry(entry)
        written = {key.name for key in self.locations}
        for option in self.options.values():
            if option.required and option.name not in written:
                self.faults.add(
                    self.section.location, f"{option.name} is missing", f"{option.name} = {option.expected}"
                )
        defaults = {each.name: each.default for each in self.options.values() if each.default is not None}
        return SectionValues(
            self.section.kind,
            self.section.name,
            self.values,
            defaults,
            self.raw,
            self.section.location,
            self.locations,
        )

    def _read_entry(self, entry: Entry) -> None:
        key = parse_option_key(entry.option)
        if key is None:
            self.faults.add(entry.location, "not the name of an option", "name, name[key], or ! after either")
            return
        key = OptionKey(canonical_name(self.section.kind, key.name), key.key, key.negated)
        option = self.options.get(key.name)
        if option is None:
            self._refuse_unknown(entry, key)
            return
        first = self.locations.setdefault(key, entry.location)
        if first is not entry.location:
            where = "" if first.line is None else f" on line {first.line}"
            self.faults.add(entry.location, f"is given already{where}")
        if not self._has_right_form(entry, option, key) or entry.value is None:
            return
        value = self._read_value(entry, option, key)
        if value is not _REFUSED and first is entry.location:
            self.values[key] = value
            joint = VALUE_DELIMITER if option.multiple else ", "
            self.raw[str(key)] = entry.value if isinstance(entry.value, str) else joint.join(entry.value)

    def _refuse_unknown(self, entry: Entry, key: OptionKey) -> None:
        if not self.is_complete:
            return
        close = nearest(key.name, self.options)
        if close:
            close = str(OptionKey(close, key.key, key.negated))
        expected = "" if close else one_of(self.options)
        self.faults.add(entry.location, "unknown option", expected, close)

    def _has_right_form(self, entry: Entry, option: Option, key: OptionKey) -> bool:
        if option.keyed and not key.key:
            self.faults.add(entry.location, "needs a key in square brackets", f"{option.name}[KEY]")
        elif not option.keyed and key.key is not None:
            self.faults.add(entry.location, "takes no key in square brackets", option.name)
        elif key.negated and not option.negatable:
            self.faults.add(entry.location, "cannot be negated", str(OptionKey(key.name, key.key)))
        else:
            return True
        return False

    def _read_value(self, entry: Entry, option: Option, key: OptionKey) -> Any:
        is_hidden = entry.is_hidden or is_secret(str(key))
        parts = _split_value(entry, option)
        if parts is None:
            self.faults.add(entry.location, "takes one value, not a list", option.expected)
            return _REFUSED
        if len(parts) > 1 and option.multiple and not all(part for part, _ in parts):
            self.faults.add(entry.location, f"an empty value beside a {VALUE_DELIMITER!r}", option.expected)
            return _REFUSED
        found = [self._read_part(part, place, option, is_hidden) for part, place in parts]
        if any(value is _REFUSED for value in found):
            return _REFUSED
        return tuple(found) if option.multiple or option.listed else found[0]

    def _read_part(self, part: str, place: Location, option: Option, is_hidden: bool) -> Any:
        shown = NOT_SHOWN if is_hidden else show(part)
        try:
            value = option.parse(part)
        except ValueError as error:
            reason = "" if is_hidden else f": {clean(str(error))}"
            close = "" if is_hidden else getattr(error, "nearest", "")
            self.faults.add(place, f"bad value {shown}{reason}", option.expected, close)
            return _REFUSED
        except Exception as error:  # an extension's reader must not end the reporting of the rest
            self.faults.add(place, f"{type(error).__name__} while reading {shown}", option.expected)
            return _REFUSED
        names = self.known.get(option.name)
        if names is not None and value is not None and value not in names:
            close = "" if is_hidden else nearest(str(value), names)
            self.faults.add(place, f"there is no {option.name} {shown}", one_of(names), close)
            return _REFUSED
        return value


def _split_value(entry: Entry, option: Option) -> Sequence[tuple[str, Location]] | None:
    """The single values, each with its place; C{None} where a list was given for one value."""
    if option.listed:
        return [(part, place) for text, place in entry.items() for part in split_list(text)]
    if isinstance(entry.value, tuple):
        return entry.items() if option.multiple else None
    text = entry.value or ""
    parts = text.split(VALUE_DELIMITER) if option.multiple else [text]
    return [(part.strip() if option.multiple else part, entry.location) for part in parts]
