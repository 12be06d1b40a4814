"""The way to the gateway."""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.nat.mapping import Link, Reason
from pmmux.nat.routes import (
    WATCH_SECONDS,
    DefaultRoute,
    LinkChoice,
    RouteTable,
    RouteWatcher,
    find_own_address,
    parse_ipv4_routes,
    parse_ipv6_routes,
)
from pmmux.nat.settings import IPV4, IPV6

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def line(interface: str, gateway: str, flags: int = 3, metric: int = 0, destination: str = "00000000") -> str:
    number = struct.unpack("=I", bytes(int(part) for part in gateway.split(".")))[0]
    mask = "00000000" if destination == "00000000" else "00FFFFFF"
    return f"{interface}\t{destination}\t{number:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


IPV6_LINE = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 {gateway} 00000400 00000002 "
    "00000000 {flags} {interface}\n"
)


class ParsingTests(SynchronousTestCase):
    def test_lowest_metric_first(self) -> None:
        text = HEAD + line("wlan0", "10.0.0.1", metric=600) + line("eth0", "192.168.77.1", metric=100)
        self.assertEqual(
            parse_ipv4_routes(text),
            [DefaultRoute("eth0", "192.168.77.1", 100), DefaultRoute("wlan0", "10.0.0.1", 600)],
        )

    def test_other_routes(self) -> None:
        text = HEAD + line("eth0", "0.0.0.0", 1, destination="004DA8C0") + line("eth0", "10.0.0.1", flags=2)
        self.assertEqual(parse_ipv4_routes(text + line("*", "10.0.0.1", flags=0x203)), [])

    def test_tunnel(self) -> None:
        self.assertEqual(parse_ipv4_routes(HEAD + line("tun0", "0.0.0.0", 1)), [DefaultRoute("tun0", "", 0)])

    def test_ipv6(self) -> None:
        text = IPV6_LINE.format(
            gateway="fe80000000000000000000000000abcd", flags="00450003", interface="eth0"
        ) + IPV6_LINE.format(gateway="0" * 32, flags="00200200", interface="lo")
        self.assertEqual(parse_ipv6_routes(text), [DefaultRoute("eth0", "fe80::abcd%eth0", 1024)])

    @settings(deadline=None)
    @given(st.text(alphabet="0123456789ABCDEFfx. \t\nG", max_size=300))
    def test_never_raises(self, text: str) -> None:
        parse_ipv4_routes(HEAD + text)
        parse_ipv6_routes(text)


class TableCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.own = {"192.168.77.1": "192.168.77.2", "10.0.0.1": "10.0.0.2"}

    def table(self, text: str, gateway: str = "", interface: str = "") -> RouteTable:
        self.path.write_text(HEAD + text)
        return RouteTable(gateway, interface, {IPV4: self.path}, lambda _, there: self.own.get(there, ""))


class TableTests(TableCase):
    def test_default_route(self) -> None:
        choice = self.table(line("eth0", "192.168.77.1")).choose(IPV4)
        self.assertEqual(choice, LinkChoice(Link("192.168.77.1", "192.168.77.2", "eth0")))

    def test_no_route(self) -> None:
        choice = self.table("").choose(IPV4)
        self.assertIsNone(choice.link)
        self.assertIn("no default route", choice.findings[0].text)

    def test_no_file(self) -> None:
        choice = RouteTable(paths={IPV4: Path(self.mktemp())}).choose(IPV4)
        self.assertEqual([finding.reason for finding in choice.findings], [Reason.NO_GATEWAY])

    def test_tunnel(self) -> None:
        choice = self.table(line("tun0", "0.0.0.0", 1)).choose(IPV4)
        self.assertIsNone(choice.link)
        self.assertIn("tun0", choice.findings[0].text)

    def test_other_interface_than_the_default(self) -> None:
        text = line("tun0", "0.0.0.0", 1) + line("eth0", "192.168.77.1", metric=100)
        choice = self.table(text, interface="eth0").choose(IPV4)
        self.assertEqual(choice.link, Link("192.168.77.1", "192.168.77.2", "eth0"))
        self.assertEqual([finding.reason for finding in choice.findings], [Reason.WRONG_INTERFACE])

    def test_interface_without_route(self) -> None:
        choice = self.table(line("eth0", "192.168.77.1"), interface="eth1").choose(IPV4)
        self.assertIsNone(choice.link)
        self.assertEqual(
            [finding.reason for finding in choice.findings], [Reason.NO_GATEWAY, Reason.WRONG_INTERFACE]
        )

    def test_configured_gateway(self) -> None:
        choice = self.table(line("eth0", "192.168.77.1"), gateway="10.0.0.1").choose(IPV4)
        self.assertEqual(choice.link, Link("10.0.0.1", "10.0.0.2", ""))

    def test_no_own_address(self) -> None:
        choice = self.table(line("eth0", "192.168.99.1")).choose(IPV4)
        self.assertIsNone(choice.link)
        self.assertIn("192.168.99.1", choice.findings[0].text)

    def test_own_address_of_this_machine(self) -> None:
        self.assertEqual(find_own_address(IPV4, "127.0.0.1"), "127.0.0.1")
        self.assertIsInstance(find_own_address(IPV6, ""), str)


class WatcherTests(TableCase):
    def test_tells_of_changes_only(self) -> None:
        clock, told = Clock(), []
        table = self.table(line("eth0", "192.168.77.1"))
        watcher = RouteWatcher(clock, table, lambda family, choice: told.append((family, choice.link)))
        watcher.watch(IPV4)
        first = (IPV4, Link("192.168.77.1", "192.168.77.2", "eth0"))
        self.assertEqual(told, [first])
        clock.advance(WATCH_SECONDS)
        self.own["192.168.77.1"] = "192.168.77.9"
        clock.advance(WATCH_SECONDS)
        self.table("")
        clock.advance(WATCH_SECONDS)
        self.assertEqual(told, [first, (IPV4, Link("192.168.77.1", "192.168.77.9", "eth0")), (IPV4, None)])
        watcher.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
