"""The listeners: seeing them, and changing them while pmmux runs, until it is started or reloaded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from pmmux.config.settings import ListenerSpec
from pmmux.control import protocol
from pmmux.control.arguments import name_argument, options_argument
from pmmux.control.command import Command
from pmmux.control.finding import find_listener
from pmmux.control.protocol import CommandError
from pmmux.control.reading import read_listener
from pmmux.control.tables import table
from pmmux.errors import ListenError
from pmmux.nat.wanted import list_wanted

Tell = Callable[[Any], None]

_log = Logger()
_COLUMNS = (
    ("name", "LISTENER"),
    ("transport", "PROTOCOL"),
    ("addresses", "ACCEPTS ON"),
    ("public_port", "PUBLIC PORT"),
    ("open", "OPEN"),
)
_NAME = name_argument("listener")
_OPTIONS = options_argument("port=8443, bind=127.0.0.1")


async def _list(service: Any, arguments: Mapping[str, Any], tell: Tell) -> list[dict[str, Any]]:
    connections = _connections(service)
    return [_describe(listener, connections) for listener in service.multiplexer.listeners()]


def _connections(service: Any) -> Counter[str]:
    courses = service.multiplexer.courses.values()
    return Counter(getattr(course, "connection", course).listener for course in courses)


def _describe(listener: Any, connections: Mapping[str, int]) -> dict[str, Any]:
    spec = listener.spec
    sessions = getattr(getattr(listener, "table", None), "sessions", ())
    return {
        "name": spec.name,
        "transport": spec.transport,
        "addresses": [str(address) for address in listener.addresses()],
        "public_port": spec.public_port,
        "open": connections.get(spec.name, 0) + len(sessions),
        "defined": str(spec.options.location),
    }


def _show(result: list[dict[str, Any]]) -> Iterator[str]:
    return table(result, _COLUMNS, "no listeners")


def _show_one(result: dict[str, Any]) -> Iterator[str]:
    return _show([result])


async def _add(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    name = arguments["name"]
    running = [listener.spec for listener in service.multiplexer.listeners()]
    # One that is only mapped has the name too.
    mapped = [spec for spec in service.settings.listeners if not spec.listen]
    if any(spec.name == name for spec in (*running, *mapped)):
        raise CommandError(protocol.CONFLICT, f"there is a listener {name!r} already; replace it")
    spec = _read(service, arguments, running)
    _open(service.lifecycle.add_listener, spec)
    return _begun(service, spec)


async def _replace(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    old = find_listener(service, arguments["name"]).spec
    running = [each.spec for each in service.multiplexer.listeners() if each.spec.name != old.name]
    spec = _read(service, arguments, running)
    _open(service.lifecycle.replace_listener, spec)
    _unmap(service, old)
    return _begun(service, spec)


async def _remove(service: Any, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    spec = find_listener(service, arguments["name"]).spec
    service.lifecycle.remove_listener(spec.name)
    _unmap(service, spec)
    _log.info("listener {name} accepts no more", name=spec.name)
    return {"name": spec.name, "open": _connections(service)[spec.name]}


def _show_removed(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['name']} accepts no more; {result['open']} of its connections are open"


def _read(service: Any, arguments: Mapping[str, Any], running: list[ListenerSpec]) -> ListenerSpec:
    spec = read_listener(
        service.registry, service.settings, running, arguments["name"], arguments["options"] or {}
    )
    if not spec.listen:
        message = "a mapping without listening belongs into the configuration"
        raise CommandError(protocol.BAD_ARGUMENTS, message)
    return spec


def _open(how: Callable[[ListenerSpec], None], spec: ListenerSpec) -> None:
    try:
        how(spec)
    except ListenError as error:
        raise CommandError(protocol.REFUSED, "nothing has changed", (str(error),)) from None


def _begun(service: Any, spec: ListenerSpec) -> dict[str, Any]:
    listener = find_listener(service, spec.name)
    service.log_listener(listener)
    if service.nat is not None:
        for mapping in list_wanted([evolve(spec, port=listener.addresses()[0].port)]):
            service.nat.add(mapping)
    return _describe(listener, _connections(service))


def _unmap(service: Any, spec: ListenerSpec) -> None:
    if service.nat is not None and spec.public_port is not None:
        service.nat.remove(spec.name)


commands = (
    Command("listeners", "List the listeners.", _list, show=_show),
    Command(
        "listeners.add",
        "Accept connections or datagrams at one more place.",
        _add,
        (_NAME, _OPTIONS),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "listeners.replace",
        "Put a listener in the place of the one of its name, without a gap; connections live on.",
        _replace,
        (_NAME, _OPTIONS),
        show=_show_one,
        is_changing=True,
    ),
    Command(
        "listeners.remove",
        "Accept no more at a listener; its connections live on.",
        _remove,
        (_NAME,),
        show=_show_removed,
        is_changing=True,
    ),
)
