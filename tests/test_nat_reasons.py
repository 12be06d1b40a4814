"""Why a public port is not reachable: pmmux says so, and serves the LAN meanwhile."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.nat_lab.case import BARE, LOCAL_PORT, PUBLIC_PORT, NATLabCase, configure, front
from tests.nat_lab.device import ELSEWHERE_PORT
from tests.nat_lab.lab import CLIENT, LAN, LAN_IPV6, OTHER, ROUTER, Lab
from tests.support.process import kill_group

STOP_SECONDS = 15.0
NOT_REACHABLE = "not reachable"
# What the gateway sees in place of our own address.
BEHIND = f"{LAN}.8"
_ACCEPT = """
import socket, sys
server = socket.create_server(('', int(sys.argv[1])))
while 1:
    server.accept()
    print('somebody came', flush=True)
"""


class GatewayTests(NATLabCase):
    """None, a silent one, one behind another."""

    protocols = ("pcp", "pmp")

    def test_no_gateway(self) -> None:
        lab = self.make_lab()
        lab.run("client", "ip", "route", "del", "default")
        started = self.run_pmmux(lab)
        self.assert_served_on_the_lan(lab)
        said = started.wait_until_says("NAT: front", "waiting, not reachable")
        self.assertIn("no default route", said)
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        started.wait_until_says("NAT: front", "mapped")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_silent_gateway(self) -> None:
        lab = self.make_lab(daemon=False)
        started = self.run_pmmux(lab, configure(timeout="1s"))
        self.assert_served_on_the_lan(lab)
        self.assertIn(f"no answer from {ROUTER}", started.wait_until_says("NAT: front", NOT_REACHABLE))
        began = time.monotonic()
        self.assertEqual(started.stop(), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)

    def test_behind_another_nat(self) -> None:
        """miniupnpd tells by itself that it is of no use there."""
        for address in ("100.64.7.7", "192.168.1.2"):
            lab = self.make_lab(daemon=False)
            lab.run("router", "ip", "addr", "flush", "dev", "wan0", "scope", "global")
            lab.run("router", "ip", "addr", "add", f"{address}/24", "dev", "wan0")
            lab.start_daemon()
            started = self.run_pmmux(lab)
            said = started.wait_until_says("NAT: front", NOT_REACHABLE, "(double NAT or CGNAT)")
            self.assertIn(f"this machine has the IPv6 address {LAN_IPV6}2: listen on IPv6 as well", said)
            self.assert_served_on_the_lan(lab)
            self.assert_nothing_mapped(lab)

    def test_listener_elsewhere(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure().replace("0.0.0.0", "127.0.0.1"))
        said = started.wait_until_says("NAT: front", "failed, not reachable")
        self.assertIn(f"is on 127.0.0.1, but the gateway {ROUTER} sends traffic to {CLIENT}", said)

    def test_interface_elsewhere(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure(more="interface = lo"))
        started.wait_until_says("NAT: front", "[nat] names lo, but the default route goes through eth0")
        self.assert_served_on_the_lan(lab)

    def test_own_address_changes(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        lab.run("client", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        started.wait_until_says("NAT: front", f"this machine's former address {CLIENT}")

    def test_nobody_may_map(self) -> None:
        lab = self.make_lab(permissions=("deny 0-65535 0.0.0.0/0 0-65535",))
        # By PCP and NAT-PMP miniupnpd does not answer then: it looks at each port for one that it may give.
        nat = self.start(lab, protocols=("upnp",))
        nat.wait_for_reasons("port-denied")
        self.assertIn(f"does not let this machine have port {PUBLIC_PORT}", nat.describe_last())


class SecureModeTests(NATLabCase):
    """In secure mode miniupnpd maps to nobody but who asks; here it sees another address than ours."""

    def setUp(self) -> None:
        super().setUp()
        self.lab = self.make_lab()
        self.lab.run("client", "ip", "addr", "add", f"{BEHIND}/24", "dev", "eth0")
        table = ("ip", "between")
        hook = "{ type nat hook postrouting priority 100; }"
        self.lab.run("client", "nft", "add", "table", *table)
        self.lab.run("client", "nft", "add", "chain", *table, "out", hook)
        rule = f"ip daddr {ROUTER} ip saddr {CLIENT} snat to {BEHIND}"
        self.lab.run("client", "nft", "add", "rule", *table, "out", *rule.split())

    def test_upnp(self) -> None:
        started = self.run_pmmux(self.lab, configure(more="protocol = upnp"))
        said = started.wait_until_says("NAT: front", "failed, not reachable")
        self.assertIn(f"the gateway refuses port {PUBLIC_PORT} although its table does not have it", said)
        self.assertIn(f"secure mode and does not take us for {CLIENT}", said)
        self.assert_served_on_the_lan(self.lab)
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(self.lab)

    def test_upnp_with_any_port(self) -> None:
        """Not one of those that are tried instead is given either."""
        nat = self.start(self.lab, front(public_port=0), protocols=("upnp",))
        nat.wait_for_reasons("secure-mode")
        self.assert_nothing_mapped(self.lab)

    def test_all_protocols(self) -> None:
        """PCP knows best, and NAT-PMP is not asked to map to whoever that is."""
        nat = self.start(self.lab, timeout_seconds=20.0)
        nat.wait(lambda line: line.get("text", "").count("answers") == len(self.protocols))
        nat.wait_for_reasons("address-mismatch")
        self.assert_nothing_mapped(self.lab)
        nat.stop()
        self.assertEqual(nat.count("portmap.created"), 0)


class OtherClientTests(NATLabCase):
    """A conflict in secure mode, where only UPnP says who it is with."""

    protocols = ("upnp",)

    def test_port_of_another_machine(self) -> None:
        lab = self.make_lab()
        other = self.start(lab, front(local_port=7000), place="other")
        other.wait_for_port(state="mapped")
        started = self.run_pmmux(lab)
        said = started.wait_until_says("NAT: front", "failed, not reachable")
        self.assertIn(f"port {PUBLIC_PORT} is taken by {OTHER}, port 7000", said)
        self.assertEqual(started.stop(), 0)
        # It is not ours to delete.
        self.wait_until_mapped(lab, OTHER)


class StrangeDeviceTests(NATLabCase):
    """Gateways that miniupnpd cannot play."""

    protocols = ("upnp",)

    def test_permanent_leases_only(self) -> None:
        """They stay after a crash, and go at the next start."""
        lab = self.make_lab(daemon=False)
        device = self.run_device(lab, "permanent")
        started = self.run_pmmux(lab)
        said = started.wait_until_says("NAT: front", "mapped, reachable in principle")
        self.assertIn("the gateway knows permanent mappings only", said)
        kill_group(started.process)
        self.assertEqual(set(device.said()[-1]["leases"]), {"0"})
        self.assertEqual(device.ports(), [str(PUBLIC_PORT)])
        again = self.run_pmmux(lab, configure(public_port=9443, more="protocol = upnp"))
        again.wait_until_says("NAT: front", ":9443 -> ", "mapped")
        self.assertEqual(device.ports(), ["9443"])
        self.assertEqual(again.stop(), 0)
        self.assertEqual(device.ports(), [])

    def test_behind_another_nat(self) -> None:
        for kind, reason, words in (
            ("cgnat", "cgnat", "the provider shares its addresses (CGNAT)"),
            ("double-nat", "double-nat", "double NAT: the gateway's own address 192.168.1.2 is private"),
        ):
            lab = self.make_lab(daemon=False)
            self.run_device(lab, kind)
            nat = self.start(lab)
            port = nat.wait_for_port(state="mapped", reachable=False)
            self.assertEqual([each["reason"] for each in port["findings"]], [reason, "ipv6-instead"])
            self.assertIn(words, nat.describe_last())
            self.assertIn(f"port {LOCAL_PORT} (upnp); mapped, not reachable", nat.describe_last())

    def test_hostile(self) -> None:
        """No request goes elsewhere, and nothing is left behind."""
        lab = self.make_lab(daemon=False)
        visitors = self.listen(lab)
        for kind, reason in (
            ("elsewhere", "no-answer"),
            ("redirect", "broken-device"),
            ("entities", "broken-device"),
            ("too-large", "broken-device"),
            ("nonsense", "broken-device"),
        ):
            device = self.run_device(lab, kind)
            nat = self.start(lab, timeout_seconds=1.0)
            port = nat.wait_for_port(reachable=False)
            self.assertEqual([finding["reason"] for finding in port["findings"]], [reason], kind)
            stopped = nat.stop()
            self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []), kind)
            self.assertEqual(device.ports(), [])
            kill_group(device.process)
        self.assertEqual(visitors.read_text(), "")

    def listen(self, lab: Lab) -> Path:
        """@return: the log of a machine that tells of whoever connects to it."""
        path = lab.directory / "elsewhere.log"
        with path.open("w") as log:
            command = [sys.executable, *BARE, _ACCEPT, str(ELSEWHERE_PORT)]
            process = lab.popen("other", command, stdout=log, start_new_session=True)
        self.addCleanup(kill_group, process)
        listening = f":{ELSEWHERE_PORT:04X} "
        self.wait_until(lambda: listening in lab.run("other", "cat", "/proc/net/tcp"), "listening")
        return path
