"""
SOCKS: a request of version 4 or 4a with C{socks.target}, or a greeting of version 5.

A client of version 5 names its target only after it was answered. C{socks.version} is C{4}, C{4a} or
C{5}.

@see: RFC 1928 section 3, SOCKS4 and SOCKS4a (OpenSSH, C{PROTOCOL} of SOCKS 4A)
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_host

_VERSION_4 = 4
_COMMANDS_4 = (1, 2)
_CONNECT = 1
_PORT = slice(2, 4)
_ADDRESS = slice(4, 8)
_FIXED_4_OCTETS = 8
_LONGEST_TEXT_OCTETS = 255
# 0.0.0.x, with x not zero, says that a name follows.
_NAME_FOLLOWS = b"\x00\x00\x00"
_USER = re.compile(rb"[ -~\x80-\xff]*")
_HOST = re.compile(rb"[0-9A-Za-z._:-]*")

_VERSION_5 = 5
_METHODS_AT = 2
# Those that IANA has assigned, and those for private use; "none acceptable" is the server's.
_METHODS = frozenset(range(10)) | frozenset(range(0x80, 0xFF))


def inspect(octets: bytes) -> Verdict:
    """Match a whole request of version 4, or a whole greeting of version 5."""
    if not octets:
        return need(1)
    if octets[0] == _VERSION_4:
        return _inspect_4(octets)
    return _inspect_5(octets) if octets[0] == _VERSION_5 else NO_MATCH


def _inspect_4(octets: bytes) -> Verdict:
    """Judge a request: command, port, address, user, and the name for 4a."""
    if len(octets) > 1 and octets[1] not in _COMMANDS_4:
        return NO_MATCH
    if len(octets) < _FIXED_4_OCTETS:
        return need(_FIXED_4_OCTETS if len(octets) > 1 else len(octets) + 1)
    port, address = int.from_bytes(octets[_PORT], "big"), octets[_ADDRESS]
    if not any(address) or (not port and octets[1] == _CONNECT):
        return NO_MATCH
    user_end = _find_end(octets, _FIXED_4_OCTETS, _USER)
    if not isinstance(user_end, int):
        return user_end
    if not address.startswith(_NAME_FOLLOWS):
        return match({"socks.version": "4", "socks.target": f"{IPv4Address(address)}:{port}"})
    start = user_end + 1
    end = _find_end(octets, start, _HOST)
    if not isinstance(end, int):
        return end
    if end == start:
        return NO_MATCH
    host = read_host(octets[start:end])
    return match(
        {"socks.version": "4a", "socks.target": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    )


def _find_end(octets: bytes, start: int, kind: re.Pattern[bytes]) -> int | Verdict:
    """The index of the NUL after a text of that kind; the verdict where there is none."""
    limit = start + _LONGEST_TEXT_OCTETS
    end = octets.find(b"\0", start, limit + 1)
    if not kind.fullmatch(octets, start, limit if end < 0 else end) or (end < 0 and len(octets) > limit):
        return NO_MATCH
    return end if end >= 0 else need(len(octets) + 1)


def _inspect_5(octets: bytes) -> Verdict:
    """Judge a greeting: how many methods, and which, each once."""
    if len(octets) < _METHODS_AT:
        return need(_METHODS_AT)
    end = _METHODS_AT + octets[1]
    methods = octets[_METHODS_AT:end]
    if not octets[1] or octets[1] > len(_METHODS) or not _METHODS.issuperset(methods):
        return NO_MATCH
    if len(set(methods)) != len(methods):
        return NO_MATCH
    return match({"socks.version": "5"}) if len(octets) >= end else need(end)


probe = Probe(name="socks", transport="tcp", provides=("socks.",), inspect=inspect)
