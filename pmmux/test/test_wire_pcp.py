"""PCP octets. @see: RFC 6887"""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire import pcp
from pmmux.wire.pcp import AnnounceAnswer, MapAnswer, OtherVersion

NONCE = bytes(range(12))
CLIENT = "192.168.77.2"
ports = st.integers(0, 65535)
seconds = st.integers(0, 2**32 - 1)


def encode_map(**fields: object) -> bytes:
    usual = {
        "nonce": NONCE,
        "transport": "tcp",
        "internal_port": 8080,
        "external_port": 8443,
        "lifetime_seconds": 3600,
    }
    address = fields.pop("address", CLIENT)
    return pcp.encode_map(address, **{**usual, **fields})  # type: ignore[arg-type]


def answer(request: bytes, result: int = 0, lifetime: int = 60, epoch: int = 7) -> bytes:
    head = bytes((2, request[1] | 0x80, 0, result)) + lifetime.to_bytes(4, "big") + epoch.to_bytes(4, "big")
    return head + bytes(12) + request[24:]


class RequestTests(SynchronousTestCase):
    def test_announce(self) -> None:
        expected = bytes.fromhex("02000000 00000000 00000000000000000000ffff c0a84d02")
        self.assertEqual(pcp.encode_announce(CLIENT), expected)

    def test_map(self) -> None:
        expected = bytes.fromhex(
            "02010000 00000e10 00000000000000000000ffffc0a84d02"
            "000102030405060708090a0b 06000000 1f90 20fb 00000000000000000000ffff00000000"
        )
        self.assertEqual(encode_map(), expected)
        self.assertEqual(len(expected), 60)

    def test_pinhole(self) -> None:
        octets = encode_map(address="fd77::2", transport="udp")
        self.assertEqual(octets[8:24], bytes.fromhex("fd770000000000000000000000000002"))
        self.assertEqual(octets[36], 17)
        self.assertEqual(octets[44:], bytes(16))


class AnswerTests(SynchronousTestCase):
    def test_announce(self) -> None:
        octets = bytes.fromhex("02800000 00000000 00000009") + bytes(12)
        self.assertEqual(pcp.decode(octets), AnnounceAnswer(0, 0, 9))

    def test_map(self) -> None:
        expected = MapAnswer(0, 60, 7, NONCE, "tcp", 8080, 8443, "0.0.0.0")
        self.assertEqual(pcp.decode(answer(encode_map())), expected)

    def test_refusal(self) -> None:
        decoded = pcp.decode(answer(encode_map(), result=8, lifetime=30))
        assert isinstance(decoded, MapAnswer)
        self.assertEqual((decoded.result, decoded.lifetime_seconds), (8, 30))

    def test_refusal_without_the_request(self) -> None:
        self.assertEqual(pcp.decode(answer(encode_map(), result=2)[:24]), MapAnswer(2, 60, 7))

    def test_nat_pmp_only_server(self) -> None:
        """It has the version first, and the result where its own protocol has it."""
        self.assertEqual(pcp.decode(bytes.fromhex("00800001 00000007")), OtherVersion(0))

    def test_truncated(self) -> None:
        octets = answer(encode_map())
        for length in range(60):
            self.assertIsNone(pcp.decode(octets[:length]))

    def test_too_long(self) -> None:
        self.assertIsNone(pcp.decode(answer(encode_map()) + bytes(1100)))

    def test_request_is_no_answer(self) -> None:
        self.assertIsNone(pcp.decode(encode_map()))

    def test_random_octets_of_each_length(self) -> None:
        for length in range(65):
            pcp.decode(os.urandom(length))

    @settings(deadline=None)
    @given(st.binary(max_size=1200))
    def test_never_raises(self, octets: bytes) -> None:
        pcp.decode(octets)

    @settings(deadline=None)
    @given(st.sampled_from([b"\x02\x80", b"\x02\x81"]), st.integers(0, 20))
    def test_never_raises_on_what_looks_right(self, head: bytes, quads: int) -> None:
        pcp.decode(head + os.urandom(2 + 4 * quads))

    @settings(deadline=None)
    @given(
        st.sampled_from(["tcp", "udp"]), ports, ports, seconds,
        st.sampled_from(["11.22.33.1", "2a00:1::1", "100.64.0.1"]),
    )  # fmt: skip
    def test_answer_repeats_request(
        self, transport: str, internal: int, external: int, lifetime: int, address: str
    ) -> None:
        request = encode_map(
            transport=transport, internal_port=internal, external_port=external, external_address=address
        )
        expected = MapAnswer(0, lifetime, 7, NONCE, transport, internal, external, address)
        self.assertEqual(pcp.decode(answer(request, lifetime=lifetime)), expected)
