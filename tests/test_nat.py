"""
NAT port mapping, end to end: our service, a real miniupnpd with real rules, and a client outside.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from tests.nat_lab.lab import CLIENT, LAN, OTHER, OUTER, ROUTER, ULA, WAN, Lab, find_missing
from tests.nat_lab.process import NATProcess
from tests.nat_lab.side_by_side import SideBySideCase, make_suite
from tests.support.waiting import USUAL_SECONDS

MISSING = find_missing()
MISSING_UPNP = next(
    (
        f"the package {name} is missing (pip install pmmux[upnp])"
        for name in ("netifaces", "txupnp")
        if importlib.util.find_spec(name) is None
    ),
    "",
)
LOCAL_PORT, PUBLIC_PORT = 8080, 8443
# Just under what the lab allows: PCP and NAT-PMP look for the next port that is allowed, one by one.
DENIED_PORT = 1020
REMAP_SECONDS = 2.0
REPLACED_SECONDS = 0.4

# Python starts twice as fast without site-packages.
BARE = ("-I", "-S", "-c")
_CONNECT = """
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET
kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM
with socket.socket(family, kind) as client:
    client.settimeout(float(sys.argv[4]))
    client.connect((sys.argv[2], int(sys.argv[3])))
    if sys.argv[1] == 'udp':
        client.send(b'you')
    print(client.recv(100).decode().strip())
