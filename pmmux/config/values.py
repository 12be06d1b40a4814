"""
Readers of single values: durations, sizes, addresses, ports. Each raises L{ValueError}.

A reader's error says what is wrong without repeating the value: whoever reports it shows the value
where it may be shown.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from pmmux.config.suggest import nearest

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HIGHEST_PORT = 65535
LONGEST_DURATION_SECONDS = 366 * 86400.0
LARGEST_SIZE_OCTETS = 1 << 53
NAME_LIMIT_CHARACTERS = 100
HOST_NAME_LIMIT_CHARACTERS = 253
# sun_path is 108 octets on Linux, with the terminating NUL.
UNIX_PATH_LIMIT_OCTETS = 107
MAPPED_PREFIX_BITS = 96
UNIX_PREFIX = "unix:"
ANY_PORT = "?"
LAN_ONLY = "!"

_UNIT_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_OCTETS: Mapping[str, int] = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_BOOLEANS: Mapping[str, bool] = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Z]*)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class UnknownWordError(ValueError):
    """
    A word that is none of those accepted.

    @ivar nearest: the one it most likely is; empty where none is close.
    """

    def __init__(self, reason: str, word: str, accepted: Sequence[str]) -> None:
        super().__init__(reason)
        self.nearest = nearest(word.strip(), accepted)


def text(value: str) -> str:
    """Any text but the empty one."""
    if not value.strip():
        raise ValueError("empty")
    return value


def any_text(value: str) -> str:
    """Any text, also the empty one."""
    return value


def name(value: str) -> str:
    """A name for something: printable, without white space, of a length that fits a log line."""
    value = value.strip()
    if not value:
        raise ValueError("empty")
    if len(value) > NAME_LIMIT_CHARACTERS:
        raise ValueError(f"longer than {NAME_LIMIT_CHARACTERS} characters")
    if not value.isprintable() or " " in value:
        raise ValueError("a name holds neither white space nor control characters")
    return value


def split_list(value: str) -> tuple[str, ...]:
    """The items of a list separated by commas or line ends; empty ones are passed over."""
    return tuple(item for part in re.split(r"[,\n]", value) if (item := part.strip()))


def names(value: str) -> tuple[str, ...]:
    """Names separated by commas or line ends."""
    return tuple(name(item) for item in split_list(value))


def boolean(value: str) -> bool:
    """C{true}, C{yes}, C{on}, C{1} or C{false}, C{no}, C{off}, C{0}, in any case."""
    found = _BOOLEANS.get(value.strip().lower())
    if found is None:
        raise UnknownWordError("neither true nor false", value, tuple(_BOOLEANS))
    return found


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """
    @return: a reader of decimal whole numbers from C{minimum} to C{maximum}.
    """

    def read_integer(value: str) -> int:
        value = value.strip()
        if not _INTEGER.fullmatch(value):
            raise ValueError("not a whole number")
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError(f"not between {minimum} and {maximum}")
        return number

    return read_integer


def choice(*accepted: str, also: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """
    @param accepted: the values, which are compared without regard to case.
    @param also: other spellings, with the value that each stands for.
    @return: a reader of one of C{accepted}.
    """
    spellings: dict[str, str] = {spelling.lower(): spelling for spelling in accepted} | dict(also or {})

    def read_choice(value: str) -> str:
        found = spellings.get(value.strip().lower())
        if found is None:
            raise UnknownWordError(f"not one of {', '.join(accepted)}", value, accepted)
        return found

    return read_choice


def _read_quantity(value: str) -> tuple[str, str]:
    found = _QUANTITY.fullmatch(value.strip())
    if found is None:
        raise ValueError("not a number with a unit")
    return found[1], found[2].lower()


def _read_duration(value: str, bare_unit: str) -> float:
    number, unit = _read_quantity(value)
    scale = _UNIT_SECONDS.get(unit or bare_unit)
    if scale is None:
        raise ValueError(f"unknown unit; the units are {', '.join(_UNIT_SECONDS)}")
    # Divided where that is exact, so that 5 ms is 0.005 and not its neighbour.
    seconds = float(number) / 1000 if (unit or bare_unit) == "ms" else float(number) * scale
    if not math.isfinite(seconds) or seconds > LONGEST_DURATION_SECONDS:
        raise ValueError("longer than 366 days")
    return seconds


def duration(value: str) -> float:
    """A time in seconds: C{5s}, C{2m}; a bare number counts milliseconds."""
    return _read_duration(value, "ms")


def duration_in_seconds(value: str) -> float:
    """A time in seconds: C{5s}, C{2m}; a bare number counts seconds."""
    return _read_duration(value, "s")


def duration_between(
    minimum_seconds: float,
    maximum_seconds: float = LONGEST_DURATION_SECONDS,
    read: Callable[[str], float] = duration,
) -> Callable[[str], float]:
    """
    @param read: L{duration} or L{duration_in_seconds}.
    @return: a reader of times within bounds, both included.
    """

    def read_duration(value: str) -> float:
        seconds = read(value)
        if not minimum_seconds <= seconds <= maximum_seconds:
            raise ValueError(f"not between {minimum_seconds:g}s and {maximum_seconds:g}s")
        return seconds

    return read_duration


def size(value: str) -> int:
    """
    A number of octets: bare, or with C{KiB}, C{MiB}, C{GiB} (of 1024) or C{kB}, C{MB}, C{GB} (of 1000).
    """
    number, unit = _read_quantity(value)
    scale = _UNIT_OCTETS.get(unit or "b")
    if scale is None:
        raise ValueError("unknown unit; the units are kB, MB, GB, KiB, MiB and GiB")
    whole, _, fraction = number.partition(".")
    fraction_scale: int = 10 ** len(fraction)
    octets, rest = divmod(int(whole + fraction) * scale, fraction_scale)
    if rest:
        raise ValueError("not a whole number of octets")
    if octets > LARGEST_SIZE_OCTETS:
        raise ValueError("too large")
    return octets


def size_between(minimum_octets: int, maximum_octets: int) -> Callable[[str], int]:
    """
    @return: a reader of sizes within bounds, both included.
    """

    def read_size(value: str) -> int:
        octets = size(value)
        if not minimum_octets <= octets <= maximum_octets:
            raise ValueError(f"not between {minimum_octets} and {maximum_octets} octets")
        return octets

    return read_size


def address(value: str) -> IPAddress:
    """An IP address, also in brackets, also with a zone; IPv4-mapped IPv6 is taken as IPv4."""
    bare = value.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError("not an IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def network(value: str) -> IPNetwork:
    """An IP address or a network in CIDR form; IPv4-mapped IPv6 is taken as IPv4."""
    try:
        found = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError("neither an IP address nor a network") from None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= MAPPED_PREFIX_BITS:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), found.prefixlen - MAPPED_PREFIX_BITS))
    return found


def port(value: str) -> int:
    """A port number from 1 to 65535."""
    value = value.strip()
    if not _PORT.fullmatch(value) or not 1 <= int(value) <= HIGHEST_PORT:
        raise ValueError(f"not a number from 1 to {HIGHEST_PORT}")
    return int(value)


def port_range(value: str) -> range:
    """One port, or two with a dash between them, both included."""
    first, dash, last = value.partition("-")
    low = port(first)
    high = port(last) if dash else low
    if high < low:
        raise ValueError("the first port is above the last")
    return range(low, high + 1)


def listening_port(value: str) -> int | None:
    """A port number; C{None} for C{?} or C{0}: the system chooses."""
    return None if value.strip() in (ANY_PORT, "0") else port(value)


def public_port(value: str) -> int | str | None:
    """A port number, C{"?"} (also written C{0}) for any, or C{None} for C{!}: LAN only."""
    value = value.strip()
    if value == LAN_ONLY:
        return None
    return ANY_PORT if value in (ANY_PORT, "0") else port(value)


def host_name(value: str) -> str:
    """
    A host name; underscores are let pass.

    @see: RFC 1123, section 2.1
    """
    value = value.strip()
    if not value.isascii():
        raise ValueError("write international host names in their xn-- form")
    bare = value.removesuffix(".")
    if not bare or len(bare) > HOST_NAME_LIMIT_CHARACTERS:
        raise ValueError(f"a host name has 1 to {HOST_NAME_LIMIT_CHARACTERS} characters")
    labels = bare.split(".")
    if not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name")
    if labels[-1].isdigit():
        raise ValueError("neither an IPv4 address nor a host name")
    return value


def host(value: str) -> str:
    """A host name, or an IP address as its shortest text."""
    try:
        return str(address(value))
    except ValueError:
        return host_name(value)


def unix_path(value: str) -> str:
    """The path of a unix socket, absolute, or abstract with C{@} in front."""
    if not value.startswith(("/", "@")) or len(value) == 1:
        raise ValueError("the path of a unix socket begins with / (or @ for an abstract one)")
    if "\0" in value or len(value.encode("utf-8", "surrogateescape")) > UNIX_PATH_LIMIT_OCTETS:
        raise ValueError(f"the path of a unix socket has at most {UNIX_PATH_LIMIT_OCTETS} octets")
    return value


def bind_address(value: str) -> str:
    """What a listener binds to: an IP address, or C{unix:} and a path."""
    value = value.strip()
    if value.startswith(UNIX_PREFIX):
        return UNIX_PREFIX + unix_path(value.removeprefix(UNIX_PREFIX))
    return str(address(value))


@frozen(slots=True)
class Target:
    """
    Where a backend sends traffic.

    @ivar host: an IP address or a host name; empty for a unix socket.
    @ivar port: 1 to 65535; 0 for a unix socket.
    @ivar unix_path: C{None} but for a unix socket.
    """

    host: str
    port: int
    unix_path: str | None = None

    @property
    def is_name(self) -> bool:
        """Whether C{host} has to be resolved."""
        if self.unix_path is not None:
            return False
        try:
            address(self.host)
        except ValueError:
            return True
        return False

    def __str__(self) -> str:
        if self.unix_path is not None:
            return UNIX_PREFIX + self.unix_path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target(value: str) -> Target:
    """C{host:port}, C{[IPv6 address]:port} or C{unix:path}."""
    value = value.strip()
    if value.startswith(UNIX_PREFIX):
        return Target("", 0, unix_path(value.removeprefix(UNIX_PREFIX)))
    place, colon, number = value.rpartition(":")
    if not colon:
        raise ValueError("no port")
    if ":" in place and not (place.startswith("[") and place.endswith("]")):
        raise ValueError("an IPv6 address stands in square brackets before its port")
    return Target(host(place), port(number))


def hexadecimal(value: str) -> bytes:
    """Octets as pairs of hexadecimal digits; white space between pairs is let pass."""
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ValueError("not pairs of hexadecimal digits") from None


def optional(read: Callable[[str], Any], *none: str) -> Callable[[str], Any]:
    """
    @param none: the words that stand for no value.
    @return: a reader of what C{read} reads, or C{None} for one of C{none}.
    """

    def read_optional(value: str) -> Any:
        return None if value.strip().lower() in none else read(value)

    return read_optional
