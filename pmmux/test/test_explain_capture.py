"""Captures of every kind of file and link."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pmmux.explain.capture import CaptureError, Packet, read_capture
from pmmux.model import Address
from pmmux.test.captures import DNS_QUERY, Talk, datagram, scapy_packet, write_capture

try:
    from scapy.layers.inet import IP, UDP, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6
    from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback, LoopbackOpenBSD
except ImportError:
    SKIP = "missing: scapy"
else:
    SKIP = ""

CLIENT6 = Address("2001:db8::9", 50001, "ipv6")
SERVER6 = Address("2001:db8::1", 443, "ipv6")
PACKETS = [
    *Talk().open().say(b"hello").end().packets,
    *Talk(CLIENT6, SERVER6).open().say(b"hello").packets,
    datagram(DNS_QUERY),
    datagram(DNS_QUERY, CLIENT6, SERVER6),
]
# Where they are not given, scapy asks the network for them.
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
VLAN, VLAN_OF_VLANS = 0x8100, 0x88A8


def ethertype(packet: Any) -> int:
    return 0x86DD if isinstance(packet, IPv6) else 0x0800


def loopback(layer: Any, ipv6: int) -> Callable[[Any], Any]:
    return lambda packet: layer(type=ipv6 if isinstance(packet, IPv6) else 2) / packet


class LinkTests(SynchronousTestCase):
    if SKIP:
        skip = SKIP

    def check(self, link: int, frame: Callable[[Any], Any], is_ng: bool = False) -> str:
        path = self.mktemp()
        write_capture(path, [scapy_packet(packet) for packet in PACKETS], link, frame, is_ng)
        self.assertEqual(self.read(path), PACKETS, path)
        return path

    def read(self, path: str) -> list[Packet]:
        return [evolve(packet, time=round(packet.time, 6)) for packet in read_capture(path)]

    def test_ethernet(self) -> None:
        self.check(1, lambda packet: Ether(**MACS) / packet)

    def test_pcapng(self) -> None:
        self.check(1, lambda packet: Ether(**MACS) / packet, True)

    def test_compressed(self) -> None:
        path = self.check(1, lambda packet: Ether(**MACS) / packet)
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as compressed:
            compressed.write(plain.read())
        self.assertEqual(self.read(f"{path}.gz"), PACKETS)

    def test_vlan(self) -> None:
        self.check(1, lambda packet: Ether(**MACS) / Dot1Q(vlan=5, type=ethertype(packet)) / packet)

    def test_vlan_in_vlan(self) -> None:
        for outer in (Dot1AD, Dot1Q):
            kind = VLAN_OF_VLANS if outer is Dot1AD else VLAN
            self.check(
                1,
                lambda packet, outer=outer, kind=kind: (
                    Ether(type=kind, **MACS)
                    / outer(vlan=3, type=VLAN)
                    / Dot1Q(vlan=5, type=ethertype(packet))
                    / packet
                ),
            )

    def test_raw(self) -> None:
        for link in (12, 101):
            self.check(link, lambda packet: packet)

    def test_linux_cooked(self) -> None:
        self.check(113, lambda packet: CookedLinux(proto=ethertype(packet)) / packet)
        self.check(276, lambda packet: CookedLinuxV2(proto=ethertype(packet)) / packet)

    def test_loopback_of_every_system(self) -> None:
        for ipv6 in (10, 24, 28, 30):
            self.check(0, loopback(Loopback, ipv6))
            self.check(108, loopback(LoopbackOpenBSD, ipv6))


class OddPacketTests(SynchronousTestCase):
    if SKIP:
        skip = SKIP

    def read(self, packets: list[Any]) -> list[Packet]:
        path = self.mktemp()
        for packet in packets:
            packet.time = 1000.0
        write_capture(path, packets, 101, lambda packet: packet)
        return list(read_capture(path))

    def test_fragments_in_any_order(self) -> None:
        octets = os.urandom(3000)
        ipv4 = fragment(IP(src="10.0.0.9", dst="10.0.0.1") / UDP(sport=9, dport=53) / octets, 800)
        ipv6 = fragment6(
            IPv6(src="2001:db8::9", dst="2001:db8::1")
            / IPv6ExtHdrFragment()
            / UDP(sport=9, dport=53)
            / octets,
            1280,
        )
        for pieces in (ipv4, ipv4[::-1], ipv6, ipv6[::-1]):
            (packet,) = self.read(list(pieces))
            self.assertEqual((packet.octets, packet.missing_octets), (octets, 0))

    def test_extension_headers(self) -> None:
        made = (
            IPv6(src="2001:db8::9", dst="2001:db8::1")
            / IPv6ExtHdrHopByHop()
            / UDP(sport=9, dport=53)
            / b"abc"
        )
        (packet,) = self.read([made])
        self.assertEqual((packet.octets, packet.missing_octets), (b"abc", 0))

    def test_cut_by_the_snap_length(self) -> None:
        for family, kept in ((IP, 20 + 20 + 3), (IPv6, 40 + 20 + 3)):
            client, server = (CLIENT6, SERVER6) if family is IPv6 else (None, None)
            talk = Talk(client, server) if client and server else Talk()
            whole = bytes(scapy_packet(talk.open().say(b"hello").packets[3]))
            path = self.mktemp()
            from scapy.utils import PcapWriter

            with PcapWriter(path, linktype=101) as writer:
                writer.write_header(None)
                writer.write_packet(whole[:kept], sec=1000, usec=0, caplen=kept, wirelen=len(whole))
            (packet,) = read_capture(path)
            self.assertEqual((packet.octets, packet.missing_octets), (b"hel", 2))

    def test_wrong_checksums_and_padding(self) -> None:
        made = (
            Ether(**MACS)
            / IP(src="10.0.0.9", dst="10.0.0.1", chksum=1)
            / UDP(sport=9, dport=53, chksum=2)
            / b"abc"
        )
        made = made / b""
        padded = Ether(bytes(made) + bytes(20))
        padded.time = 1000.0
        path = self.mktemp()
        write_capture(path, [padded], 1, lambda packet: packet)
        (packet,) = read_capture(path)
        self.assertEqual(packet.octets, b"abc")


class FaultTests(SynchronousTestCase):
    if SKIP:
        skip = SKIP

    def fault(self, content: bytes | None) -> str:
        path = self.mktemp()
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        error = self.assertRaises(CaptureError, list, read_capture(path))
        self.assertTrue(str(error).startswith(f"{path}: "), error)
        return error.reason

    def test_no_such_file(self) -> None:
        self.assertIn("No such file", self.fault(None))

    def test_garbage(self) -> None:
        for content in (b"", b"x", b"root:x:0:0:root\n" * 10, bytes.fromhex("0a0d0d0a") + b"x" * 50):
            self.assertIn("not a pcap or pcapng capture", self.fault(content))

    def test_random_octets_after_a_right_header_do_not_raise(self) -> None:
        for _ in range(50):
            path = self.mktemp()
            with open(path, "wb") as file:
                file.write(
                    bytes.fromhex("d4c3b2a1020004000000000000000000ffff000065000000") + os.urandom(400)
                )
            with contextlib.suppress(CaptureError):
                list(read_capture(path))

    def test_unknown_link(self) -> None:
        header = bytes.fromhex("d4c3b2a1020004000000000000000000ffff0000") + (147).to_bytes(4, "little")
        record = bytes(8) + (4).to_bytes(4, "little") * 2 + b"abcd"
        self.assertIn("link type", self.fault(header + record))
