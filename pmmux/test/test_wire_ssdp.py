"""SSDP datagrams."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire import ssdp
from pmmux.wire.ssdp import Notification, SearchAnswer

TARGET = ssdp.SEARCH_TARGETS[0]


def datagram(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def search_answer(target: str = TARGET, location: str = "http://192.168.1.1:5000/d.xml") -> bytes:
    return datagram("HTTP/1.1 200 OK", f"ST: {target}", f"location:{location}", "USN: uuid:1", "SERVER: x")


def notification(kind: str = "ssdp:alive", boot: str = "7") -> bytes:
    return datagram("NOTIFY * HTTP/1.1", f"NT: {TARGET}", f"NTS: {kind}", f"BOOTID.UPNP.ORG: {boot}")


class SSDPTests(SynchronousTestCase):
    def test_search(self) -> None:
        octets = ssdp.encode_search(TARGET)
        self.assertTrue(octets.startswith(b"M-SEARCH * HTTP/1.1\r\n"))
        self.assertTrue(octets.endswith(f"ST: {TARGET}\r\n\r\n".encode()))
        self.assertIsNone(ssdp.decode(octets))

    def test_answer(self) -> None:
        expected = SearchAnswer(TARGET, "http://192.168.1.1:5000/d.xml", "uuid:1", "x")
        self.assertEqual(ssdp.decode(search_answer()), expected)

    def test_first_header_counts(self) -> None:
        octets = search_answer()[:-2] + b"LOCATION: http://10.0.0.1:1/\r\n\r\n"
        decoded = ssdp.decode(octets)
        assert isinstance(decoded, SearchAnswer)
        self.assertEqual(decoded.location, "http://192.168.1.1:5000/d.xml")

    def test_other_devices(self) -> None:
        self.assertIsNone(ssdp.decode(search_answer("urn:schemas-upnp-org:device:MediaServer:1")))

    def test_without_location(self) -> None:
        self.assertIsNone(ssdp.decode(search_answer(location="")))

    def test_notifications(self) -> None:
        self.assertEqual(ssdp.decode(notification()), Notification(TARGET, True, 7))
        self.assertEqual(ssdp.decode(notification("ssdp:byebye")), Notification(TARGET, False, 7))
        self.assertIsNone(ssdp.decode(notification("ssdp:update")))

    def test_boots_that_are_none(self) -> None:
        for boot in ("", "-1", "x", "9" * 500, "\xb2", "4294967296"):
            self.assertEqual(ssdp.decode(notification(boot=boot)), Notification(TARGET, True, None))

    def test_too_large(self) -> None:
        self.assertIsNone(ssdp.decode(search_answer() + b"A" * ssdp.LARGEST_OCTETS))

    def test_garbage(self) -> None:
        for octets in (
            b"",
            b"\xff\xfe\0",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"\r\n",
            b":\r\n:",
            b"NOTIFY * HTTP/1.1",
        ):
            self.assertIsNone(ssdp.decode(octets))

    def test_random_octets_of_each_length(self) -> None:
        for length in range(65):
            self.assertIsNone(ssdp.decode(os.urandom(length)))

    @settings(deadline=None)
    @given(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"NOTIFY * HTTP/1.1\r\n"]), st.binary(max_size=500))
    def test_never_raises(self, head: bytes, rest: bytes) -> None:
        ssdp.decode(head + rest)

    @settings(deadline=None)
    @given(st.integers(0, 300), st.binary(min_size=1, max_size=3))
    def test_never_raises_on_a_damaged_answer(self, at: int, damage: bytes) -> None:
        octets = search_answer()
        ssdp.decode(octets[:at] + damage + octets[at:])