"""


def front(**fields: Any) -> dict[str, Any]:
    """The port that most tests want."""
    usual = {"name": "front", "transport": "tcp", "local_port": LOCAL_PORT, "public_port": PUBLIC_PORT}
    return {**usual, **fields}


class NATLabCase(SideBySideCase):
    """Makes labs and processes, and takes them down."""

    protocols: tuple[str, ...] = ("pcp", "pmp", "upnp")

    def begin(self) -> None:
        if MISSING:
            raise SkipTest(MISSING)
        if "upnp" in self.protocols and MISSING_UPNP:
            raise SkipTest(MISSING_UPNP)

    def make_lab(self, **options: str) -> Lab:
        lab = Lab(**options)
        self.at_end(lab.down)
        lab.up()
        return lab

    def start(self, lab: Lab, *wanted: dict[str, Any], place: str = "client", **settings: Any) -> NATProcess:
        usual = {"protocols": self.protocols, "timeout_seconds": 2.0}
        process = NATProcess(lab, place, list(wanted) or [front()], **{**usual, **settings})
        self.at_end(process.kill)
        return process

    def greet(self, lab: Lab, address: str, port: int, transport: str = "tcp", timeout: float = 2) -> str:
        """What a client outside hears from the backend; empty where it does not get there."""
        return lab.run(
            "outside",
            sys.executable,
            *BARE,
            _CONNECT,
            transport,
            address,
            str(port),
            str(timeout),
            check=False,
        ).strip()

    def wait_until(self, found: Callable[[], object], seconds: float, what: str) -> float:
        """Wait for something that is not said, and say how long it took."""
        began = time.monotonic()
        while not found():
            if time.monotonic() - began > seconds:
                self.fail(f"{what}: not within {seconds} s")
            time.sleep(0.02)
        return time.monotonic() - began

    def assert_mapped(self, lab: Lab, to: str = CLIENT, port: int = PUBLIC_PORT) -> None:
        self.assertIn(f"dport {port} dnat ip to {to}:", lab.list_mappings())

    def assert_nothing_mapped(self, lab: Lab) -> None:
        self.assertNotIn("dnat", lab.list_mappings())


class DriverTests:
    """What holds for each driver; those below say which."""

    driver = ""

    def begin(self) -> None:
        self.protocols = (self.driver,)
        super().begin()

    def test_client_outside_reaches_backend_inside(self) -> None:
        lab = self.make_lab()
        nat = self.start(
            lab, front(), front(name="games", transport="udp", local_port=9090, public_port=9191)
        )
        port = nat.wait_for_port(state="mapped")
        nat.wait_for_port(name="games", state="mapped")
        self.assertEqual(
            (port["public_port"], port["local_port"], port["protocol"], port["reachable"]),
            (PUBLIC_PORT, LOCAL_PORT, self.driver, True),
        )
        self.assertEqual(port["external_address"], OUTER)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")
        self.assertEqual(self.greet(lab, OUTER, 9191, "udp"), "hello you")
        stopped = nat.stop()
        self.assert_nothing_mapped(lab)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))
        self.assertEqual(nat.count("portmap.created"), 2)
        self.assertEqual(nat.count("portmap.deleted"), 2)
        self.assertEqual(nat.count("portmap.renewed"), 0)

    def test_any_public_and_any_local_port(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(local_port=0, public_port=0))
        port = nat.wait_for_port(state="mapped")
        self.assertTrue(port["public_port"] and port["local_port"])
        self.assertEqual(self.greet(lab, OUTER, port["public_port"]), f"hello from port {port['local_port']}")

    def test_mapping_is_renewed_before_it_ends(self) -> None:
        lab = self.make_lab(min_lifetime="2")
        nat = self.start(lab, lifetime_seconds=3)
        nat.wait_for_port(state="mapped")
        began = time.monotonic()
        while time.monotonic() - began < 4:
            # At a renewal the daemon deletes its rule and adds it again, some 10 ms apart.
            self.wait_until(lambda: "dnat" in lab.list_mappings(), REPLACED_SECONDS, "still mapped")
            time.sleep(0.1)
        self.assertGreaterEqual(nat.count("portmap.renewed"), 2)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_mapping_ends_by_itself_after_kill(self) -> None:
        lab = self.make_lab(min_lifetime="2")
        nat = self.start(lab, lifetime_seconds=2)
        nat.wait_for_port(state="mapped")
        nat.kill()
        self.assert_mapped(lab)
        self.wait_until(lambda: "dnat" not in lab.list_mappings(), USUAL_SECONDS, "the lease's end")

    def test_daemon_restarts(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        for number in (signal.SIGTERM, signal.SIGKILL):
            lab.stop_daemon(number)
            lab.load_rules()
            time.sleep(0.5)
            lab.start_daemon()
            self.wait_until(lambda: "dnat" in lab.list_mappings(), REMAP_SECONDS, "mapped again")
            self.assert_mapped(lab)

    def test_mappings_lost_without_a_word(self) -> None:
        """The announcements do not reach us: the poll finds out."""
        lab = self.make_lab()
        for rule in ("udp dport 5350 drop", "udp dport 1900 udp sport 1900 drop"):
            lab.run("router", "nft", "add", "chain", "inet", "filter", "output",
                    "{ type filter hook output priority 0; }")  # fmt: skip
            lab.run("router", "nft", "add", "rule", "inet", "filter", "output", *rule.split())
        nat = self.start(lab, poll_seconds=1.0)
        nat.wait_for_port(state="mapped")
        time.sleep(3)  # An epoch of fewer seconds could not be told from a new one.
        lab.stop_daemon(signal.SIGKILL)
        lab.load_rules()
        lab.start_daemon()
        self.wait_until(lambda: "dnat" in lab.list_mappings(), USUAL_SECONDS, "mapped again")

    def test_gateway_comes_late(self) -> None:
        lab = self.make_lab()
        lab.stop_daemon()
        nat = self.start(lab)
        nat.wait_for_port(state="waiting", reachable=False, seconds=10)
        time.sleep(1)
        lab.start_daemon()
        took = self.wait_until(lambda: "dnat" in lab.list_mappings(), REMAP_SECONDS, "mapped at last")
        self.assertLess(took, REMAP_SECONDS)
        nat.wait_for_port(state="mapped")

    def test_external_address_changes(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, poll_seconds=1.0)
        nat.wait_for_port(state="mapped", external_address=OUTER)
        lab.run("router", "ip", "addr", "add", f"{WAN}.9/24", "dev", "wan0")
        lab.run("router", "ip", "addr", "del", f"{OUTER}/24", "dev", "wan0")
        lab.run("router", "ip", "addr", "add", f"{WAN}.9/24", "dev", "wan0", check=False)
        nat.wait_for_port(state="mapped", external_address=f"{WAN}.9")
        self.assertEqual(self.greet(lab, f"{WAN}.9", PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_own_address_changes(self) -> None:
        """The old one is still there for a moment, so the old mapping is deleted from it."""
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "replace", "default", "via", ROUTER, "src", f"{LAN}.8")
        lab.run("client", "ip", "route", "replace", f"{LAN}.0/24", "dev", "eth0", "src", f"{LAN}.8")
        self.wait_until(
            lambda: f"{LAN}.8:" in lab.list_mappings(), USUAL_SECONDS, "mapped to the new address"
        )
        nat.wait_for_port(state="mapped")
        self.assertEqual(lab.list_mappings().count("dnat"), 1)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_own_address_is_replaced(self) -> None:
        """The old one is gone at once, and with it the right to delete its mapping."""
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=0))
        nat.wait_for_port(state="mapped")
        lab.run("client", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        self.wait_until(
            lambda: f"{LAN}.8:" in lab.list_mappings(), USUAL_SECONDS, "mapped to the new address"
        )

    def test_gateway_itself_is_replaced(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        since = len(nat.said)
        lab.run("client", "ip", "route", "del", "default")
        nat.wait_for_port(state="waiting", reachable=False, since=since)
        self.wait_until(
            lambda: "dnat" not in lab.list_mappings(), USUAL_SECONDS, "deleted at the old gateway"
        )
        since = len(nat.said)
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        nat.wait_for_port(state="mapped", since=since)

    def test_gateway_has_another_address(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        lab.stop_daemon()
        lab.load_rules()
        lab.run("router", "ip", "addr", "add", f"{LAN}.254/24", "dev", "br0")
        lab.run("router", "ip", "addr", "del", f"{ROUTER}/24", "dev", "br0")
        lab.run("router", "ip", "addr", "add", f"{LAN}.254/24", "dev", "br0", check=False)
        lab.start_daemon()
        lab.run("client", "ip", "route", "replace", "default", "via", f"{LAN}.254")
        self.wait_until(lambda: "dnat" in lab.list_mappings(), USUAL_SECONDS, "mapped by the new one")
        nat.wait(lambda line: f"gateway {LAN}.254 on eth0" in line.get("text", ""))
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_port_taken_by_another_machine(self) -> None:
        lab = self.make_lab()
        self.start(lab, front(local_port=7000), place="other", protocols=("pmp",)).wait_for_port(
            state="mapped"
        )
        nat = self.start(lab, front(), front(name="any", public_port=0, local_port=8181),
                         front(name="loose", local_port=8282, strict=False))  # fmt: skip
        port = nat.wait_for_reasons("port-taken" if self.driver == "upnp" else "other-port")
        if self.driver == "upnp":
            self.assertIn(f"{OTHER}, port 7000", port["findings"][0]["text"])
        nat.wait_for_port(name="any", state="mapped", public_port=8181)
        loose = nat.wait_for_port(name="loose", state="mapped")
        self.assertNotEqual(loose["public_port"], PUBLIC_PORT)
        self.assertEqual([finding["reason"] for finding in loose["findings"]], ["other-port"])
        self.assert_mapped(lab, OTHER)
        self.assertEqual(lab.list_mappings().count("dnat"), 3)

    def test_denied_port(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=DENIED_PORT))
        expected = "port-denied" if self.driver == "upnp" else "other-port"
        nat.wait_for_reasons(expected)
        self.wait_until(lambda: "dnat" not in lab.list_mappings(), USUAL_SECONDS, "the other port given back")

    def test_killed_then_started_with_other_ports(self) -> None:
        lab = self.make_lab()
        path = str(lab.directory / "state.json")
        nat = self.start(lab, front(), front(name="old", local_port=7000, public_port=7001), state_path=path)
        nat.wait_for_port(name="old", state="mapped")
        nat.wait_for_port(name="front", state="mapped")
        nat.kill()
        self.assertEqual(lab.list_mappings().count("dnat"), 2)
        again = self.start(lab, front(local_port=8181), state_path=path)
        again.wait_for_port(state="mapped")
        self.assertIn(f"{CLIENT}:8181", lab.list_mappings())
        self.assertEqual(lab.list_mappings().count("dnat"), 1)
        again.stop()
        self.assert_nothing_mapped(lab)

    def test_killed_then_started_with_none(self) -> None:
        lab = self.make_lab()
        path = str(lab.directory / "state.json")
        nat = self.start(lab, state_path=path)
        nat.wait_for_port(state="mapped")
        nat.kill()
        again = NATProcess(lab, "client", [], protocols=self.protocols, state_path=path)
        self.at_end(again.kill)
        self.wait_until(lambda: "dnat" not in lab.list_mappings(), USUAL_SECONDS, "the leftover deleted")

    def test_killed_then_started_the_same(self) -> None:
        lab = self.make_lab()
        path = lab.directory / "state.json"
        nat = self.start(lab, front(public_port=0, local_port=0), state_path=str(path))
        before = nat.wait_for_port(state="mapped")
        nonce = json.loads(path.read_text())["nonce"]
        nat.kill()
        again = self.start(lab, front(public_port=0, local_port=0), state_path=str(path))
        after = again.wait_for_port(state="mapped")
        self.assertEqual(before["public_port"], after["public_port"])
        self.assertEqual(before["local_port"], after["local_port"])
        self.assertEqual(json.loads(path.read_text())["nonce"], nonce)
        self.assertEqual(lab.list_mappings().count("dnat"), 1)

    def test_packets_are_lost(self) -> None:
        lab = self.make_lab()
        port = "tcp dport 5000" if self.driver == "upnp" else "udp dport 5351"
        lab.run("router", "nft", "add", "rule", "inet", "filter", "input", *port.split(),
                "numgen", "inc", "mod", "2", "0", "drop")  # fmt: skip
        nat = self.start(lab, timeout_seconds=5.0)
        nat.wait_for_port(state="mapped", seconds=20)

    def test_ports_come_and_go(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        nat.order("add " + json.dumps(front(name="more", local_port=7000, public_port=7001)))
        nat.wait_for_port(name="more", state="mapped")
        nat.order("remove front")
        nat.wait(lambda line: line["kind"] == "removed")
        self.assertNotIn(f"dport {PUBLIC_PORT}", lab.list_mappings())
        self.assertIn("dport 7001", lab.list_mappings())


class PCPTests(DriverTests, NATLabCase):
    driver = "pcp"


class NATPMPTests(DriverTests, NATLabCase):
    driver = "pmp"


class UPnPTests(DriverTests, NATLabCase):
    driver = "upnp"

    def test_first_version_of_the_device(self) -> None:
        lab = self.make_lab(force_igd_desc_v1="yes")
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        self.assertIn("WANIPConnection:1", nat.describe_last())


class PinholeTests(NATLabCase):
    """IPv6 has no mappings, but a firewall to be opened."""

    protocols = ("pcp",)

    def test_client_outside_reaches_backend_inside(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=LOCAL_PORT), front(public_port=LOCAL_PORT, family=6))
        address = f"{ULA}2"
        port = nat.wait_for_port(state="mapped", family=6)
        self.assertEqual((port["public_port"], port["external_address"]), (LOCAL_PORT, address))
        nat.wait_for_port(state="mapped", family=4)
        self.assertEqual(self.greet(lab, address, LOCAL_PORT), f"hello from port {LOCAL_PORT}")
        self.assertEqual(self.greet(lab, OUTER, LOCAL_PORT), f"hello from port {LOCAL_PORT}")
        nat.stop()
        self.assertEqual(self.greet(lab, address, LOCAL_PORT, timeout=0.5), "")

    def test_gateway_known_by_its_link_local_address(self) -> None:
        """As it is where routers advertise themselves; and it announces that it has restarted."""
        lab = self.make_lab()
        self.wait_until(lambda: self.find_link_local(lab), USUAL_SECONDS, "the router's link-local address")
        lab.run("client", "ip", "-6", "route", "replace", "default", "via", self.find_link_local(lab),
                "dev", "eth0")  # fmt: skip
        nat = self.start(lab, front(public_port=LOCAL_PORT, family=6))
        nat.wait_for_port(state="mapped", family=6)
        self.assertEqual(self.greet(lab, f"{ULA}2", LOCAL_PORT), f"hello from port {LOCAL_PORT}")
        lab.stop_daemon(signal.SIGKILL)
        lab.load_rules()
        lab.start_daemon()
        self.wait_until(lambda: nat.count("portmap.renewed"), REMAP_SECONDS, "asked for again")
        self.assertEqual(self.greet(lab, f"{ULA}2", LOCAL_PORT), f"hello from port {LOCAL_PORT}")

    def find_link_local(self, lab: Lab) -> str:
        """The router's; empty while it is tentative."""
        shown = lab.run("router", "ip", "-6", "addr", "show", "dev", "br0", "scope", "link", "-tentative")
        return next((word.split("/")[0] for word in shown.split() if word.startswith("fe80:")), "")


