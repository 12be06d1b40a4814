"""What a request names, found in the running service; or a refusal that says what there is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pmmux.config.suggest import LISTED_LIMIT, nearest
from pmmux.control.protocol import NOT_AVAILABLE, NOT_FOUND, CommandError
from pmmux.interfaces import IHealthMonitor


def find_member(service: Any, name: str) -> Any:
    """
    The L{pmmux.members.Member} of the backend C{name}.

    @raises CommandError: there is none.
    """
    member = service.router.member(name)
    if member is None:
        raise absent("backend", name, [each.name for each in service.router.members()])
    return member


def find_listener(service: Any, name: str) -> Any:
    """
    The L{pmmux.interfaces.IListener} C{name}.

    @raises CommandError: there is none.
    """
    listeners = {each.spec.name: each for each in service.multiplexer.listeners()}
    if name not in listeners:
        raise absent("listener", name, listeners)
    return listeners[name]


def find_monitor(service: Any) -> Any:
    """The L{IHealthMonitor}; C{None} where there is none."""
    return getattr(service, "health", None) or service.registry.get(IHealthMonitor)


def require_monitor(service: Any) -> Any:
    """
    The L{IHealthMonitor}.

    @raises CommandError: there is none.
    """
    monitor = find_monitor(service)
    if monitor is None:
        raise CommandError(NOT_AVAILABLE, "this pmmux checks no health")
    return monitor


def absent(kind: str, name: str, names: Iterable[str]) -> CommandError:
    """The refusal where C{name} is none of C{names}."""
    known = list(names)
    close = nearest(name, known)
    if close:
        hint = f"; did you mean {close!r}?"
    elif len(known) > LISTED_LIMIT:
        hint = f"; there are {len(known)}"
    else:
        hint = f"; there are {', '.join(known) or 'none'}"
    return CommandError(NOT_FOUND, f"there is no {kind} {name[:100]!r}{hint}")
