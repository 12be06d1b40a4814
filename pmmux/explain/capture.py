"""
Captures, read by scapy: pcap and pcapng, also compressed, of whatever link it knows.

scapy takes a frame apart down to its IP header; the fixed fields of TCP and UDP, and fragments, are
read here, because scapy's own reading of them costs more than all the rest. Checksums are not
looked at: with offloading, those in a capture are seldom right.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import IO, Any

from attrs import field, frozen

from pmmux.errors import PmmuxError
from pmmux.explain.fragments import Fragments
from pmmux.model import Address

EXTRA = "explain"

TCP_NUMBER = 6
UDP_NUMBER = 17
FLAG_FIN = 0x01
FLAG_SYN = 0x02
FLAG_RST = 0x04
FLAG_ACK = 0x10
# Above anything a link carries; segments on the loopback exceed 64 KiB by their headers.
FRAME_LIMIT_OCTETS = 1 << 20
FRAGMENT_UNIT_OCTETS = 8
# The family in a loopback's header is a number of the machine that captured: Linux, Windows, NetBSD
# and OpenBSD, FreeBSD, macOS. scapy knows that of the machine it runs on.
AF_INET = 2
AF_INET6_ELSEWHERE = (10, 23, 24, 28, 30)
WORD_OCTETS = 4

_TCP = struct.Struct("!HHIIBB")
_UDP = struct.Struct("!HHH")
TCP_HEADER_OCTETS = 20
UDP_HEADER_OCTETS = 8


@frozen(auto_exc=True, slots=False)
class CaptureError(PmmuxError):
    """
    A capture that cannot be read.

    @ivar is_missing_extra: because scapy is not installed.
    """

    path: str
    reason: str
    is_missing_extra: bool = False
    outcome = "unreadable-capture"

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@frozen(slots=True)
class Packet:
    """
    A TCP segment or a UDP datagram.

    @ivar time: when it was captured, in seconds since 1970.
    @ivar octets: its payload, as much of it as was captured.
    @ivar missing_octets: how much of the payload was not.
    @ivar sequence: of TCP; also C{acknowledgement} and C{flags}.
    """

    time: float
    transport: str
    source: Address
    destination: Address
    octets: bytes = field(repr=False)
    missing_octets: int = 0
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = 0


def read_capture(path: str, stream: IO[bytes] | None = None) -> Iterator[Packet]:
    """
    Read every TCP segment and UDP datagram of a capture, in the order of the file.

    A capture that was cut off in the middle of a packet ends before it.

    @param path: the file's; also what errors call it.
    @param stream: read in place of the file.
    @raises CaptureError: scapy is not installed, there is no such file, it is not a capture, or one
        of a link that is not known.
    """
    # It warns of routes and interfaces, which nobody asked about.
    logging.getLogger("scapy").setLevel(logging.ERROR)
    try:
        from scapy.error import Scapy_Exception
        from scapy.layers.inet import IP, TCP, UDP
        from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
        from scapy.layers.l2 import Loopback, LoopbackOpenBSD
        from scapy.layers.ppp import PPPoE  # noqa: F401  # it registers itself
        from scapy.packet import Raw, bind_bottom_up
        from scapy.utils import PcapReader
    except ImportError as error:
        reason = f"reading captures needs scapy: pip install 'pmmux[{EXTRA}]' ({error})"
        raise CaptureError(path, reason, True) from None
    for loopback in (Loopback, LoopbackOpenBSD):
        for family, layer in [(AF_INET, IP), *((each, IPv6) for each in AF_INET6_ELSEWHERE)]:
            # Written by a machine of either byte order.
            for number in (family, int.from_bytes(family.to_bytes(4, "little"), "big")):
                bind_bottom_up(loopback, layer, type=number)
    try:
        opened: Any = path if stream is None else stream
        reader: Any = PcapReader(opened)
    except OSError as error:
        raise CaptureError(path, error.strerror or str(error)) from None
    except (Scapy_Exception, EOFError) as error:
        raise CaptureError(path, f"not a pcap or pcapng capture ({error})") from None
    dissection = _Dissection(IP, IPv6, IPv6ExtHdrFragment)
    stops = (IP, IPv6ExtHdrFragment, TCP, UDP)
    frames = raw_frames = 0
    with reader:
        while True:
            try:
                frame = reader.read_packet(FRAME_LIMIT_OCTETS, stop_dissection_after=stops)
            except EOFError:
                break
            except (Scapy_Exception, OSError, struct.error, ValueError) as error:
                raise CaptureError(path, f"broken after {frames} packets ({error})") from None
            frames += 1
            raw_frames += isinstance(frame, Raw)
            packet = dissection.read(frame)
            if packet is not None:
                yield packet
    if frames and frames == raw_frames:
        raise CaptureError(path, "its link type is none that scapy knows")


class _Dissection:
    """From scapy's frames to L{Packet}s."""

    def __init__(self, ipv4: Any, ipv6: Any, ipv6_fragment: Any) -> None:
        self._ipv4 = ipv4
        self._ipv6 = ipv6
        self._ipv6_fragment = ipv6_fragment
        self._fragments = Fragments()

    def read(self, frame: Any) -> Packet | None:
        time = float(frame.time)
        header = frame.getlayer(self._ipv4)
        if header is not None:
            return self._read_ipv4(time, header)
        header = frame.getlayer(self._ipv6)
        return None if header is None else self._read_ipv6(time, header)

    def _read_ipv4(self, time: float, header: Any) -> Packet | None:
        octets = _payload(header)
        # A length of 0 is one that the card was to fill in.
        length = header.len - header.ihl * WORD_OCTETS if header.len else len(octets)
        more = bool(header.flags.MF)
        if more or header.frag:
            key = (header.src, header.dst, header.id, header.proto)
            whole = self._fragments.take(key, header.frag * FRAGMENT_UNIT_OCTETS, octets[:length], more)
            if whole is None:
                return None
            octets, length = whole, len(whole)
        return _read_transport(time, header.src, header.dst, header.proto, "ipv4", octets, length)

    def _read_ipv6(self, time: float, header: Any) -> Packet | None:
        fragment = header.getlayer(self._ipv6_fragment)
        if fragment is not None:
            octets = _payload(fragment)
            key = (header.src, header.dst, fragment.id, fragment.nh)
            offset = fragment.offset * FRAGMENT_UNIT_OCTETS
            whole = self._fragments.take(key, offset, octets, bool(fragment.m))
            if whole is None:
                return None
            return _read_transport(time, header.src, header.dst, fragment.nh, "ipv6", whole, len(whole))
        last = header
        while last.name.startswith("IPv6"):
            octets = _payload(last)
            number = getattr(last, "nh", None)
            if number in (TCP_NUMBER, UDP_NUMBER):
                extension_octets = len(_payload(header)) - len(octets)
                length = header.plen - extension_octets if header.plen else len(octets)
                return _read_transport(time, header.src, header.dst, number, "ipv6", octets, length)
            last = last.payload
        return None


