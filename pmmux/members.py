"""The backends a router has: their state, and an index that finds those a connection may match."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from attrs import define, field

from pmmux.capacity import Capacity, capacity_of
from pmmux.conditions import NAME_PROPERTIES, SNI_PROPERTY, AllOf, PropertyCondition
from pmmux.inspection import Inspection
from pmmux.interfaces import IProtocolBackend
from pmmux.model import BackendInfo, PriorityTier, Status, Verdict

#: For how many names it is kept who takes them.
KNOWN_NAMES_LIMIT = 4096


class Member:
    """
    A backend in the router, as strategies see it.

    @ivar routed: connections and messages routed to it so far.
    @ivar active: those open now.
    @ivar weight: the backend's own, or less while it starts slowly.
    @ivar is_offered: whether C{status} lets it be offered; kept in step with it.
    @ivar answers_itself: whether it is an L{IProtocolBackend}.
    @ivar capacity: its limit of connections; C{None} for none.
    @ivar express_target: where the express lane may go; C{None} where it may not.
    @ivar first_octet: the time its upstream takes to say something; made when it is first observed.
    """

    __slots__ = (
        "__weakref__",
        "_status",
        "active",
        "answers_itself",
        "backend",
        "capacity",
        "condition",
        "express_target",
        "first_octet",
        "is_offered",
        "name",
        "routed",
        "tier",
        "weight",
    )

    def __init__(self, backend: Any) -> None:
        """@param backend: L{pmmux.interfaces.IBackend}"""
        condition = backend.condition
        self.backend = backend
        self.name: str = backend.name
        self.tier: PriorityTier = backend.tier
        self.weight: float = backend.weight
        self.condition = condition
        self.routed = 0
        self.active = 0
        self.answers_itself: bool = IProtocolBackend.providedBy(backend)
        self.capacity: Capacity | None = capacity_of(backend)
        # Who may have to wait for room takes the general course.
        self.express_target = None if self.capacity is not None else getattr(backend, "express_target", None)
        self.first_octet: Any = None
        self._status = Status.UNKNOWN
        self.is_offered = True

    @property
    def status(self) -> Status:
        """Kept by the health monitor and the lifecycle."""
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        self._status = status
        self.is_offered = status.is_offered

    def info(self) -> BackendInfo:
        """What reports may know."""
        protocol = self.backend.spec.protocol
        return BackendInfo(self.name, protocol, self.tier, self.status, self.weight, self.routed, self.active)


@define(slots=True, eq=False)
class _NameGroup:
    """Members that each ask for certain names of one property; found by the name."""

    name: str
    ignores_case: bool
    positions: list[int] = field(factory=list)
    exact: dict[str, list[int]] = field(factory=dict)
    wildcard: dict[str, list[int]] = field(factory=dict)

    def add(self, position: int, condition: PropertyCondition) -> None:
        self.positions.append(position)
        for name in condition.names.exact:
            self.exact.setdefault(name, []).append(position)
        for name in condition.names.wildcards:
            self.wildcard.setdefault(name, []).append(position)

    def find(self, value: str | None) -> list[int]:
        if value is None:
            return []
        if self.ignores_case:
            value = value.lower()
        exact = self.exact.get(value, [])
        wildcard = self.wildcard.get(value.partition(".")[2], []) if self.wildcard else []
        if not wildcard:
            return exact
        return sorted({*exact, *wildcard}) if exact else wildcard


class _Cursor:
    """Walks the positions of members without a name."""

    __slots__ = ("_at", "_positions")

    def __init__(self, positions: list[int]) -> None:
        self._positions = positions
        self._at = 0

    def peek(self) -> int | None:
        """The next position, or one that is not above it; C{None} at the end."""
        return self._positions[self._at] if self._at < len(self._positions) else None

    def take(self, inspection: Inspection) -> int | None:
        """The next position; C{None} to be asked again after another L{peek}."""
        position = self._positions[self._at]
        self._at += 1
        return position


class _NameCursor(_Cursor):
    """
    Walks a L{_NameGroup}: once the name is known only its own positions; before that each member
    in turn, because its other conditions may refuse without waiting for the name.
    """

    __slots__ = ("_group", "_known")

    def __init__(self, group: _NameGroup) -> None:
        super().__init__(group.positions)
        self._group = group
        self._known = False

    def take(self, inspection: Inspection) -> int | None:
        if not self._known:
            value = inspection.value(self._group.name)
            if value.__class__ is not Verdict:
                last = self._positions[self._at - 1] if self._at else -1
                found = self._group.find(value)  # type: ignore[arg-type]
                self._positions = [position for position in found if position > last]
                self._at = 0
                self._known = True
                return None
        return super().take(inspection)


class MemberIndex:
    """
    Members in definition order, found without looking at those whose names cannot match.

    A member is found by name where one of its conditions is a property that must be one of certain
    names; all others are walked.

    @ivar asks_names_first: whether there are members that L{first_named} may find.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._plain: list[int] = []
        self._groups: dict[str, _NameGroup] = {}
        for position, member in enumerate(members):
            condition = _name_condition(member.condition)
            if condition is None:
                self._plain.append(position)
            else:
                name = condition.name
                group = self._groups.setdefault(name, _NameGroup(name, name in NAME_PROPERTIES))
                group.add(position, condition)
        # The first ones that ask for nothing but the name in the TLS hello: that alone decides for them.
        self._named = _NameGroup(SNI_PROPERTY, ignores_case=True)
        self._patterned: list[tuple[int, PropertyCondition]] = []
        for position, member in enumerate(members):
            only = _server_name_condition(member.condition)
            if only is None:
                break
            if only.negated or only.patterns:
                self._patterned.append((position, only))
            else:
                self._named.add(position, only)
        self.asks_names_first = bool(self._named.positions or self._patterned)
        # What was found for a name.
        self._known_names: dict[str, tuple[Member, ...]] = {}
        # Where names are all that any member asks for, nothing else is to be evaluated.
        self._only_names: _NameGroup | None = None
        if len(self._groups) == 1 and all(_asks_names_only(member.condition) for member in members):
            (self._only_names,) = self._groups.values()
        self._before_octets: list[tuple[Member, bool]] | None = None

    def must_hear_first(self, probes: Container[str]) -> bool:
        """
        Whether the first member that is offered and may match at all is undecided for certain before the
        first octet.

        @param probes: the names of those of the transport; always the same ones.
        """
        if self._before_octets is None:
            self._before_octets = [
                (member, isinstance(condition, AllOf) and condition.depends_on_octets(probes))
                for member in self._members
                if not isinstance(condition := member.condition, AllOf) or condition.can_match(probes)
            ]
        for member, depends_on_octets in self._before_octets:
            if member.is_offered:
                return depends_on_octets
        return False

    def first_now(self, inspection: Inspection, refused: list[Member]) -> Member | None:
        """
        The first member that is offered and matches, as far as that can be told now.

        @param refused: takes those before it that do not match or are not offered, unless they were
            passed over by their names.
        @return: C{None} where there is none, where it takes more octets to tell, and where the octets
            are a broken instance of a protocol.
        """
        if self._only_names is not None:
            value = inspection.value(self._only_names.name)
            if value is None or value.__class__ is Verdict:
                return None
            for position in self._only_names.find(value):  # type: ignore[arg-type]
                member = self._members[position]
                if member.is_offered:
                    return member
                refused.append(member)
            return None
        for member in self.in_order(inspection):
            if member.is_offered:
                verdict = member.condition.evaluate(inspection)
                if verdict.matched is None or verdict.fault is not None:
                    return None
                if verdict.matched:
                    return member
            refused.append(member)
        return None

    def first_named(self, server_name: str, refused: list[Member]) -> Member | None:
        """
        As L{first_now}, for a TLS hello of which nothing but the name is known.

        @return: C{None} where the name alone does not tell.
        """
        found = self._known_names.get(server_name)
        if found is None:
            found = self._find_named(server_name)
        for member in found:
            if member.is_offered:
                return member
            refused.append(member)
        return None

    def _find_named(self, server_name: str) -> tuple[Member, ...]:
        positions = [*self._named.find(server_name)]
        positions += [at for at, each in self._patterned if each.takes(server_name)]
        found = tuple(self._members[position] for position in sorted(positions))
        if len(self._known_names) >= KNOWN_NAMES_LIMIT:
            self._known_names.clear()
        self._known_names[server_name] = found
        return found

    def in_order(self, inspection: Inspection) -> Iterator[Member]:
        """The members that C{inspection} may match, lazily, in definition order."""
        if not self._groups:
            return iter(self._members)
        return self._merge(inspection)

    def _merge(self, inspection: Inspection) -> Iterator[Member]:
        cursors: list[_Cursor] = [_NameCursor(group) for group in self._groups.values()]
        if self._plain:
            cursors.append(_Cursor(self._plain))
        while cursors:
            nearest = None
            lowest = -1
            for cursor in cursors:
                position = cursor.peek()
                if position is not None and (nearest is None or position < lowest):
                    nearest, lowest = cursor, position
            if nearest is None:
                return
            taken = nearest.take(inspection)
            if taken is not None:
                yield self._members[taken]


def _server_name_condition(condition: Any) -> PropertyCondition | None:
    """The one condition there is, where that asks for the name in the TLS hello."""
    if isinstance(condition, AllOf) and len(condition.conditions) == 1:
        (only,) = condition.conditions
        if isinstance(only, PropertyCondition) and only.name == SNI_PROPERTY:
            return only
    return None


def _asks_names_only(condition: Any) -> bool:
    return _name_condition(condition) is not None and len(condition.conditions) == 1


def _name_condition(condition: Any) -> PropertyCondition | None:
    if not isinstance(condition, AllOf):
        return None
    for part in condition.conditions:
        if isinstance(part, PropertyCondition) and not part.negated and not part.patterns:
            return part
    return None
