"""Random rules and random clients for property tests of the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from pmmux.members import Member
from pmmux.model import Address, Status
from pmmux.probes.http import probe as http
from pmmux.probes.ssh import probe as ssh
from pmmux.probes.tls import probe as tls
from pmmux.test.doubles import make_client, make_member
from pmmux.test.hellos import client_hello

PROBES = (tls, http, ssh)
PROBE_NAMES = tuple(probe.name for probe in PROBES)

HELLO = client_hello("shop.example.org")
REQUEST = b"GET /Shop?x=1 HTTP/1.1\r\nHost: Shop.example.org\r\nX-Kind: One\r\n\r\nbody"
#: With a session id that is too long: a fault that shows when all of it is there.
BROKEN_HELLO = HELLO[:43] + b"\xc8" + HELLO[44:]
#: What clients say first; some of it broken.
SAYINGS: tuple[bytes, ...] = (
    HELLO,
    client_hello("a.example.org"),
    client_hello("SHOP.example.org."),
    client_hello(None),
    BROKEN_HELLO,
    HELLO[:-7],
    b"\x16\x03\x01\x00\x00" + HELLO,
    b"\x16\x03\x01\x00\x05\x02aaaa",
    REQUEST,
    REQUEST[:30],
    b"POST / HTTP/1.0\r\n\r\n",
    b"GET /Shop\x00",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"SSH-1.99-x",
    b"EHLO mail\r\n",
    b"\x00\x01\x02",
    b"",
)

#: One option each, as written.
OPTIONS: tuple[tuple[str, str], ...] = (
    ("sni", "shop.example.org"),
    ("sni", "a.example.org, *.example.net"),
    ("sni", "*.example.org"),
    ("sni", "shop.example.org, *.example.org"),
    ("sni!", "shop.example.org"),
    ("property[tls.sni]", r"shop\.example\.org"),
    ("property[tls.sni]", r".*\.example\.org"),
    ("property[tls.sni]", r"a\.example\.org; shop\.example\.org"),
    ("property[tls.sni]!", r"shop\.example\.org"),
    ("property[tls]", "true"),
    ("property[tls]", "false"),
    ("property[protocol]", "http"),
    ("property[my.own]", "Blue"),
    ("alpn", "h2"),
    ("alpn!", "h2"),
    ("host", r"shop\.example\.org"),
    ("host!", r"shop\.example\.org"),
    ("method", "GET"),
    ("method", "POST"),
    ("path", "/Shop"),
    ("path", "/.*"),
    ("header[x-kind]", "One"),
    ("protocol-version", r"1\.0"),
    ("detect", "tls"),
    ("detect", "http, ssh"),
    ("detect!", "http"),
    ("detect!", "tls"),
    ("preview", "hex:1603"),
    ("preview", "hex:160301ffff"),
    ("preview", "GET|SSH"),
    ("preview", r"GET\b"),
    ("preview", "SSH-1.99-x$"),
    ("preview!", ".*Host"),
    ("remote-ip", "198.51.100.0/24"),
    ("remote-ip", "10.0.0.0/8"),
    ("remote-ip!", "198.51.100.7"),
    ("local-port", "443"),
    ("local-port", "1-100"),
)

conditions = st.lists(st.sampled_from(OPTIONS), max_size=3).map(dict)
rule_lists = st.lists(conditions, max_size=7)
sayings = st.sampled_from(SAYINGS)
clients = st.sampled_from(
    (make_client(), make_client(Address("10.1.2.3", 1)), make_client(Address("2001:db8::1", 1, "ipv6")))
)
statuses = st.sampled_from(
    (Status.HEALTHY, Status.HEALTHY, Status.UNKNOWN, Status.UNHEALTHY, Status.DRAINING)
)


def make_members(rules: Sequence[Mapping[str, str]]) -> list[Member]:
    """One member for each, in order, by the names C{"0"}, C{"1"} …"""
    return [make_member(str(place), rule, PROBE_NAMES) for place, rule in enumerate(rules)]


def cut_at(octets: bytes, places: Sequence[int]) -> list[bytes]:
    """C{octets} in pieces, none of them empty."""
    ends = sorted({place % (len(octets) + 1) for place in places} | {len(octets)})
    pieces: list[Any] = [octets[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    return [piece for piece in pieces if piece]
