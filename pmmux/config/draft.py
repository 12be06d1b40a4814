"""What the readers of all sources produce: sections of text, with the place of each piece."""

from __future__ import annotations

from attrs import frozen

from pmmux.model import Location

PMMUX = "pmmux"
LISTENER = "listener"
BACKEND = "backend"
HEALTH_CHECK = "health-check"


@frozen(slots=True)
class Entry:
    """
    One option as written.

    @ivar option: with key and negation, not yet taken apart.
    @ivar value: a tuple where the source has lists of its own; C{None} where it could not be read,
        which was reported then.
    @ivar item_locations: of each item of a tuple, or of each line of a text; may be empty.
    @ivar is_hidden: whether C{value} holds something that must not be shown.
    """

    option: str
    value: str | tuple[str, ...] | None
    location: Location
    item_locations: tuple[Location, ...] = ()
    is_hidden: bool = False

    def items(self) -> tuple[tuple[str, Location], ...]:
        """The items of a tuple, or the lines of a text that are not empty, each with its place."""
        if self.value is None:
            return ()
        texts = self.value.split("\n") if isinstance(self.value, str) else self.value
        found = []
        for index, text in enumerate(texts):
            if text.strip():
                places = self.item_locations
                found.append((text.strip(), places[index] if index < len(places) else self.location))
        return tuple(found)


@frozen(slots=True)
class DraftSection:
    """
    One section as written.

    @ivar name: empty where it has none.
    """

    kind: str
    name: str
    entries: tuple[Entry, ...]
    location: Location

    @property
    def title(self) -> str:
        """As it stands between square brackets."""
        return f"{self.kind} {self.name}" if self.name else self.kind
