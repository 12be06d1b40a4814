"""Packets for tests of C{explain}, made one flow at a time, and captures of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from pmmux.explain.capture import FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, Packet
from pmmux.explain.reassembly import SEQUENCE_NUMBERS
from pmmux.model import Address

CLIENT = Address("10.0.0.9", 50001)
SERVER = Address("10.0.0.1", 443)
CLIENT_ISN = SEQUENCE_NUMBERS - 20
SERVER_ISN = 7000
STEP_SECONDS = 0.001

DNS_QUERY = bytes.fromhex("12340100000100000000000003777777076578616d706c65036f72670000010001")


class Talk:
    """One TCP connection as it is captured."""

    def __init__(self, client: Address = CLIENT, server: Address = SERVER, at: float = 1000.0) -> None:
        self.packets: list[Packet] = []
        self.client, self.server = client, server
        self.time = at
        self.client_next, self.server_next = CLIENT_ISN, SERVER_ISN

    def wait(self, seconds: float) -> Talk:
        self.time += seconds
        return self

    def open(self) -> Talk:
        self._from_client(FLAG_SYN)
        self.client_next = (self.client_next + 1) % SEQUENCE_NUMBERS
        self._from_server(FLAG_SYN | FLAG_ACK)
        self.server_next += 1
        self._from_client(FLAG_ACK)
        return self

    def say(self, octets: bytes, size: int = 1400) -> Talk:
        for at in range(0, len(octets), size):
            piece = octets[at : at + size]
            self._from_client(FLAG_ACK, piece)
            self.client_next = (self.client_next + len(piece)) % SEQUENCE_NUMBERS
        return self

    def reply(self, octets: bytes) -> Talk:
        self._from_server(FLAG_ACK, octets)
        self.server_next += len(octets)
        return self

    def end(self) -> Talk:
        self._from_client(FLAG_FIN | FLAG_ACK)
        self.client_next += 1
        return self

    def reset(self) -> Talk:
        self._from_client(FLAG_RST)
        return self

    def end_server(self) -> Talk:
        self._from_server(FLAG_FIN | FLAG_ACK)
        self.server_next += 1
        return self

    def _from_client(self, flags: int, octets: bytes = b"") -> None:
        self._add(self.client, self.server, flags, octets, self.client_next, self.server_next)

    def _from_server(self, flags: int, octets: bytes = b"") -> None:
        self._add(self.server, self.client, flags, octets, self.server_next, self.client_next)

    def _add(self, source: Address, to: Address, flags: int, octets: bytes, seq: int, ack: int) -> None:
        self.time = round(self.time + STEP_SECONDS, 6)
        acknowledged = ack if flags & FLAG_ACK else 0
        self.packets.append(Packet(self.time, "tcp", source, to, octets, 0, seq, acknowledged, flags))


def datagram(octets: bytes, source: Address = CLIENT, to: Address = SERVER, at: float = 1000.0) -> Packet:
    return Packet(at, "udp", source, to, octets)


def timed(packets: Sequence[Packet], order: Sequence[int]) -> list[Packet]:
    """C{packets} as captured in another order."""
    return [evolve(packets[each], time=1000.0 + at * STEP_SECONDS) for at, each in enumerate(order)]


def scapy_packet(packet: Packet) -> Any:
    """C{packet} from its IP header on."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

    layer = IPv6 if packet.source.family == "ipv6" else IP
    made = layer(src=packet.source.host, dst=packet.destination.host)
    ports = {"sport": packet.source.port, "dport": packet.destination.port}
    if packet.transport == "tcp":
        numbers = {"seq": packet.sequence, "ack": packet.acknowledgement, "flags": packet.flags}
        made = made / TCP(**ports, **numbers)
    else:
        made = made / UDP(**ports)
    made = made / packet.octets if packet.octets else made
    made.time = packet.time
    return made


def write_capture(
    path: str, packets: Sequence[Any], link: int, frame: Callable[[Any], Any], is_ng: bool = False
) -> None:
    """
    Write C{packets} to a file.

    @param link: the link type.
    @param frame: puts a packet into its frame.
    """
    from scapy.utils import PcapNgWriter, PcapWriter

    writer: Any = PcapNgWriter(path) if is_ng else PcapWriter(path, linktype=link)
    with writer:
        for packet in packets:
            framed = frame(packet)
            framed.time = packet.time
            writer.write(framed)
