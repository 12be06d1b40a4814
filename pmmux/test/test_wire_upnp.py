"""What UPnP devices may send us."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire.upnp import (
    DEEPEST_ELEMENT,
    LARGEST_DOCUMENT_OCTETS,
    MOST_ELEMENTS,
    find_document_fault,
    pin_url,
)

HOST = "192.168.77.1"
BASE = f"http://{HOST}:5000/root.xml"


def nested(depth: int) -> bytes:
    return b"<a>" * depth + b"</a>" * depth


def entities(levels: int) -> str:
    declared = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, levels))
    return f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{declared}]><root>&l{levels - 1};</root>'


class DocumentTests(SynchronousTestCase):
    def test_right(self) -> None:
        for octets in (b"<a/>", b'<?xml version="1.0"?><a b="c">d</a>', nested(DEEPEST_ELEMENT)):
            self.assertEqual(find_document_fault(octets), "")

    def test_entities_in_any_encoding(self) -> None:
        for encoding in ("utf-8", "utf-16", "latin-1"):
            text = f'<?xml version="1.0" encoding="{encoding}"?>{entities(6)}'
            self.assertEqual(find_document_fault(text.encode(encoding)), "has a DTD")

    def test_bounds(self) -> None:
        self.assertIn("nested", find_document_fault(nested(DEEPEST_ELEMENT + 1)))
        self.assertIn("elements", find_document_fault(b"<a>" + b"<b/>" * MOST_ELEMENTS + b"</a>"))
        self.assertIn("larger", find_document_fault(b" " * (LARGEST_DOCUMENT_OCTETS + 1)))

    def test_broken(self) -> None:
        for octets in (
            b"",
            b"\0\xff<html>",
            b"<a>",
            b"<a></b>",
            b'<?xml version="1.0" encoding="none"?><a/>',
        ):
            self.assertEqual(find_document_fault(octets), "not well-formed XML")

    def test_random_octets_of_each_length(self) -> None:
        for length in range(65):
            self.assertTrue(find_document_fault(os.urandom(length)))

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_never_raises(self, octets: bytes) -> None:
        find_document_fault(b"<a>" + octets + b"</a>")
        find_document_fault(octets)


class URLTests(SynchronousTestCase):
    def test_own_address(self) -> None:
        for url, base, expected in (
            (BASE, "", BASE),
            ("/ctl", BASE, f"http://{HOST}:5000/ctl"),
            ("ctl/x", BASE, f"http://{HOST}:5000/ctl/x"),
            (f"http://{HOST}:1/ctl", BASE, f"http://{HOST}:1/ctl"),
            (f"http://{HOST}/d.xml", "", f"http://{HOST}:80/d.xml"),
        ):
            self.assertEqual(pin_url(url, HOST, base), expected)
            self.assertEqual(pin_url(expected, HOST), expected)

    def test_elsewhere(self) -> None:
        for url in (
            "http://192.168.77.3:7777/secret",
            "http://router.lan:7777/x.xml",
            "https://192.168.77.1:443/x",
            "file:///etc/passwd",
            f"http://{HOST}@192.168.77.3:7777/x",
            f"http://user@{HOST}:7777/x",
            "@192.168.77.3:7777/ctl",
            "//192.168.77.3:7777/ctl",
            "http://[::ffff:127.0.0.1]:80/x",
            "http://[::ffff:192.168.77.1]:80/x",
            "http://3232255233:80/x",
            "http://0300.0250.0115.01:80/x",
            f"http://{HOST}:0/x",
            f"http://{HOST}:99999/x",
            f"http://{HOST}:x/x",
            f"http://{HOST}:5000",
            f"http://{HOST}:5000/x#y",
            f"http://{HOST}:5000/x\r\nHost: y",
            f"http://{HOST}:5000/\u0661",
            f"http://{HOST}:5000/{'x' * 2000}",
            f"http://{HOST}.:5000/x",
            "",
        ):
            self.assertEqual(pin_url(url, HOST), "", url)

    def test_relative_leads_out(self) -> None:
        for url in ("//10.0.0.1:80/x", "\\\\10.0.0.1/x y"):
            self.assertEqual(pin_url(url, HOST, BASE), "", url)

    @settings(deadline=None)
    @given(st.text(max_size=60))
    def test_never_raises_and_never_leaves(self, text: str) -> None:
        for url, base in ((text, ""), (text, BASE), (f"http://{text}", ""), (f"http://{HOST}{text}", "")):
            pinned = pin_url(url, HOST, base)
            self.assertTrue(not pinned or pinned.startswith(f"http://{HOST}:"))