class ChoiceTests(NATLabCase):
    """Which driver, and what is said of it."""

    protocols = ("pcp", "pmp")

    def test_preferred_protocol_is_used(self) -> None:
        lab = self.make_lab()
        for protocols in (("pcp", "pmp"), ("pmp", "pcp")):
            nat = self.start(lab, protocols=protocols)
            self.assertEqual(nat.wait_for_port(state="mapped")["protocol"], protocols[0])
            nat.stop()
        self.assert_nothing_mapped(lab)

    def test_nobody_there(self) -> None:
        lab = self.make_lab(enable_natpmp="no")
        nat = self.start(lab)
        port = nat.wait_for_port(reachable=False, seconds=8)
        self.assertEqual({finding["reason"] for finding in port["findings"]}, {"no-answer"})
        stopped = nat.stop()
        self.assertLess(stopped["seconds"], 1.0)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))

    def test_stop_while_the_gateway_is_silent(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        lab.stop_daemon(signal.SIGKILL)
        stopped = nat.stop()
        self.assertLess(stopped["seconds"], 3.2)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))


class AllProtocolsTests(NATLabCase):
    """PCP, NAT-PMP and UPnP side by side."""

    def test_upnp_tells_who_has_the_port(self) -> None:
        lab = self.make_lab()
        self.start(lab, front(local_port=7000), place="other", protocols=("pcp",)).wait_for_port(
            state="mapped"
        )
        nat = self.start(lab)
        nat.wait(lambda line: f"{OTHER}, port 7000" in line.get("text", ""))
        self.assertIn(f"public port {PUBLIC_PORT}; failed, not reachable", nat.describe_last())
        # UPnP may have answered only now, so that all three are being tried again.
        self.wait_until(
            lambda: lab.list_mappings().count("dnat") == 1, USUAL_SECONDS, "the other ports given back"
        )

    def test_one_mapping_only(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        self.assertEqual(nat.wait_for_port(state="mapped")["protocol"], "pcp")
        time.sleep(1)
        self.assertEqual(lab.list_mappings().count("dnat"), 1)
        nat.stop()
        self.assert_nothing_mapped(lab)

    def test_behind_another_nat(self) -> None:
        """A gateway that is itself in the provider's shared network knows that it is of no use."""
        lab = self.make_lab()
        lab.run("router", "ip", "addr", "flush", "dev", "wan0", "scope", "global")
        lab.run("router", "ip", "addr", "add", "100.64.7.7/24", "dev", "wan0")
        lab.stop_daemon(signal.SIGKILL)
        lab.start_daemon()
        nat = self.start(lab)
        nat.wait_for_reasons("no-external-address", "ipv6-instead")
        self.assert_nothing_mapped(lab)


def testSuite() -> Any:
    """For trial."""
    return make_suite(PCPTests, NATPMPTests, UPnPTests, PinholeTests, ChoiceTests, AllProtocolsTests)
