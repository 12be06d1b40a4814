"""Single values: what is read, and what is refused with words."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from pmmux.config import values
from pmmux.config.values import Target

READ: dict[Callable[[str], Any], dict[str, Any]] = {
    values.duration: {
        "5000": 5.0,
        "5": 0.005,
        "5ms": 0.005,
        "5s": 5.0,
        " 1.5 s ": 1.5,
        "2m": 120.0,
        "1h": 3600.0,
        "1d": 86400.0,
        "1D": 86400.0,
        "0": 0.0,
        "366d": 366 * 86400.0,
    },
    values.duration_in_seconds: {"10": 10.0, "10ms": 0.01, "1h": 3600.0},
    values.size: {
        "0": 0,
        "512": 512,
        "32KiB": 32768,
        "32 kib": 32768,
        "1MiB": 1 << 20,
        "2GiB": 2 << 30,
        "1kB": 1000,
        "1MB": 10**6,
        "1.5KiB": 1536,
        "7B": 7,
    },
    values.boolean: {
        "true": True,
        "YES": True,
        "on": True,
        "1": True,
        "False": False,
        "no": False,
        "0": False,
    },
    values.integer(-1, 10): {"-1": -1, "10": 10, " 007 ": 7},
    values.choice("text", "json", also={"js": "json"}): {"TEXT": "text", "json": "json", "js": "json"},
    values.name: {" web-1 ": "web-1", "8443/tcp": "8443/tcp", "bücher": "bücher"},
    values.names: {"a, b\nc,,": ("a", "b", "c"), "": ()},
    values.address: {
        "127.0.0.1": ipaddress.ip_address("127.0.0.1"),
        "[::1]": ipaddress.ip_address("::1"),
        "::ffff:10.0.0.1": ipaddress.ip_address("10.0.0.1"),
        "fe80::1%eth0": ipaddress.ip_address("fe80::1%eth0"),
    },
    values.network: {
        "10.1.2.3/8": ipaddress.ip_network("10.0.0.0/8"),
        "10.1.2.3": ipaddress.ip_network("10.1.2.3/32"),
        "::ffff:10.0.0.0/104": ipaddress.ip_network("10.0.0.0/8"),
        "::ffff:10.0.0.1": ipaddress.ip_network("10.0.0.1/32"),
        "::/0": ipaddress.ip_network("::/0"),
        "2001:db8::/32": ipaddress.ip_network("2001:db8::/32"),
    },
    values.port: {"1": 1, "65535": 65535, "0443": 443},
    values.port_range: {"80": range(80, 81), "8000-8010": range(8000, 8011), "80 - 80": range(80, 81)},
    values.listening_port: {"?": None, "0": None, "443": 443},
    values.public_port: {"?": "?", "0": "?", "!": None, "443": 443},
    values.host_name: {
        "example.org": "example.org",
        "a_b.c-d.": "a_b.c-d.",
        "x": "x",
        "3com.com": "3com.com",
    },
    values.bind_address: {
        "0.0.0.0": "0.0.0.0",
        "[::1]": "::1",
        "fe80::1%eth0": "fe80::1%eth0",
        "::FFFF:1.2.3.4": "1.2.3.4",
        "unix:/run/x": "unix:/run/x",
    },
    values.target: {
        "127.0.0.1:22": Target("127.0.0.1", 22),
        "[2001:DB8::1]:443": Target("2001:db8::1", 443),
        "[fe80::1%eth0]:1": Target("fe80::1%eth0", 1),
        "shop.example.org:80": Target("shop.example.org", 80),
        "unix:/run/a b.sock": Target("", 0, "/run/a b.sock"),
        "unix:@abstract": Target("", 0, "@abstract"),
    },
    values.hexadecimal: {"16 03": b"\x16\x03", "FFfe": b"\xff\xfe", "": b""},
    values.optional(values.port, "auto"): {"AUTO": None, "80": 80},
}

REFUSED: dict[Callable[[str], Any], list[str]] = {
    values.text: ["", " \n"],
    values.duration: [
        "",
        "5x",
        "-5",
        "5 5",
        "inf",
        "nan",
        "1e3",
        "367d",
        "9" * 400,
        "٣",
        "s",
        "1h30m",
        "1.s",
    ],
    values.duration_between(1.0, 2.0): ["999", "2001ms", "0"],
    values.size: ["", "-1", "1KiBs", "0.3B", "1.0001KiB", "999999999GiB", "1TiB"],
    values.size_between(1024, 2048): ["1023", "3KiB"],
    values.boolean: ["", "2", "maybe"],
    values.integer(1, 5): ["", "0", "6", "1.0", "1_0", "٣", "9" * 5000],
    values.choice("tcp", "udp"): ["", "sctp"],
    values.name: ["", "a b", "a\tb", "a\u202eb", "x" * 101],
    values.address: ["", "1.2.3", "1.2.3.256", "01.2.3.4", "example.org", "1", "1.2.3.4/8"],
    values.network: ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "example.org", "10.0.0.0/8/8"],
    values.port: ["", "0", "65536", "-1", "٣", "http", "1.0"],
    values.port_range: ["", "-", "80-", "-80", "90-80", "1-2-3"],
    values.listening_port: ["", "!", "*"],
    values.public_port: ["", "70000"],
    values.host_name: [
        "",
        ".",
        "a..b",
        "-a",
        "a-",
        "x" * 64,
        "1.2.3.4",
        "256.1.1.1",
        "a b",
        "bücher",
        "a." * 200,
    ],
    values.bind_address: ["", "localhost", "unix:", "unix:relative", "unix:/" + "x" * 107, "*"],
    values.target: [
        "",
        "22",
        "host",
        "host:",
        ":22",
        "::1:22",
        "[::1]",
        "[x]:1",
        "host:0",
        "host:65536",
        "unix:x",
    ],
    values.hexadecimal: ["1", "xx", "0x16", "1 6"],
}

EVERY_READER = sorted({*READ, *REFUSED}, key=lambda read: read.__qualname__)


class ReadingTests(unittest.SynchronousTestCase):
    """Each reader has its own little language."""

    def test_what_is_read(self) -> None:
        for read, cases in READ.items():
            for text, expected in cases.items():
                found = read(text)
                self.assertEqual(found, expected, f"{read.__qualname__} {text!r}")
                self.assertIs(type(found), type(expected), f"{read.__qualname__} {text!r}")

    def test_what_is_refused(self) -> None:
        for read, texts in REFUSED.items():
            for text in texts:
                error = self.assertRaises(ValueError, read, text)
                self.assertTrue(str(error), f"{read.__qualname__} {text!r} says nothing")

    @given(st.sampled_from(EVERY_READER), st.text(max_size=40))
    def test_any_text_is_read_or_refused(self, read: Callable[[str], Any], text: str) -> None:
        with contextlib.suppress(ValueError):
            read(text)

    @given(st.sampled_from(EVERY_READER), st.text(alphabet="0123456789.:[]%/-?!unix@hs", max_size=20))
    def test_any_likely_text_is_read_or_refused(self, read: Callable[[str], Any], text: str) -> None:
        with contextlib.suppress(ValueError):
            read(text)


class TargetTests(unittest.SynchronousTestCase):
    """Where traffic goes."""

    def test_written_again_it_is_the_same(self) -> None:
        for text in READ[values.target]:
            found = values.target(text)
            self.assertEqual(values.target(str(found)), found)

    def test_only_names_are_resolved(self) -> None:
        self.assertTrue(values.target("example.org:1").is_name)
        for text in ("127.0.0.1:1", "[::1]:1", "[fe80::1%eth0]:1", "unix:/x"):
            self.assertFalse(values.target(text).is_name, text)
