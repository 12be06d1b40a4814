"""
From the configuration to what the NAT service is given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pmmux.config.settings import ListenerSpec
from pmmux.config.suggest import nearest, one_of
from pmmux.errors import Fault
from pmmux.escape import printable
from pmmux.model import OptionKey, SectionValues
from pmmux.nat.settings import ANY_PORT, IPV4, IPV6, NATSettings, WantedMapping

_ALL_PROTOCOLS = "all"
_FIELDS = {
    "protocol": "protocols",
    "gateway": "gateway",
    "interface": "interface",
    "lifetime": "lifetime_seconds",
    "renewal-lead": "renewal_lead_seconds",
    "strict": "strict",
    "timeout": "timeout_seconds",
    "poll-interval": "poll_seconds",
    "state-file": "state_path",
}
_GLOBAL_FIELDS = {
    "gateway": "gateway",
    "network-interface": "interface",
    "port-map-protocol": "protocols",
    "port-map-lifetime": "lifetime_seconds",
    "port-map-renewal-lead": "renewal_lead_seconds",
}


def read_settings(section: SectionValues | None, global_options: SectionValues | None = None) -> NATSettings:
    """
    Make settings of the C{[nat]} section; what is absent there, of C{[pmmux]}.

    @param section: C{None} where there is none.
    @param global_options: the options of C{[pmmux]} that the reference has for this.
    """
    fields: dict[str, Any] = {}
    for source, names in ((global_options, _GLOBAL_FIELDS), (section, _FIELDS)):
        for key, value in source.values.items() if source is not None else ():
            if key.name in names and value is not None:
                fields[names[key.name]] = value
    protocols = fields.get("protocols")
    if isinstance(protocols, str):
        if protocols == _ALL_PROTOCOLS:
            del fields["protocols"]
        else:
            fields["protocols"] = (protocols,)
    return NATSettings(**fields)


def find_faults(section: SectionValues | None, drivers: Collection[str]) -> Iterator[Fault]:
    """
    Check of the C{[nat]} section what its single options cannot tell.

    @param section: C{None} where there is none.
    @param drivers: the names of those there are.
    """
    if section is None:
        return
    protocol, lead = OptionKey("protocol"), OptionKey("renewal-lead")
    for name in section.values.get(protocol, ()):
        if name not in drivers:
            message = f'there is no NAT driver "{printable(name)}"'
            yield Fault(section.where(protocol), message, one_of(drivers), nearest(name, drivers))
    lead_seconds, lifetime = section.values.get(lead), section.values.get(OptionKey("lifetime"))
    if lead_seconds is not None and lifetime is not None and lead_seconds >= lifetime:
        yield Fault(section.where(lead), f"is not shorter than lifetime, which is {lifetime:g}s")


def list_wanted(listeners: Iterable[ListenerSpec]) -> tuple[WantedMapping, ...]:
    """@return: what the listeners want of the gateway; nothing for those with no public port."""
    return tuple(wanted for listener in listeners for wanted in _list_of_one(listener))


def _list_of_one(listener: ListenerSpec) -> Iterator[WantedMapping]:
    if listener.public_port is None or listener.unix_path is not None:
        return
    public = listener.public_port if isinstance(listener.public_port, int) else ANY_PORT
    local = listener.port or ANY_PORT
    addresses = [ipaddress.ip_address(bind.partition("%")[0]) for bind in listener.binds]
    by_family = {
        family: tuple(str(address) for address in addresses if address.version == family)
        for family in (IPV4, IPV6)
    }
    if by_family[IPV4] or not addresses:
        yield WantedMapping(
            listener.name,
            listener.transport,
            local,
            public,
            listens=listener.listen,
            addresses=by_family[IPV4],
        )
    # A firewall lets a port through and does not translate it, so the public port is the local one;
    # while that is left to the IPv4 mapping there is nothing to ask for.
    if (by_family[IPV6] or not addresses) and local != ANY_PORT:
        yield WantedMapping(
            listener.name,
            listener.transport,
            local,
            local,
            IPV6,
            listens=listener.listen,
            addresses=by_family[IPV6],
        )
