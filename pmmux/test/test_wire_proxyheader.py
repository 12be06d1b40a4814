"""PROXY headers. @see: the specification's section 2"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire.proxyheader import (
    V1_LIMIT_OCTETS,
    V2_START,
    Endpoint,
    Malformed,
    ProxyHeader,
    is_proxy_header,
    read_proxy_header,
    write_v1,
    write_v2,
)
from pmmux.wire.proxytlv import Facts, SSLFacts, crc32c, write_tlv
from pmmux.wire.reading import Incomplete

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"
IPV4_BLOCK = bytes.fromhex("c0000201 c6336402 dc04 01bb")
IPV6_BLOCK = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb")


def v2(
    block: bytes = IPV4_BLOCK,
    command: int = 0x21,
    family: int = 0x11,
    tlvs: bytes = b"",
    length: int | None = None,
) -> bytes:
    whole = len(block) + len(tlvs) if length is None else length
    return V2_START + bytes((command, family)) + whole.to_bytes(2, "big") + block + tlvs


def unix_block(source: bytes, destination: bytes) -> bytes:
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


SSL = (
    bytes((1, 0, 0, 0, 0)) + write_tlv(0x21, b"TLSv1.3") + write_tlv(0x22, b"someone") + write_tlv(0x99, b"?")
)
EVERYTHING = (
    write_tlv(0x01, b"h2")
    + write_tlv(0x02, b"example.org")
    + write_tlv(0x04, b"   ")
    + write_tlv(0x05, b"\x00id")
    + write_tlv(0x20, SSL)
    + write_tlv(0x30, b"blue")
    + write_tlv(0xEA, b"\x01vpce")
    + write_tlv(0xEA, b"again")
)
WHOLE = {
    "v1": V1,
    "v1 IPv6": V1_IPV6,
    "v1 unknown": b"PROXY UNKNOWN\r\n",
    "v1 unknown with more": b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n",
    "v2": v2(),
    "v2 IPv6": v2(IPV6_BLOCK, family=0x21),
    "v2 UDP": v2(family=0x12),
    "v2 unix": v2(unix_block(b"/run/a", b"\0abstract"), family=0x31),
    "v2 local": v2(b"", 0x20, 0x00),
    "v2 local with addresses": v2(IPV4_BLOCK, 0x20, 0x11),
    "v2 local of an unknown family": v2(b"anything", 0x20, 0xF7),
    "v2 unspecified": v2(b"", 0x21, 0x00),
    "v2 everything": v2(tlvs=EVERYTHING),
    "v2 longest": v2(tlvs=write_tlv(0xE0, bytes(65535 - 12 - 3))),
}
BROKEN = {
    "v1 without CRLF": b"PROXY TCP4 " + b"1" * V1_LIMIT_OCTETS,
    "v1 of 108 octets": b"PROXY UNKNOWN " + b"x" * (108 - 16) + b"\r\n",
    "v1 bare LF": b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
    "v1 bare CR": b"PROXY TCP4 192.0.2.1\r198.51.100.2 56324 443\r\n",
    "v1 unknown family": b"PROXY TCP5 192.0.2.1 198.51.100.2 56324 443\r\n",
    "v1 lower case": b"PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n",
    "v1 other family": b"PROXY TCP4 ::1 ::1 56324 443\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
    "v1 leading zeros": b"PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n",
    "v1 port too high": b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    "v1 port with zero": b"PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n",
    "v1 port with sign": b"PROXY TCP4 192.0.2.1 198.51.100.2 +56 443\r\n",
    "v1 empty port": b"PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n",
    "v1 too few": b"PROXY TCP4 192.0.2.1 198.51.100.2 443\r\n",
    "v1 too many": b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
    "v1 nothing": b"PROXY \r\n",
    "v1 escape": b"PROXY UNKNOWN \x1b[31m\r\n",
    "v2 version 1": v2(command=0x11),
    "v2 command 2": v2(command=0x22),
    "v2 family 4": v2(family=0x41),
    "v2 transport 3": v2(family=0x13),
    "v2 no transport": v2(family=0x10),
    "v2 length 0 with addresses": v2(length=0),
    "v2 length 11": v2(IPV4_BLOCK[:11]),
    "v2 unix 215": v2(bytes(215), family=0x31),
    "v2 TLV past the end": v2(tlvs=b"\x02\x00\x05abcd"),
    "v2 half a TLV header": v2(tlvs=b"\x02\x00"),
    "v2 wrong CRC32c": v2(tlvs=write_tlv(0x03, b"\0\0\0\1")),
    "v2 short CRC32c": v2(tlvs=write_tlv(0x03, b"\0\0\0")),
    "v2 two authorities": v2(tlvs=write_tlv(0x02, b"a") * 2),
    "v2 authority not UTF-8": v2(tlvs=write_tlv(0x02, b"\xff")),
    "v2 authority with escape": v2(tlvs=write_tlv(0x02, b"\x1b[0m")),
    "v2 authority with line end": v2(tlvs=write_tlv(0x02, b"a\r\nb")),
    "v2 long unique id": v2(tlvs=write_tlv(0x05, bytes(129))),
    "v2 short SSL": v2(tlvs=write_tlv(0x20, bytes(4))),
    "v2 SSL overrun": v2(tlvs=write_tlv(0x20, bytes(5) + b"\x21\x00\x05ab")),
}
OTHER = {
    "nothing like it": b"GET / HTTP/1.1\r\n",
    "PRI": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PROXY alone": b"PROXYTCP4",
    "other signature": V2_START[:-1] + b"\0",
    "line ends": b"\r\n\r\n\r\n",
    "hello": b"\x16\x03\x01",
}


class ReadingTests(SynchronousTestCase):
    def read(self, octets: bytes) -> ProxyHeader:
        found = read_proxy_header(octets)
        self.assertIsInstance(found, ProxyHeader, found)
        self.assertEqual(found.octets, len(octets))
        return found

    def test_v1(self) -> None:
        found = self.read(V1)
        self.assertEqual((found.version, found.family, found.transport), (1, "ipv4", "tcp"))
        self.assertEqual(found.source, Endpoint("192.0.2.1", 56324))
        self.assertEqual(found.destination, Endpoint("198.51.100.2", 443))
        self.assertEqual(self.read(V1_IPV6).source, Endpoint("2001:db8::1", 56324))

    def test_v1_unknown(self) -> None:
        for name in ("v1 unknown", "v1 unknown with more"):
            self.assertIsNone(self.read(WHOLE[name]).source)

    def test_longest_v1(self) -> None:
        self.read(b"PROXY UNKNOWN " + b"x" * (V1_LIMIT_OCTETS - 16) + b"\r\n")

    def test_v2(self) -> None:
        found = self.read(v2())
        self.assertEqual((found.version, found.is_local, found.family), (2, False, "ipv4"))
        self.assertEqual(found.source, Endpoint("192.0.2.1", 56324))
        self.assertEqual(found.destination, Endpoint("198.51.100.2", 443))
        self.assertEqual(self.read(v2(IPV6_BLOCK, family=0x21)).destination, Endpoint("2001:db8::2", 443))
        self.assertEqual(self.read(v2(family=0x12)).transport, "udp")

    def test_v2_unix(self) -> None:
        found = self.read(WHOLE["v2 unix"])
        self.assertEqual((found.source, found.destination), (Endpoint("/run/a"), Endpoint("@abstract")))
        full = self.read(v2(unix_block(b"/" * 108, b""), family=0x31))
        self.assertEqual((full.source, full.destination), (Endpoint("/" * 108), Endpoint("")))

    def test_v2_without_addresses(self) -> None:
        for name, octets in WHOLE.items():
            if "local" in name or "unspecified" in name:
                found = self.read(octets)
                self.assertEqual((found.is_local, found.source), ("local" in name, None))

    def test_facts(self) -> None:
        facts = self.read(v2(tlvs=EVERYTHING)).facts
        expected = Facts(
            b"h2",
            "example.org",
            b"\0id",
            SSLFacts(1, 0, "TLSv1.3", "someone"),
            "blue",
            ((0xEA, b"\x01vpce"), (0xEA, b"again")),
        )
        self.assertEqual(facts, expected)

    def test_crc32c(self) -> None:
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(b"1234", b"", b"56789"), 0xE3069283)
        # Wherever it stands among the others.
        octets = v2(tlvs=write_tlv(0x02, b"a") + write_tlv(0x03, bytes(4)) + write_tlv(0x01, b"h2"))
        at = octets.index(b"\x03\x00\x04") + 3
        octets = octets[:at] + crc32c(octets).to_bytes(4, "big") + octets[at + 4 :]
        self.assertEqual(self.read(octets).facts, Facts(b"h2", "a"))
        self.assertIsInstance(read_proxy_header(octets.replace(b"h2", b"h3")), Malformed)

    def test_what_follows_is_not_looked_at(self) -> None:
        for name, octets in WHOLE.items():
            for more in (b"x", V1, v2()):
                self.assertEqual(read_proxy_header(octets + more), read_proxy_header(octets), name)

    def test_broken(self) -> None:
        for name, octets in BROKEN.items():
            self.assertIsInstance(read_proxy_header(octets), Malformed, name)

    def test_others(self) -> None:
        for name, octets in OTHER.items():
            self.assertIsNone(read_proxy_header(octets), name)


class SplitTests(SynchronousTestCase):
    def check_prefixes(self, octets: bytes, lengths: Any) -> None:
        """Undecided until some length, and of one opinion from there on; never asleep past it."""
        whole = read_proxy_header(octets)
        decided = False
        needed = 0
        for length in lengths:
            found = read_proxy_header(octets[:length])
            if isinstance(found, Incomplete):
                self.assertFalse(decided)
                self.assertGreater(found.octets_needed, length)
                needed = max(needed, found.octets_needed)
            else:
                if not decided:
                    self.assertLessEqual(needed, length)
                decided = True
                self.assertEqual(type(found), type(whole))
                if isinstance(found, ProxyHeader):
                    self.assertEqual(found, whole)

    def test_every_split(self) -> None:
        for octets in (*WHOLE.values(), *BROKEN.values(), *OTHER.values()):
            step = 1 if len(octets) < 1000 else 977
            self.check_prefixes(octets, [*range(0, len(octets), step), len(octets)])

    def test_octets_needed(self) -> None:
        self.assertEqual(read_proxy_header(b""), Incomplete(1))
        self.assertEqual(read_proxy_header(b"PROXY "), Incomplete(7))
        self.assertEqual(read_proxy_header(V1[:-1]), Incomplete(len(V1)))
        self.assertEqual(read_proxy_header(v2()[:16]), Incomplete(28))
        self.assertEqual(read_proxy_header(WHOLE["v2 longest"][:16]), Incomplete(65551))

    def test_certainty(self) -> None:
        self.assertEqual(
            [is_proxy_header(each) for each in (b"", b"PROXY", b"PROXY ", V2_START)],
            [False, False, True, True],
        )

    @given(
        st.binary(max_size=64),
        st.sampled_from((b"", b"PROXY ", b"PROXY TCP4 ", V2_START, V2_START + b"\x21\x11\x00\x10")),
    )
    def test_random(self, octets: bytes, start: bytes) -> None:
        read_proxy_header(start + octets)

    @given(st.sampled_from([*WHOLE][:-1]), st.integers(0, 400), st.integers(0, 255))
    def test_mutated(self, name: str, at: int, octet: int) -> None:
        octets = bytearray(WHOLE[name])
        octets[at % len(octets)] = octet
        self.check_prefixes(bytes(octets), range(len(octets) + 1))


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
PORT = st.integers(0, 65535)
FACTS = st.builds(
    Facts,
    st.none() | st.binary(min_size=1, max_size=10),
    st.none() | TEXT,
    st.none() | st.binary(max_size=128),
    st.none()
    | st.builds(SSLFacts, st.integers(0, 255), st.integers(0, 2**32 - 1), TEXT, TEXT, TEXT, TEXT, TEXT),
    st.none() | TEXT,
)


def ends(family: str) -> Any:
    host = (
        TEXT.filter(lambda text: text[0] != "@")
        if family == "unix"
        else st.ip_addresses(v=4 if family == "ipv4" else 6).map(str)
    )
    return st.builds(Endpoint, host, st.just(0) if family == "unix" else PORT)


HEADERS = st.sampled_from(("ipv4", "ipv6", "unix")).flatmap(
    lambda family: st.builds(
        ProxyHeader,
        st.just(2),
        st.just(False),
        st.just(family),
        st.sampled_from(("tcp", "udp")),
        ends(family),
        ends(family),
        FACTS,
    )
)


class WritingTests(SynchronousTestCase):
    @given(HEADERS, st.booleans())
    def test_v2_is_read_back(self, header: ProxyHeader, has_checksum: bool) -> None:
        octets = write_v2(header, has_checksum)
        found = read_proxy_header(octets)
        self.assertIsInstance(found, ProxyHeader, found)
        for name in ("version", "is_local", "family", "transport", "facts"):
            self.assertEqual(getattr(found, name), getattr(header, name))
        if header.family == "ipv4":
            self.assertEqual((found.source, found.destination), (header.source, header.destination))

    def test_v2(self) -> None:
        header = read_proxy_header(v2())
        self.assertEqual(write_v2(header), v2())
        self.assertEqual(write_v2(ProxyHeader(2, is_local=True)), v2(b"", 0x20, 0))
        self.assertEqual(write_v2(read_proxy_header(WHOLE["v2 unix"])), WHOLE["v2 unix"])

    def test_v1(self) -> None:
        for octets in (V1, V1_IPV6):
            self.assertEqual(write_v1(read_proxy_header(octets)), octets)
        self.assertEqual(write_v1(ProxyHeader(1)), b"PROXY UNKNOWN\r\n")
        self.assertEqual(write_v1(read_proxy_header(v2(family=0x12))), b"PROXY UNKNOWN\r\n")
        self.assertEqual(write_v1(read_proxy_header(WHOLE["v2 unix"])), b"PROXY UNKNOWN\r\n")
