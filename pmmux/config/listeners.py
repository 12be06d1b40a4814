"""Listeners from their sections, and whether two of them want the same port."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from pmmux.config.faults import FaultList, clean
from pmmux.config.settings import ListenerSpec
from pmmux.config.values import UNIX_PREFIX
from pmmux.model import OptionKey, SectionValues

_BIND = OptionKey("bind")
_PORT = OptionKey("port")
_PROTOCOL = OptionKey("protocol")
_PUBLIC_PORT = OptionKey("public-port")


def make_listener(section: SectionValues, faults: FaultList) -> ListenerSpec:
    """
    Make a listener of C{section}, and report what in it does not go together.
    """
    binds = tuple(dict.fromkeys(section.get("bind") or ()))
    unix_paths = [bind.removeprefix(UNIX_PREFIX) for bind in binds if bind.startswith(UNIX_PREFIX)]
    spec = ListenerSpec(
        section.name,
        section.get("protocol") or "tcp",
        () if unix_paths else binds,
        unix_paths[0] if unix_paths else None,
        section.get("port"),
        section.get("public-port"),
        section.get("listen") is not False,
        section,
    )
    if unix_paths:
        _check_unix(spec, len(binds), faults)
    elif _PORT not in section.locations:
        faults.add(section.location, "port is missing", "port = a port number, or ? to let the system choose")
    elif _PORT in section.values and spec.port is None and not spec.listen and spec.public_port is None:
        faults.add(section.where(_PORT), "a mapping without listening needs a port number")
    return spec


def _check_unix(spec: ListenerSpec, bind_count: int, faults: FaultList) -> None:
    section = spec.options
    if bind_count > 1:
        faults.add(section.where(_BIND), "a unix socket stands alone", "one unix: path, or IP addresses")
    if _PORT in section.locations:
        faults.add(section.where(_PORT), "a unix socket has no port")
    if spec.transport != "tcp":
        faults.add(section.where(_PROTOCOL), "a unix socket takes connections only", "tcp")
    if spec.public_port is not None:
        faults.add(section.where(_PUBLIC_PORT), "a unix socket cannot be mapped")


def report_conflicts(listeners: Sequence[ListenerSpec], faults: FaultList) -> None:
    """Report each listener that would find its port, or its unix socket, taken by one before it."""
    by_place: dict[object, list[ListenerSpec]] = defaultdict(list)
    for listener in listeners:
        section = listener.options
        is_readable = (_BIND in section.locations) is (_BIND in section.values)
        has_place = listener.unix_path is not None or listener.port is not None
        if listener.listen and is_readable and has_place:
            by_place[listener.transport, listener.port, listener.unix_path].append(listener)
    for contenders in by_place.values():
        reported = set()
        for earlier, later in combinations(contenders, 2):
            if id(later) not in reported and _overlap(earlier.binds, later.binds):
                reported.add(id(later))
                place = later.options.where(_BIND if later.unix_path is not None else _PORT)
                faults.add(place, f"is what the listener {clean(earlier.name)} listens on already")


def _overlap(first: Sequence[str], second: Sequence[str]) -> bool:
    if not first or not second:
        return True
    return any(_collide(one, other) for one in first for other in second)


def _collide(one: str, other: str) -> bool:
    """Whether two addresses cannot be bound to the same port; a wildcard takes its own family only."""
    left, right = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if left.version != right.version:
        return False
    return left == right or left.is_unspecified or right.is_unspecified
