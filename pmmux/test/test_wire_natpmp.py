"""NAT-PMP octets. @see: RFC 6886"""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire import natpmp
from pmmux.wire.natpmp import AddressAnswer, ErrorAnswer, MapAnswer, OtherVersion

ports = st.integers(0, 65535)
seconds = st.integers(0, 2**32 - 1)


class RequestTests(SynchronousTestCase):
    def test_address(self) -> None:
        self.assertEqual(natpmp.encode_address_request(), bytes.fromhex("0000"))

    def test_map(self) -> None:
        self.assertEqual(
            natpmp.encode_map_request("tcp", 8080, 8443, 3600), bytes.fromhex("00020000 1f90 20fb 00000e10")
        )

    def test_delete(self) -> None:
        self.assertEqual(
            natpmp.encode_map_request("udp", 53, 0, 0), bytes.fromhex("00010000 0035 0000 00000000")
        )


class AnswerTests(SynchronousTestCase):
    def test_address(self) -> None:
        self.assertEqual(
            natpmp.decode(bytes.fromhex("00800000 00000007 0b162101")), AddressAnswer(7, "11.22.33.1")
        )

    def test_map(self) -> None:
        octets = bytes.fromhex("00820000 00000007 1f90 20fb 00000e10")
        self.assertEqual(natpmp.decode(octets), MapAnswer(7, "tcp", 8080, 8443, 3600))

    def test_refusal(self) -> None:
        octets = bytes.fromhex("00810002 00000007 1f90 0000 00000000")
        self.assertEqual(natpmp.decode(octets), ErrorAnswer(2, "udp", 8080, 7))

    def test_short_refusal(self) -> None:
        self.assertEqual(natpmp.decode(bytes.fromhex("00820003")), ErrorAnswer(3, "tcp", None, None))

    def test_pcp_only_server(self) -> None:
        self.assertEqual(natpmp.decode(bytes.fromhex("02800001") + bytes(20)), OtherVersion(2))

    def test_truncated(self) -> None:
        for whole in ("00800000000000070b162101", "0082000000000007 1f90 20fb 00000e10"):
            octets = bytes.fromhex(whole)
            for length in range(len(octets)):
                self.assertIsNone(natpmp.decode(octets[:length]))

    def test_request_is_no_answer(self) -> None:
        self.assertIsNone(natpmp.decode(natpmp.encode_map_request("tcp", 1, 2, 3)))

    def test_random_octets_of_each_length(self) -> None:
        for length in range(65):
            natpmp.decode(os.urandom(length))

    @settings(deadline=None)
    @given(st.binary(max_size=64))
    def test_never_raises(self, octets: bytes) -> None:
        natpmp.decode(octets)

    @settings(deadline=None)
    @given(st.sampled_from([b"\0\x80", b"\0\x81", b"\0\x82"]), st.binary(max_size=20))
    def test_never_raises_on_what_looks_right(self, head: bytes, rest: bytes) -> None:
        natpmp.decode(head + rest)

    @settings(deadline=None)
    @given(st.sampled_from(["tcp", "udp"]), ports, ports, seconds)
    def test_answer_repeats_request(
        self, transport: str, internal: int, external: int, lifetime: int
    ) -> None:
        request = natpmp.encode_map_request(transport, internal, external, lifetime)
        answer = bytes((0, request[1] | 0x80)) + bytes(6) + request[4:]
        self.assertEqual(natpmp.decode(answer), MapAnswer(0, transport, internal, external, lifetime))
