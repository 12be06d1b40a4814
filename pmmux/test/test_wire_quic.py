"""Tests for L{pmmux.wire.quic} and L{pmmux.wire.quiccrypto}."""

from __future__ import annotations

import random
from itertools import pairwise, permutations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.test import hellos
from pmmux.test.samples import udp_quic
from pmmux.wire.quic import (
    CRYPTO_LIMIT_OCTETS,
    DATAGRAM_LIMIT,
    FRAGMENT_LIMIT,
    INITIAL_DATAGRAM_OCTETS,
    VERSION_1,
    VERSION_2,
    InitialReader,
    State,
    destination_connection_id,
    long_header,
    read_foreign_version,
    read_varint,
    version_name,
)
from pmmux.wire.quiccrypto import client_initial_keys, expand_number

DESTINATION = bytes.fromhex("8394c8f03e515708")
PADDING = b"\0"
PING = b"\1"
TAG_OCTETS = 16


def varint(value: int) -> bytes:
    """C{value} in four octets, as QUIC allows for any that fits."""
    return (value | 0x80000000).to_bytes(4, "big")


def crypto(offset: int, data: bytes) -> bytes:
    return b"\6" + varint(offset) + varint(len(data)) + data


def initial(
    frames: bytes,
    number: int = 0,
    version: int = VERSION_1,
    destination: bytes = DESTINATION,
    token: bytes = b"",
    size: int = INITIAL_DATAGRAM_OCTETS,
    number_octets: int = 2,
    form: int = 0xC0,
) -> bytes:
    """Seal an Initial packet; C{frames} are padded so that it has at least C{size} octets."""
    keys = client_initial_keys(destination, version == VERSION_2)
    first = form | (0x10 if version == VERSION_2 else 0) | (number_octets - 1)
    start = version.to_bytes(4, "big") + bytes((len(destination),)) + destination + b"\0"
    start += varint(len(token)) + token
    room = size - 1 - len(start) - 4 - number_octets - TAG_OCTETS
    payload = frames + PADDING * max(room - len(frames), 4)
    start += varint(number_octets + len(payload) + TAG_OCTETS)
    truncated = (number % (1 << 8 * number_octets)).to_bytes(number_octets, "big")
    header = bytes((first,)) + start + truncated
    nonce = (int.from_bytes(keys.nonce, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(keys.key).encrypt(nonce, payload, header)
    sample = sealed[4 - number_octets :][:16]
    mask = Cipher(AES(keys.header_key), ECB()).encryptor().update(sample)
    protected = bytes(a ^ b for a, b in zip(truncated, mask[1:], strict=False))
    return bytes((first ^ mask[0] & 0x0F,)) + start + protected + sealed


def message(body: bytes) -> bytes:
    return b"\1" + len(body).to_bytes(3, "big") + body


def read(*datagrams: bytes) -> InitialReader:
    reader = InitialReader()
    for datagram in datagrams:
        reader.feed(datagram)
    return reader


BODY = bytes(range(256)) * 7
HELLO = message(BODY)


class HeaderTests(SynchronousTestCase):
    def test_long_header(self) -> None:
        header = long_header(bytes.fromhex("c0 6b3343cf 02 aabb 01 cc 00"))
        assert header is not None
        self.assertEqual(
            (header.version, header.destination, header.source), (VERSION_2, b"\xaa\xbb", b"\xcc")
        )
        self.assertEqual(header.end, 10)

    def test_broken_long_headers(self) -> None:
        for octets in (
            "40 00000001 00 00",
            "c0 00000001 00",
            "c0 00000001 15" + "00" * 40,
            "c0 00000001 02 aabb 01",
        ):
            self.assertIsNone(long_header(bytes.fromhex(octets)), octets)

    def test_connection_id_of_either_form(self) -> None:
        self.assertEqual(destination_connection_id(b"\x43abcdefgh", 4), b"abcd")
        self.assertEqual(destination_connection_id(initial(PING), 4), DESTINATION)
        for octets in (b"", b"\x43abc", b"\xc0\0\0"):
            self.assertIsNone(destination_connection_id(octets, 4))

    def test_version_names(self) -> None:
        names = [version_name(version) for version in (VERSION_1, VERSION_2, 0xFF00001D, 0x1A2A3A4A)]
        self.assertEqual(names, ["1", "2", "draft-29", "0x1a2a3a4a"])

    def test_foreign_versions(self) -> None:
        rest = initial(PING)[5:]
        for version, expected in ((0x1A2A3A4A, True), (0xFF00001D, True), (0x12345678, False), (0, False)):
            found = read_foreign_version(b"\xc1" + version.to_bytes(4, "big") + rest)
            self.assertEqual(found, version if expected else None)
        self.assertIsNone(read_foreign_version((b"\xc1\x1a\x2a\x3a\x4a" + rest)[:1199]))

    def test_varints(self) -> None:
        # RFC 9000 appendix A.1
        for octets, value in (
            ("c2197c5eff14e88c", 151_288_809_941_952_652),
            ("9d7f3e7d", 494_878_333),
            ("7bbd", 15_293),
            ("25", 37),
            ("4025", 37),
        ):
            data = bytes.fromhex(octets)
            self.assertEqual(read_varint(data, 0), (value, len(data)))
            self.assertEqual(read_varint(data[:-1], 0)[0], -1)


class KeyTests(SynchronousTestCase):
    def test_version_1(self) -> None:
        # RFC 9001 appendix A.1
        keys = client_initial_keys(DESTINATION, False)
        self.assertEqual(keys.key.hex(), "1f369613dd76d5467730efcbe3b1a22d")
        self.assertEqual(keys.nonce.hex(), "fa044b2f42a3fd3b46fb255c")
        self.assertEqual(keys.header_key.hex(), "9f50449e04a0e810283a1e9933adedd2")

    def test_version_2(self) -> None:
        # RFC 9369 appendix A.1
        keys = client_initial_keys(DESTINATION, True)
        self.assertEqual(keys.key.hex(), "8b1a0bc121284290a29e0971b5cd045d")
        self.assertEqual(keys.nonce.hex(), "91f73e2351d8fa91660e909f")
        self.assertEqual(keys.header_key.hex(), "45b95e15235d6f45a6b19cbcb0294ba9")

    def test_packet_numbers(self) -> None:
        # RFC 9000 appendix A.3
        self.assertEqual(expand_number(0x9B32, 2, 0xA82F30EA), 0xA82F9B32)
        self.assertEqual(expand_number(0, 1, -1), 0)
        self.assertEqual(expand_number(0x05, 1, 0xFE), 0x105)
        self.assertEqual(expand_number(0xFE, 1, 0x101), 0xFE)


class ReaderTests(SynchronousTestCase):
    def test_one_datagram(self) -> None:
        for version in (VERSION_1, VERSION_2):
            reader = read(
                initial(crypto(0, HELLO[:800]), version=version),
                initial(crypto(800, HELLO[800:]), 1, version),
            )
            self.assertEqual((reader.state, reader.version, reader.hello), (State.COMPLETE, version, BODY))

    def test_real_clients_in_any_order(self) -> None:
        bodies = set()
        for order in permutations(udp_quic.SEVERAL):
            reader = read(*order)
            self.assertIs(reader.state, State.COMPLETE)
            bodies.add(reader.hello)
        self.assertEqual(len(bodies), 1)

    def test_pieces_out_of_order_among_other_frames(self) -> None:
        first = crypto(900, HELLO[900:1000]) + PING + PADDING * 3 + crypto(10, HELLO[10:900]) + PING * 2
        ack = bytes.fromhex("02 00 00 01 00 00 00") + bytes.fromhex("03 00 00 00 00 01 02 03")
        reader = read(initial(first, 5), initial(ack + crypto(0, HELLO[:10]) + crypto(1000, HELLO[1000:]), 2))
        self.assertEqual((reader.state, reader.hello), (State.COMPLETE, BODY))

    def test_more_until_all_has_come(self) -> None:
        reader = InitialReader()
        self.assertIs(reader.feed(initial(PING)), State.MORE)
        self.assertIs(reader.feed(initial(crypto(4, HELLO[4:1000]), 1)), State.MORE)
        self.assertIs(reader.feed(initial(crypto(0, HELLO[:3]), 2)), State.MORE)
        self.assertIs(reader.feed(initial(crypto(1000, HELLO[1000:]), 3)), State.MORE)
        self.assertIs(reader.feed(initial(crypto(3, HELLO[3:4]), 4)), State.COMPLETE)
        self.assertIs(reader.feed(b""), State.COMPLETE)

    def test_coalesced_packets_and_token(self) -> None:
        datagram = initial(crypto(0, HELLO[:100]), size=0, token=b"t" * 70) + initial(
            crypto(100, HELLO[100:]), 1
        )
        self.assertIs(read(datagram).state, State.COMPLETE)
        zero_rtt = b"\xd0" + initial(PING)[1:15] + varint(40) + bytes(40)
        self.assertIs(read(zero_rtt + initial(crypto(0, HELLO[:9]))).state, State.MORE)

    def test_padding_after_the_packet(self) -> None:
        self.assertIs(read(initial(crypto(0, HELLO[:500]), size=0) + bytes(1200)).state, State.MORE)

    def test_cleared_fixed_bit(self) -> None:
        # RFC 9287 lets clients clear it; it is authenticated with the rest.
        frames = crypto(0, HELLO)
        self.assertIs(read(initial(frames, form=0x80)).state, State.COMPLETE)
        datagram = initial(frames)
        self.assertIs(read(bytes((datagram[0] ^ 0x40,)) + datagram[1:]).state, State.NOT_QUIC)

    def test_packet_number_of_every_length(self) -> None:
        for octets in range(1, 5):
            self.assertIs(read(initial(crypto(0, HELLO), 3, number_octets=octets)).state, State.COMPLETE)

    def test_what_is_not_quic(self) -> None:
        good = initial(crypto(0, HELLO))
        for datagram in (
            b"",
            good[:1199],
            good[:300] + bytes((good[300] ^ 1,)) + good[301:],
            good[:1] + b"\0\0\0\2" + good[5:],
            initial(crypto(0, HELLO), destination=DESTINATION[:7]),
            b"\xf0" + good[1:],
            b"\xc0\0\0\0\1" + b"\xff" * 1300,
        ):
            self.assertIs(read(datagram).state, State.NOT_QUIC)

    def test_foreign_datagrams_are_passed_over_later(self) -> None:
        other = initial(crypto(0, message(b"x" * 50)), destination=bytes(8))
        reader = read(initial(crypto(0, HELLO[:900])), other, b"junk", initial(crypto(900, HELLO[900:]), 1))
        self.assertEqual((reader.state, reader.hello), (State.COMPLETE, BODY))

    def test_overlaps_must_agree(self) -> None:
        same = crypto(0, HELLO[:600]) + crypto(100, HELLO[100:200]) + crypto(500, HELLO[500:1000])
        self.assertIs(read(initial(same), initial(crypto(990, HELLO[990:]), 1)).state, State.COMPLETE)
        self.assertIs(read(initial(crypto(0, HELLO[:600]) + crypto(500, b"z" * 200))).state, State.MALFORMED)

    def test_malformed(self) -> None:
        for frames in (
            crypto(0, b"\2" + HELLO[1:]),
            crypto(0, b"\1\xff\xff\xff"),
            crypto(CRYPTO_LIMIT_OCTETS, b"x"),
            b"\6" + varint(0) + varint(5000),
            b"\x08" + bytes(5),
            b"\x1c" + bytes(5),
            b"\2\0\0" + varint(1 << 20),
            crypto(0, b"") * (FRAGMENT_LIMIT + 1),
        ):
            reader = read(initial(frames))
            self.assertIs(reader.state, State.MALFORMED, frames[:8])
            self.assertTrue(reader.fault)

    def test_bounded_datagrams(self) -> None:
        reader = InitialReader()
        for number in range(DATAGRAM_LIMIT):
            self.assertIs(reader.feed(initial(PING, number)), State.MORE)
        self.assertIs(reader.feed(initial(PING, DATAGRAM_LIMIT)), State.MALFORMED)

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.integers(1, len(HELLO) - 1), max_size=12, unique=True), st.randoms(use_true_random=False)
    )
    def test_any_split_gives_the_same(self, cuts: list[int], source: random.Random) -> None:
        bounds = [0, *sorted(cuts), len(HELLO)]
        pieces = [crypto(a, HELLO[a:b]) for a, b in pairwise(bounds)]
        source.shuffle(pieces)
        reader = read(*(initial(piece, number) for number, piece in enumerate(pieces)))
        self.assertEqual((reader.state, reader.hello), (State.COMPLETE, BODY))

    def test_any_octets_never_raise(self) -> None:
        source = random.Random(9)
        good = initial(crypto(0, HELLO))
        for _ in range(2000):
            at = source.randrange(60)
            read(
                good[:at] + source.randbytes(source.randrange(1, 4)) + good[at + source.randrange(4) :], good
            )
        for _ in range(300):
            frames = source.choice((b"\6", b"\2", b"\3", b"")) + source.randbytes(source.randrange(40))
            read(initial(frames, size=1300))

    def test_hellos_of_tests_fit(self) -> None:
        self.assertIs(read(initial(crypto(0, message(hellos.body())))).state, State.COMPLETE)
