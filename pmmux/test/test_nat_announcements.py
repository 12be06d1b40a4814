"""What gateways say to all."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.nat.announcements import AnnouncementListener
from pmmux.nat.mapping import Link
from pmmux.test.nat_doubles import ADDRESS, GATEWAY, FakeNetwork, FakePort
from pmmux.wire.ssdp import SEARCH_TARGETS

PCP = bytes.fromhex("02800000 00000000 00000000") + bytes(12)
NAT_PMP = bytes.fromhex("00800000 00000000 0b162101")


def notification(boot: str = "7", kind: str = "ssdp:alive") -> bytes:
    boot_line = f"BOOTID.UPNP.ORG: {boot}\r\n" if boot else ""
    return f"NOTIFY * HTTP/1.1\r\nNT: {SEARCH_TARGETS[0]}\r\nNTS: {kind}\r\n{boot_line}\r\n".encode()


class AnnouncementTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.heard: list[str] = []
        self.listen(Link(GATEWAY, ADDRESS, "eth0"))
        self.servers, self.devices = self.network.ports

    def listen(self, link: Link) -> None:
        self.listener = AnnouncementListener(
            self.network, link, lambda: self.heard.append("restart"), lambda: self.heard.append("hint")
        )
        self.listener.start()

    def hear(self, port: FakePort, datagram: bytes, sender: str = GATEWAY) -> list[str]:
        self.heard.clear()
        port.receive(datagram, (sender, 5351))
        return list(self.heard)

    def test_bound_to_the_groups(self) -> None:
        self.assertEqual([port.interface for port in self.network.ports], ["224.0.0.1", "239.255.255.250"])
        self.successResultOf(self.listener.stop())
        self.assertEqual(self.network.ports, [])

    def test_mapping_servers(self) -> None:
        self.assertEqual(self.hear(self.servers, PCP), ["restart"])
        self.assertEqual(self.hear(self.servers, NAT_PMP), ["restart"])
        self.assertEqual(self.hear(self.servers, b"\0\x80"), [])
        self.assertEqual(self.hear(self.servers, bytes(24)), [])

    def test_only_the_gateway_is_heard(self) -> None:
        self.assertEqual(self.hear(self.servers, PCP, "192.168.77.3"), [])
        self.assertEqual(self.hear(self.devices, notification(), "192.168.77.3"), [])

    def test_devices(self) -> None:
        self.assertEqual(self.hear(self.devices, notification()), ["hint"])
        self.assertEqual(self.hear(self.devices, notification()), [])
        self.assertEqual(self.hear(self.devices, notification("8")), ["restart"])
        self.assertEqual(self.hear(self.devices, notification("8", "ssdp:byebye")), [])
        self.assertEqual(self.hear(self.devices, notification("")), ["hint"])
        self.assertEqual(self.hear(self.devices, b"NOTIFY"), [])

    def test_ipv6(self) -> None:
        self.network.ports.clear()
        self.listen(Link("fd77::1", "fd77::2", "lo"))
        if not self.network.ports:
            self.skipTest("IPv6 is switched off")
        [port] = self.network.ports
        self.assertEqual(port.interface, "ff02::1")
        self.assertEqual(self.hear(port, PCP, "fe80::1%lo"), ["restart"])
        self.assertEqual(self.hear(port, PCP, "fd77::1"), ["restart"])
        self.assertEqual(self.hear(port, PCP, "fd77::9"), [])

    def test_no_such_interface(self) -> None:
        self.network.ports.clear()
        self.listen(Link("fd77::1", "fd77::2", "none0"))
        self.assertEqual(self.network.ports, [])
