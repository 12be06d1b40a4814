"""Tests for L{pmmux.wire.dns}."""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from pmmux.test.samples import udp_dns, udp_mdns
from pmmux.wire.dns import Question, parse_message, read_name

NAME = b"\3www\7Example\3org\0"
A_IN = b"\0\1\0\1"


def query(
    rest: bytes = NAME + A_IN,
    identifier: int = 7,
    flags: int = 0x0100,
    counts: tuple[int, ...] = (1, 0, 0, 0),
) -> bytes:
    return struct.pack("!6H", identifier, flags, *counts) + rest


class NameTests(SynchronousTestCase):
    def read(self, octets: bytes, start: int = 12) -> tuple[str | None, int]:
        return read_name(bytes(12) + octets, start)

    def test_plain(self) -> None:
        self.assertEqual(self.read(NAME), ("www.example.org", 12 + len(NAME)))
        self.assertEqual(self.read(b"\0"), ("", 13))

    def test_odd_octets_are_escaped(self) -> None:
        self.assertEqual(self.read(b"\6a.b\n\xc4\\\0")[0], "a\\046b\\010\\196\\092")

    def test_pointers_go_backwards(self) -> None:
        self.assertEqual(self.read(NAME + b"\4mail\xc0\x10", 12 + len(NAME)), ("mail.example.org", 36))
        for octets in (b"\xc0\x0c", b"\xc0\x0e\0\0", b"\1a\xc0\x0c", b"\xc0\0", b"\xc0"):
            self.assertIsNone(self.read(octets)[0], octets)

    def test_limits(self) -> None:
        longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
        self.assertEqual(len(longest), 255)
        self.assertIsNotNone(self.read(longest)[0])
        self.assertIsNone(self.read(b"\1a" + longest)[0])
        self.assertIsNone(self.read(b"\x40" + b"a" * 64 + b"\0")[0])
        self.assertIsNone(self.read(b"\3ab")[0])

    def test_many_pointers_end(self) -> None:
        chain = b"\0" + b"".join((0xC000 | at).to_bytes(2, "big") for at in (12, *range(13, 213, 2)))
        self.assertIsNone(self.read(chain, 12 + len(chain) - 2)[0])


class MessageTests(SynchronousTestCase):
    def test_question(self) -> None:
        message = parse_message(query())
        assert message is not None
        self.assertEqual(message.questions, (Question("www.example.org", 1),))
        self.assertFalse(message.is_multicast or message.has_edns or message.is_response)

    def test_type_names(self) -> None:
        self.assertEqual(
            [Question("", number).type_name for number in (28, 65, 4711)], ["AAAA", "HTTPS", "TYPE4711"]
        )

    def test_flags_that_no_query_has(self) -> None:
        for flags in (0x8100, 0x0180, 0x0140, 0x0103, 0x0400, 0x0200, 0x0800, 0x3000):
            self.assertIsNone(parse_message(query(flags=flags)), hex(flags))
        for flags in (0, 0x0120, 0x0110):
            self.assertIsNotNone(parse_message(query(flags=flags)), hex(flags))

    def test_counts(self) -> None:
        for counts in ((0, 0, 0, 0), (1, 1, 0, 0), (1, 0, 2, 0), (1, 0, 0, 9), (2, 0, 0, 0), (1, 0, 0, 1)):
            self.assertIsNone(parse_message(query(counts=counts)), counts)

    def test_classes_and_types(self) -> None:
        for tail in (b"\0\0\0\1", b"\0\1\0\0", b"\0\1\0\2", b"\0\1\x80\1", b"\0\1\0\xfe"):
            self.assertIsNone(parse_message(query(NAME + tail)), tail)

    def test_one_edns_record_of_the_root(self) -> None:
        record = b"\0\0\x29\x04\xd0" + bytes(6)
        self.assertIsNotNone(parse_message(query(NAME + A_IN + record, counts=(1, 0, 0, 1))))
        self.assertIsNone(parse_message(query(NAME + A_IN + record * 2, counts=(1, 0, 0, 2))))
        self.assertIsNone(parse_message(query(NAME + A_IN + b"\1a" + record, counts=(1, 0, 0, 1))))

    def test_multicast_or_not(self) -> None:
        local = b"\4host\5local\0"
        for identifier, flags, name, expected in (
            (0, 0, local, True),
            (0, 0x0200, local, True),
            (7, 0, local, False),
            (0, 0x0100, local, False),
            (0, 0, NAME, False),
            (0, 0, b"\4host\6xlocal\0", False),
        ):
            message = parse_message(query(name + A_IN, identifier, flags))
            assert message is not None
            self.assertEqual(message.is_multicast, expected, (identifier, flags, name))

    def test_no_prefix_is_a_message(self) -> None:
        for sample in udp_dns.MATCHING + udp_mdns.MATCHING:
            self.assertIsNotNone(parse_message(sample))
            for length in range(len(sample)):
                self.assertIsNone(parse_message(sample[:length]), sample[:length])

    def test_any_octets_never_raise(self) -> None:
        source = random.Random(5)
        for sample in udp_dns.MATCHING + udp_mdns.MATCHING:
            for _ in range(300):
                at = source.randrange(len(sample))
                parse_message(sample[:at] + source.randbytes(2) + sample[at + source.randrange(3) :])
