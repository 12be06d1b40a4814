"""
From what is configured, registered and listened on to the NAT service of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from pmmux.config.settings import ListenerSpec, Settings
from pmmux.interfaces import INATDriver
from pmmux.model import OptionKey, SectionValues
from pmmux.nat.places import find_state_path
from pmmux.nat.service import NATService
from pmmux.nat.settings import NAT_SECTION, NATSettings, Reporter, WantedMapping
from pmmux.nat.wanted import list_wanted, read_settings

_STATE_FILE = OptionKey("state-file")
_log = Logger()


def find_section(settings: Settings) -> SectionValues | None:
    """@return: the C{[nat]} section; C{None} where nothing of it is written."""
    return next(iter(settings.sections.get(NAT_SECTION.kind, ())), None)


def make_service(
    reactor: Any,
    settings: Settings,
    drivers: Sequence[INATDriver],
    listeners: Iterable[Any],
    reporter: Reporter,
    environment: Mapping[str, str] = os.environ,
) -> NATService | None:
    """
    Compose the NAT service; to be called when the listening sockets are open.

    @param listeners: the L{pmmux.interfaces.IListener}s that are open, whose ports are therefore known.
    @return: C{None} where no gateway is to be asked.
    """
    if settings.globals.get("mux-only"):
        return None
    chosen = choose_settings(settings, environment)
    return NATService(reactor, chosen, _list_wanted(settings, listeners), reporter, drivers=drivers)


def use_settings(
    service: NATService,
    settings: Settings,
    listeners: Iterable[Any],
    environment: Mapping[str, str] = os.environ,
) -> tuple[str, ...]:
    """
    Let a running service go on by other settings.

    @param listeners: as in L{make_service}.
    @return: names of the options that change only when it is started again.
    """
    chosen = choose_settings(settings, environment)
    service.use(chosen, _list_wanted(settings, listeners))
    return () if chosen.state_path == service.settings.state_path else (f"[nat] {_STATE_FILE}",)


def _list_wanted(settings: Settings, listeners: Iterable[Any]) -> Sequence[WantedMapping]:
    return list_wanted(_settle_ports(settings.listeners, listeners))


def choose_settings(settings: Settings, environment: Mapping[str, str]) -> NATSettings:
    """@return: as configured, with a state file of this configuration's own where none is named."""
    section = find_section(settings)
    chosen = read_settings(section, settings.globals)
    if section is not None and _STATE_FILE in section.values:
        return chosen
    path = find_state_path(settings.source, environment)
    if not path:
        _log.warn("NAT: no directory for the state file, since there is no home; set state-file in [nat]")
    return evolve(chosen, state_path=path)


def _settle_ports(specs: Iterable[ListenerSpec], listeners: Iterable[Any]) -> Iterator[ListenerSpec]:
    """Write into each the port it listens on, which the system may have chosen, or that it does not."""
    ports = {listener.spec.name: listener.addresses()[0].port for listener in listeners}
    for spec in specs:
        port = ports.get(spec.name)
        yield evolve(spec, listen=False) if port is None else evolve(spec, port=port)