def _payload(layer: Any) -> bytes:
    payload = layer.payload
    return bytes(payload.original) if payload else b""


def _read_transport(
    time: float, source: str, destination: str, number: int, family: str, octets: bytes, length: int
) -> Packet | None:
    """@param length: how many octets there were on the wire."""
    if number == TCP_NUMBER and len(octets) >= _TCP.size:
        sport, dport, sequence, acknowledgement, offset, flags = _TCP.unpack_from(octets)
        start = (offset >> 4) * WORD_OCTETS
        if start < TCP_HEADER_OCTETS:
            return None
        payload = octets[start:length]
        return Packet(
            time,
            "tcp",
            Address(source, sport, family),
            Address(destination, dport, family),
            payload,
            max(0, length - start - len(payload)),
            sequence,
            acknowledgement,
            flags,
        )
    if number == UDP_NUMBER and len(octets) >= _UDP.size:
        sport, dport, stated = _UDP.unpack_from(octets)
        end = min(length, stated) if stated >= UDP_HEADER_OCTETS else length
        payload = octets[UDP_HEADER_OCTETS:end]
        return Packet(
            time,
            "udp",
            Address(source, sport, family),
            Address(destination, dport, family),
            payload,
            max(0, end - UDP_HEADER_OCTETS - len(payload)),
        )
    return None
