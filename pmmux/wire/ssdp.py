"""
SSDP, the discovery of UPnP: searches to octets, answers and notifications to values.

@see: UPnP Device Architecture 2.0, section 1
"""

from __future__ import annotations

from attrs import frozen

PORT = 1900
GROUP = "239.255.255.250"
LARGEST_OCTETS = 4096

SEARCH_TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
_LONGEST_WAIT_SECONDS = 1
_LARGEST_BOOT = 2**31


@frozen(slots=True)
class SearchAnswer:
    """
    A device that answered a search.

    @ivar location: the address of its description, as it says; not to be trusted.
    """

    target: str
    location: str
    unique_name: str = ""
    server: str = ""


@frozen(slots=True)
class Notification:
    """
    What a device says to all.

    @ivar alive: C{False} where it says goodbye.
    @ivar boot: a number that changes when the device starts again; C{None} where it has none.
    """

    target: str
    alive: bool
    boot: int | None = None


def encode_search(target: str) -> bytes:
    """Ask for devices of one type; the answers come to where this is sent from."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {GROUP}:{PORT}",
        'MAN: "ssdp:discover"',
        f"MX: {_LONGEST_WAIT_SECONDS}",
        f"ST: {target}",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def decode(octets: bytes) -> SearchAnswer | Notification | None:
    """
    Read one datagram.

    @return: C{None} where it is of no Internet gateway, malformed, or over L{LARGEST_OCTETS}.
    """
    if len(octets) > LARGEST_OCTETS:
        return None
    first, *lines = octets.decode("latin-1").replace("\r\n", "\n").split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    if first.startswith(("HTTP/1.1 200", "HTTP/1.0 200")):
        target, location = headers.get("st", ""), headers.get("location", "")
        if target not in SEARCH_TARGETS or not location:
            return None
        return SearchAnswer(target, location, headers.get("usn", ""), headers.get("server", ""))
    if first.startswith("NOTIFY * HTTP/1."):
        target, kind = headers.get("nt", ""), headers.get("nts", "")
        if target not in SEARCH_TARGETS or kind not in ("ssdp:alive", "ssdp:byebye"):
            return None
        return Notification(target, kind == "ssdp:alive", _read_boot(headers.get("bootid.upnp.org", "")))
    return None


def _read_boot(text: str) -> int | None:
    # isdecimal alone lets other scripts' digits through, and int() would take any number of them.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST_BOOT))):
        return None
    boot = int(text)
    return boot if boot < _LARGEST_BOOT else None
