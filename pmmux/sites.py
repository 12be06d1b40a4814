"""What limits per address count as one."""

from __future__ import annotations

import ipaddress
from typing import Any

SITE_OCTETS = 8


def site_of(host: str) -> Any:
    """An IPv4 address, or the /64 of an IPv6 one: whoever has one address of that has all."""
    if ":" not in host:
        return host
    return ipaddress.IPv6Address(host.partition("%")[0]).packed[:SITE_OCTETS]
