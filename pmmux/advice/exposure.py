"""What is open to more people than meant, and what leads back to where it came from."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

from pmmux.advice.advice import Advice, Subject
from pmmux.backends.passthrough import target_of
from pmmux.config.settings import ListenerSpec
from pmmux.config.values import Target
from pmmux.model import OptionKey, SectionValues

# What steers, or tells of, a running pmmux. Kinds and options that a configuration does not know are
# never written in it.
METRICS_OPTION = "metrics-listen"
MANAGEMENT_OPTIONS = ("control-listen", METRICS_OPTION, "management-listen")
MANAGEMENT_SECTIONS = ("management", "http-api", "metrics")
_READS = "whoever reaches it reads how busy this pmmux is, and the names of its listeners and backends"
_STEERS = "whoever reaches it may try to steer this pmmux, and the token crosses the network as it is"
_PLACES = ("listen", "bind", "bind-address", "address")
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.", "ip6-localhost"})
# By the version of IP, the longest prefix that is no network of anybody's own.
_WIDEST_PREFIX_BITS = {4: 7, 6: 15}


def advise(subject: Subject) -> Iterator[Advice]:
    """See the module."""
    yield from _advise_on_management(subject)
    yield from _advise_on_proxies(subject)
    yield from _advise_on_loops(subject)


def _advise_on_management(subject: Subject) -> Iterator[Advice]:
    written: list[tuple[SectionValues, tuple[str, ...]]] = [(subject.settings.globals, MANAGEMENT_OPTIONS)]
    for kind in MANAGEMENT_SECTIONS:
        written.extend((section, _PLACES) for section in subject.settings.sections.get(kind, ()))
    for section, names in written:
        for name in names:
            for place in _each(section.get(name)):
                if place is not None and not _is_loopback(place):
                    yield Advice(
                        section.where(OptionKey(name)),
                        "management-open",
                        f"{name} = {place} can be reached from other machines",
                        _READS if name == METRICS_OPTION else _STEERS,
                        f"{name} = 127.0.0.1 with its port, and ssh or a VPN to get there",
                    )


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_loopback(place: Any) -> bool:
    host = place.host if isinstance(place, Target) else str(place)
    if not host or host.startswith(("unix:", "/", "@")):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES


def _advise_on_proxies(subject: Subject) -> Iterator[Advice]:
    for listener in subject.settings.listeners:
        options = listener.options
        if options.get("proxy-protocol") not in ("use", "require"):
            continue
        networks = options.get("proxy-protocol-from") or ()
        wide = [each for each in networks if each.prefixlen <= _WIDEST_PREFIX_BITS[each.version]]
        if wide:
            listed = ", ".join(map(str, wide))
            yield Advice(
                options.where(OptionKey("proxy-protocol-from")),
                "proxy-from-anyone",
                f"listener {listener.name} believes the PROXY header of every address in {listed}",
                "whoever connects can claim to be anyone: remote-ip and the logs then say what he likes",
                "proxy-protocol-from with the addresses of the proxies alone",
            )


def _advise_on_loops(subject: Subject) -> Iterator[Advice]:
    for spec in subject.settings.backends:
        if spec.protocol != "pass":
            continue
        target = target_of(spec.options)
        for listener in subject.settings.listeners:
            if listener.listen and _leads_to(target, listener):
                written = [
                    name for name in ("target", "target.port") if OptionKey(name) in spec.options.values
                ]
                yield Advice(
                    spec.options.where(OptionKey(written[0] if written else "target")),
                    "loop",
                    f"the target {target} is the listener {listener.name} itself",
                    "each connection would come in again and again, until none is left",
                    "the address and port of the server behind",
                )
                break


def _leads_to(target: Target, listener: ListenerSpec) -> bool:
    if target.unix_path is not None or listener.unix_path is not None:
        return target.unix_path is not None and target.unix_path == listener.unix_path
    if listener.port != target.port:
        return False
    if target.host.lower() in _LOOPBACK_NAMES:
        hosts = ["127.0.0.1", "::1"]
    elif target.is_name:
        return False
    else:
        hosts = [target.host]
    return any(_is_bound(listener, host) for host in hosts)


def _is_bound(listener: ListenerSpec, host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    wildcard = "::" if address.version == 6 else "0.0.0.0"  # noqa: PLR2004  # the version of IP
    if host in listener.binds:
        return True
    if listener.binds and wildcard not in listener.binds:
        return False
    return address.is_loopback or address.is_unspecified or _is_ours(host)


def _is_ours(host: str) -> bool:
    """Whether C{host} is an address of this machine: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
