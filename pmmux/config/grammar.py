"""
The compact grammar of port bindings, backends and health checks.

Segments are split by C{:}. A segment with C{=} is a list of properties, C{key=value}, split by
commas; a key without C{=} has an empty value. Between double quotes delimiters are literal, and
C{\\"} and C{\\\\} stand for C{"} and C{\\}; any other backslash is literal, as it is outside quotes, so
that regular expressions can be written as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

SEGMENT_DELIMITER = ":"
PROPERTY_DELIMITER = ","
VALUE_DELIMITER = "="
QUOTE = '"'
ESCAPE = "\\"

PORT_BINDING_FORM = "<public>:<local>:<tcp|udp>:<parameters>"
BACKEND_FORM = "<name>:<protocol>:<parameters>"
HEALTH_CHECK_FORM = "<protocol>:[backend]:<parameters>"


@frozen(auto_exc=True, slots=False)
class GrammarError(ValueError):
    """
    A text that does not follow the grammar.

    @ivar column: where, from 1.
    @ivar reason: what is wrong, without any of the text, which may hold secrets.
    """

    column: int
    reason: str

    def __str__(self) -> str:
        return f"column {self.column}: {self.reason}"


@frozen(slots=True)
class Property:
    """One C{key=value}; C{column} from 1."""

    key: str
    value: str
    column: int = 0


@frozen(slots=True)
class Segment:
    """
    What stands between two colons.

    @ivar text: without quotes and escapes.
    @ivar properties: C{None} where the segment holds no C{=}.
    """

    text: str
    properties: tuple[Property, ...] | None
    column: int


@frozen(slots=True)
class PortBinding:
    """
    A port binding taken apart, nothing checked.

    @ivar protocol: empty for both.
    """

    public: str
    local: str
    protocol: str
    properties: tuple[Property, ...]


@frozen(slots=True)
class Backend:
    """A backend taken apart, nothing checked."""

    name: str
    protocol: str
    properties: tuple[Property, ...]


@frozen(slots=True)
class HealthCheck:
    """
    A health check taken apart, nothing checked.

    @ivar protocol: empty for any.
    @ivar backend: empty for all of the protocol.
    """

    protocol: str
    backend: str
    properties: tuple[Property, ...]


@frozen(slots=True)
class _Character:
    text: str
    column: int
    literal: bool


_Characters = Sequence[_Character]


def _scan(text: str) -> list[_Character]:
    """Take quotes and escapes away, and remember which characters they made literal."""
    found: list[_Character] = []
    opened_at = 0
    index = 0
    while index < len(text):
        character = text[index]
        column = index + 1
        index += 1
        if character == QUOTE:
            opened_at = 0 if opened_at else column
            continue
        if opened_at and character == ESCAPE:
            if index == len(text):
                raise GrammarError(column, "nothing follows the backslash")
            if text[index] in (QUOTE, ESCAPE):
                character = text[index]
                index += 1
        found.append(_Character(character, column, bool(opened_at)))
    if opened_at:
        raise GrammarError(opened_at, "the quote is not closed")
    return found


def _split(characters: _Characters, delimiter: str, limit: int = -1) -> list[_Characters]:
    parts: list[_Characters] = []
    start = 0
    for index, character in enumerate(characters):
        if character.text == delimiter and not character.literal and len(parts) != limit:
            parts.append(characters[start:index])
            start = index + 1
    parts.append(characters[start:])
    return parts


def _join(characters: _Characters) -> str:
    """The text, without white space at its ends unless that was quoted."""
    start, end = 0, len(characters)
    while start < end and characters[start].text.isspace() and not characters[start].literal:
        start += 1
    while end > start and characters[end - 1].text.isspace() and not characters[end - 1].literal:
        end -= 1
    return "".join(character.text for character in characters[start:end])


def _column(characters: _Characters, otherwise: int) -> int:
    return characters[0].column if characters else otherwise


def _read_properties(characters: _Characters, otherwise: int) -> tuple[Property, ...]:
    if not _join(characters):
        return ()
    found = []
    for part in _split(characters, PROPERTY_DELIMITER):
        key, *value = _split(part, VALUE_DELIMITER, 1)
        column = _column(part, otherwise)
        if not _join(key):
            raise GrammarError(column, "a parameter without a name")
        found.append(Property(_join(key), _join(value[0]) if value else "", column))
    return tuple(found)


def _is_property_list(characters: _Characters) -> bool:
    return any(character.text == VALUE_DELIMITER and not character.literal for character in characters)


def _split_segments(text: str) -> list[_Characters]:
    return _split(_scan(text), SEGMENT_DELIMITER)


def parse_segments(text: str) -> tuple[Segment, ...]:
    """
    Take C{text} apart.

    @return: one segment more than there are colons; at least one.
    @raises GrammarError: a quote or escape is not ended, or a parameter has no name.
    """
    found = []
    column = 1
    for part in _split_segments(text):
        column = _column(part, column)
        properties = _read_properties(part, column) if _is_property_list(part) else None
        found.append(Segment(_join(part), properties, column))
    return tuple(found)


def _take_apart(text: str, form: str, positional: int) -> tuple[list[str], tuple[Property, ...]]:
    """
    Up to C{positional} plain segments, then at most one list of parameters.

    A list may come early, as C{pass:interval=5000}, in place of the segments left out.
    """
    parts = _split_segments(text)
    plain: list[str] = []
    while parts and len(plain) < positional and not _is_property_list(parts[0]):
        plain.append(_join(parts.pop(0)))
    properties: tuple[Property, ...] = ()
    if parts:
        properties = _read_properties(parts.pop(0), len(text))
    if parts:
        column = _column(parts[0], len(text))
        raise GrammarError(column, f"too many segments for {form}; quote a value that holds ':'")
    return plain + [""] * (positional - len(plain)), properties


def parse_port_binding(text: str) -> PortBinding:
    """
    Take apart C{<public>:<local>:<tcp|udp>:<parameters>}.

    @raises GrammarError: it has another form.
    """
    (public, local, protocol), properties = _take_apart(text, PORT_BINDING_FORM, 3)
    if not public or not local:
        raise GrammarError(1, "a port binding names two ports, or ? or ! in their places")
    return PortBinding(public, local, protocol, properties)


def parse_backend(text: str) -> Backend:
    """
    Take apart C{<name>:<protocol>:<parameters>}.

    @raises GrammarError: it has another form.
    """
    (name, protocol), properties = _take_apart(text, BACKEND_FORM, 2)
    if not name or not protocol:
        raise GrammarError(1, "a backend begins with its name and its protocol")
    return Backend(name, protocol, properties)


def parse_health_check(text: str) -> HealthCheck:
    """
    Take apart C{<protocol>:[backend]:<parameters>}.

    @raises GrammarError: it has another form.
    """
    (protocol, backend), properties = _take_apart(text, HEALTH_CHECK_FORM, 2)
    return HealthCheck(protocol, backend, properties)


def quote(text: str) -> str:
    """C{text} as it is written in the grammar: in quotes where it must be."""
    special = (SEGMENT_DELIMITER, PROPERTY_DELIMITER, VALUE_DELIMITER, QUOTE)
    if text == text.strip() and not any(character in text for character in special):
        return text
    escaped = text.replace(ESCAPE, ESCAPE * 2).replace(QUOTE, ESCAPE + QUOTE)
    return f"{QUOTE}{escaped}{QUOTE}"


def format_properties(properties: Iterable[Property]) -> str:
    """What L{parse_segments} reads as C{properties}."""
    return PROPERTY_DELIMITER.join(
        f"{quote(each.key)}{VALUE_DELIMITER}{quote(each.value)}" for each in properties
    )


def format_segments(segments: Iterable[Segment]) -> str:
    """What L{parse_segments} reads as C{segments}, but for their columns."""
    return SEGMENT_DELIMITER.join(
        quote(each.text) if each.properties is None else format_properties(each.properties)
        for each in segments
    )
