"""Sections from the compact forms of port bindings, backends and health checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from attrs import evolve

from pmmux.config import grammar
from pmmux.config.draft import BACKEND, HEALTH_CHECK, LISTENER, DraftSection, Entry
from pmmux.config.faults import FaultList
from pmmux.config.values import ANY_PORT, LAN_ONLY
from pmmux.model import Location

BIND_PARAMETERS = frozenset({"bind-address", "bind"})
TRANSPORTS = ("tcp", "udp")

_Expand = Callable[[str, Location, set[str]], Iterator[DraftSection]]


def expand_list(entry: Entry, kind: str, taken: set[str], faults: FaultList) -> list[DraftSection]:
    """
    @param entry: an option that holds sections of C{kind} in compact form.
    @param taken: names of this source's listeners so far; those made here are added.
    @return: the sections, without those whose form is wrong, which was reported then.
    """
    form, expand = _FORMS[kind]
    sections: list[DraftSection] = []
    for text, location in entry.items():
        try:
            sections.extend(expand(text, location, taken))
        except grammar.GrammarError as error:
            faults.add(location, str(error), form)
    if entry.is_hidden:
        return [
            evolve(each, entries=tuple(evolve(option, is_hidden=True) for option in each.entries))
            for each in sections
        ]
    return sections


def _expand_port_binding(text: str, location: Location, taken: set[str]) -> Iterator[DraftSection]:
    """One listener for each transport; the same port bound twice gets names that differ."""
    binding = grammar.parse_port_binding(text)
    public = () if binding.public == LAN_ONLY else (("public-port", binding.public),)
    parameters = tuple((each.key, each.value) for each in binding.properties)
    binds = "".join(f"@{value}" for key, value in parameters if key in BIND_PARAMETERS)
    port = "any" if binding.local in (ANY_PORT, "0") else binding.local
    for transport in (binding.protocol,) if binding.protocol else TRANSPORTS:
        options = (("port", binding.local), ("protocol", transport), *public, *parameters)
        first = name = f"{port}/{transport}{binds}"
        count = 1
        while name in taken:
            count += 1
            name = f"{first}#{count}"
        taken.add(name)
        yield _section(LISTENER, name, options, location)


def _expand_backend(text: str, location: Location, taken: set[str]) -> Iterator[DraftSection]:
    backend = grammar.parse_backend(text)
    parameters = ((each.key, each.value) for each in backend.properties)
    yield _section(BACKEND, backend.name, (("protocol", backend.protocol), *parameters), location)


def _expand_health_check(text: str, location: Location, taken: set[str]) -> Iterator[DraftSection]:
    check = grammar.parse_health_check(text)
    scope = tuple(pair for pair in (("protocol", check.protocol), ("backend", check.backend)) if pair[1])
    name = ":".join(value for _, value in scope) or "all"
    parameters = ((each.key, each.value) for each in check.properties)
    yield _section(HEALTH_CHECK, name, (*scope, *parameters), location)


def _section(kind: str, name: str, options: Iterable[tuple[str, str]], location: Location) -> DraftSection:
    place = evolve(location, section=f"{kind} {name}", option="")
    entries = tuple(Entry(key, value, evolve(place, option=key)) for key, value in options)
    return DraftSection(kind, name, entries, place)


_FORMS: Mapping[str, tuple[str, _Expand]] = MappingProxyType(
    {
        LISTENER: (grammar.PORT_BINDING_FORM, _expand_port_binding),
        BACKEND: (grammar.BACKEND_FORM, _expand_backend),
        HEALTH_CHECK: (grammar.HEALTH_CHECK_FORM, _expand_health_check),
    }
)
