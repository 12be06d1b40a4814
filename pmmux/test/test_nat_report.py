"""What is said of gateways and ports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import pmmux
from pmmux.nat.lease import MappingState
from pmmux.nat.mapping import Finding, Reason
from pmmux.nat.report import (
    GatewayReport,
    NATReport,
    PortReport,
    ProtocolReport,
    add_ipv6_advice,
    judge_external_address,
    judge_own_address,
)


def port(**fields: Any) -> PortReport:
    usual = {
        "name": "front", "transport": "tcp", "family": 4, "state": MappingState.MAPPED, "wanted_port": 443,
        "local_port": 8443, "protocol": "pcp", "external_address": "11.22.33.1", "public_port": 443,
        "remaining_seconds": 60.0, "reachable": True, "findings": (),
    }  # fmt: skip
    return PortReport(**{**usual, **fields})


class JudgementTests(SynchronousTestCase):
    def test_external_addresses(self) -> None:
        for address, reason in (
            ("10.1.2.3", Reason.DOUBLE_NAT), ("172.31.0.1", Reason.DOUBLE_NAT),
            ("192.168.0.1", Reason.DOUBLE_NAT),
            ("100.64.0.1", Reason.CARRIER_NAT), ("100.127.255.254", Reason.CARRIER_NAT),
            ("100.63.0.1", None), ("100.128.0.1", None), ("172.32.0.1", None), ("11.22.33.1", None),
            ("", None), ("fd00::1", None),
        ):  # fmt: skip
            finding = judge_external_address(address)
            self.assertEqual(finding and finding.reason, reason, address)

    def test_own_address(self) -> None:
        self.assertIsNone(judge_own_address("192.168.0.2"))
        self.assertIsNone(judge_own_address("fd00::2"))
        finding = judge_own_address("11.22.33.1")
        assert finding is not None
        self.assertEqual(finding.reason, Reason.PUBLIC_ADDRESS)


class PageTests(SynchronousTestCase):
    def test_every_reason_is_explained(self) -> None:
        page = (Path(pmmux.__file__).parents[1] / "docs" / "nat.md").read_text(encoding="utf-8")
        _, _, table = page.partition("## When it is not reachable")
        rows = set(re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE))
        self.assertEqual(rows, {reason.value for reason in Reason})


class AdviceTests(SynchronousTestCase):
    behind = port(reachable=False, findings=(Finding(Reason.CARRIER_NAT, "CGNAT"),))

    def test_open_pinhole(self) -> None:
        pinhole = port(family=6, external_address="2a00::2", public_port=8443)
        advised = add_ipv6_advice((self.behind, pinhole), "2a00::2")
        self.assertIn("[2a00::2]:8443", advised[0].findings[-1].text)
        self.assertEqual(advised[1], pinhole)

    def test_address_only(self) -> None:
        [advised] = add_ipv6_advice((self.behind,), "2a00::2")
        self.assertIn("2a00::2", advised.findings[-1].text)

    def test_none(self) -> None:
        self.assertEqual(add_ipv6_advice((self.behind, port()), ""), (self.behind, port()))
        self.assertEqual(add_ipv6_advice((port(),), "2a00::2"), (port(),))


class RenderingTests(SynchronousTestCase):
    def test_all(self) -> None:
        gateway = GatewayReport(
            4, "192.168.77.1", "eth0", "192.168.77.2", "100.64.0.1",
            (ProtocolReport("pcp", True, "PCP version 2"), ProtocolReport("upnp", None, ""),
             ProtocolReport("pmp", False, "no answer")),
            (Finding(Reason.CARRIER_NAT, "CGNAT"),),
        )  # fmt: skip
        none = GatewayReport(6, "", "", "", "", (), (Finding(Reason.NO_GATEWAY, "no default route"),))
        failed = port(
            name="games", transport="udp", state=MappingState.FAILED, wanted_port=0, public_port=0,
            reachable=False, findings=(Finding(Reason.PORT_TAKEN, "taken"),),
        )  # fmt: skip
        report = NATReport((gateway, none), (port(), failed))
        self.assertEqual(
            report.render(),
            "gateway 192.168.77.1 on eth0, seen from 192.168.77.2, external address 100.64.0.1\n"
            "  pcp: answers (PCP version 2)\n"
            "  upnp: being asked\n"
            "  pmp: no (no answer)\n"
            "  CGNAT\n"
            "no gateway on IPv6\n"
            "  no default route\n"
            "front (tcp, IPv4): 11.22.33.1:443 -> local port 8443 (pcp); mapped, reachable in principle\n"
            "games (udp, IPv4): public port ?; failed, not reachable\n"
            "  taken",
        )
        self.assertEqual(report.find("games", "udp"), failed)
        self.assertIsNone(report.find("games", "tcp"))

    def test_nothing(self) -> None:
        self.assertEqual(NATReport().render(), "no public port is wanted")
