"""
The configuration as everything else sees it: typed, frozen, and comparable from load to load.

Two settings are equal where the same was written in the same order: sections are compared by their
text, as typed values (regular expressions, say) need not be comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from attrs import field, frozen

from pmmux.model import BackendSpec, SectionValues


def written(section: SectionValues) -> tuple[str, str, dict[str, str]]:
    """What C{section} is compared by."""
    return section.kind, section.name, dict(section.raw)


def _all_written(sections: Iterable[SectionValues]) -> list[Any]:
    return [written(section) for section in sections]


def _backends_written(backends: Iterable[BackendSpec]) -> list[Any]:
    return [(backend.name, backend.protocol, written(backend.options)) for backend in backends]


def _kinds_written(kinds: Mapping[str, Iterable[SectionValues]]) -> dict[str, list[Any]]:
    return {kind: _all_written(sections) for kind, sections in kinds.items() if sections}


@frozen
class ListenerSpec:
    """
    A listener as configured.

    @ivar name: unique among the listeners.
    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar binds: IP addresses as text, zones included; empty for all addresses of both families.
    @ivar unix_path: the path of a unix socket, in place of addresses and port.
    @ivar port: 1 to 65535; C{None} for one that the system chooses, and for a unix socket.
    @ivar public_port: what a gateway forwards here: a port, C{"?"} for any, C{None} for LAN only.
    @ivar listen: C{False} where only the mapping is wanted.
    @ivar options: the whole section, for what extensions added to it.
    """

    name: str
    transport: str
    binds: tuple[str, ...]
    unix_path: str | None
    port: int | None
    public_port: int | Literal["?"] | None
    listen: bool
    options: SectionValues = field(eq=written, repr=False)


@frozen
class Settings:
    """
    Everything configured.

    @ivar globals: the options of C{[pmmux]}; those not written have their defaults.
    @ivar listeners: in definition order, as the following.
    @ivar health_checks: C{get("protocol")} is also known where only the backend was named.
    @ivar sections: by kind, those of extensions; a kind of which nothing was written is there, empty.
    @ivar source: the file's path, C{None} without a file.
    """

    globals: SectionValues = field(eq=written)
    listeners: tuple[ListenerSpec, ...]
    backends: tuple[BackendSpec, ...] = field(eq=_backends_written)
    health_checks: tuple[SectionValues, ...] = field(eq=_all_written)
    sections: Mapping[str, tuple[SectionValues, ...]] = field(eq=_kinds_written)
    source: str | None = None
