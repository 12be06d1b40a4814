"""
NAT port mapping, end to end: our service, a real miniupnpd with real rules, and a client outside.
"""

from __future__ import annotations

import json
import signal
import time

from tests.nat_lab.case import DENIED_PORT, LOCAL_PORT, PUBLIC_PORT, NATLabCase, front
from tests.nat_lab.lab import CLIENT, LAN, LAN_IPV6, OTHER, OUTER, ROUTER, WAN, Lab

# At a renewal the daemon deletes its rule and adds it again, some 10 ms apart if nobody else is busy.
REPLACED_SECONDS = 1.0
# What deletion may take at most; the rest is for a machine with much else to do.
STOP_SECONDS = 3.0
# An epoch of fewer seconds could not be told from a new one.
EPOCH_SECONDS = 3.0


class DriverTests:
    """What holds for each driver; those below say which."""

    driver = ""

    def setUp(self) -> None:
        self.protocols = (self.driver,)
        super().setUp()

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
        self.wait_until_count(lab, 2)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")
        self.assertEqual(self.greet(lab, OUTER, 9191, "udp"), "hello you")
        stopped = nat.stop()
        self.assert_nothing_mapped(lab)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))
        self.assertEqual(nat.count("portmap.created"), 2)
        self.assertEqual(nat.count("portmap.deleted"), 2)

    def test_any_public_and_any_local_port(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(local_port=0, public_port=0))
        port = nat.wait_for_port(state="mapped")
        self.assertTrue(port["public_port"] and port["local_port"])
        self.wait_until_mapped(lab, port=port["public_port"])
        self.assertEqual(self.greet(lab, OUTER, port["public_port"]), f"hello from port {port['local_port']}")

    def test_mapping_is_renewed_before_it_ends(self) -> None:
        lab = self.make_lab(min_lifetime="2")
        # A short one on a busy machine may end for want of a turn; a long one does not.
        self.assertTrue(any(self.is_kept(lab, lifetime) for lifetime in (3, 15)))

    def is_kept(self, lab: Lab, lifetime_seconds: int) -> bool:
        """Whether it was there all the time, for longer than it lives unless renewed."""
        nat = self.start(lab, lifetime_seconds=lifetime_seconds)
        nat.wait_for_port(state="mapped")
        began = time.monotonic()
        while nat.count("portmap.renewed") < 2 or time.monotonic() - began < lifetime_seconds:
            gone = self.wait_until(lambda: "dnat" in lab.list_mappings(), "mapped")
            if gone > REPLACED_SECONDS or nat.count("portmap.created") > 1:
                nat.stop()
                return False
            time.sleep(0.1)
        self.wait_until_mapped(lab)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")
        return True

    def test_mapping_ends_by_itself_after_kill(self) -> None:
        lab = self.make_lab(min_lifetime="2")
        nat = self.start(lab, lifetime_seconds=2)
        nat.wait_for_port(state="mapped")
        nat.kill()
        self.wait_until_count(lab, 0)

    def test_daemon_restarts(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.assert_mapped_again_soon(lab, number)

    def test_mappings_lost_without_a_word(self) -> None:
        """The announcements do not reach us: the poll finds out."""
        lab = self.make_lab()
        output = ("inet", "filter", "output")
        lab.run("router", "nft", "add", "chain", *output, "{ type filter hook output priority 0; }")
        for rule in ("udp dport 5350 drop", "udp dport 1900 udp sport 1900 drop"):
            lab.run("router", "nft", "add", "rule", *output, *rule.split())
        nat = self.start(lab, poll_seconds=1.0)
        nat.wait_for_port(state="mapped")
        if self.driver != "upnp":
            time.sleep(EPOCH_SECONDS)
        lab.stop_daemon(signal.SIGKILL)
        lab.load_rules()
        lab.start_daemon()
        self.wait_until_mapped(lab)

    def test_gateway_comes_late(self) -> None:
        lab = self.make_lab(daemon=False)
        nat = self.start(lab, timeout_seconds=1.0)
        nat.wait_for_port(state="waiting", reachable=False)
        lab.start_daemon()
        self.wait_until_mapped(lab)
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
        since = len(nat.said)
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "replace", "default", "via", ROUTER, "src", f"{LAN}.8")
        lab.run("client", "ip", "route", "replace", f"{LAN}.0/24", "dev", "eth0", "src", f"{LAN}.8")
        self.wait_until_mapped(lab, f"{LAN}.8")
        nat.wait_for_port(state="mapped", since=since)
        self.wait_until_count(lab, 1)
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_own_address_is_replaced(self) -> None:
        """The old one is gone at once, and with it the right to delete its mapping."""
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=0))
        nat.wait_for_port(state="mapped")
        lab.run("client", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        self.wait_until(lambda: f"{LAN}.8:" in lab.list_mappings(), "mapped to the new address")

    def test_gateway_itself_is_replaced(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        since = len(nat.said)
        lab.run("client", "ip", "route", "del", "default")
        nat.wait_for_port(state="waiting", reachable=False, since=since)
        # The old gateway is still there.
        self.wait_until_count(lab, 0)
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
        self.wait_until_mapped(lab)
        nat.wait(lambda line: f"gateway {LAN}.254 on eth0" in line.get("text", ""))
        self.assertEqual(self.greet(lab, OUTER, PUBLIC_PORT), f"hello from port {LOCAL_PORT}")

    def test_port_taken_by_another_machine(self) -> None:
        lab = self.make_lab()
        other = self.start(lab, front(local_port=7000), place="other", protocols=("pmp",))
        other.wait_for_port(state="mapped")
        nat = self.start(
            lab,
            front(),
            front(name="any", public_port=0, local_port=8181),
            front(name="loose", local_port=8282, strict=False),
        )
        port = nat.wait_for_reasons("port-taken" if self.driver == "upnp" else "other-port")
        if self.driver == "upnp":
            self.assertIn(f"{OTHER}, port 7000", port["findings"][0]["text"])
        nat.wait_for_port(name="any", state="mapped", public_port=8181)
        loose = nat.wait_for_port(name="loose", state="mapped")
        self.assertNotEqual(loose["public_port"], PUBLIC_PORT)
        self.assertEqual([finding["reason"] for finding in loose["findings"]], ["other-port"])
        self.wait_until_mapped(lab, OTHER)
        self.wait_until_count(lab, 3)

    def test_denied_port(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=DENIED_PORT))
        nat.wait_for_reasons("port-denied" if self.driver == "upnp" else "other-port")
        # By PCP and NAT-PMP there was another port, which is given back.
        self.wait_until_count(lab, 0)

    def test_killed_then_started_with_other_ports(self) -> None:
        lab = self.make_lab()
        path = str(lab.directory / "state.json")
        nat = self.start(lab, front(), front(name="old", local_port=7000, public_port=7001), state_path=path)
        nat.wait_for_port(name="old", state="mapped")
        nat.wait_for_port(name="front", state="mapped")
        nat.kill()
        self.wait_until_count(lab, 2)
        again = self.start(lab, front(local_port=8181), state_path=path)
        again.wait_for_port(state="mapped")
        self.wait_until_count(lab, 1)
        self.assertIn(f"{CLIENT}:8181", lab.list_mappings())
        again.stop()
        self.assert_nothing_mapped(lab)

    def test_killed_then_started_with_none(self) -> None:
        lab = self.make_lab()
        path = str(lab.directory / "state.json")
        nat = self.start(lab, state_path=path)
        nat.wait_for_port(state="mapped")
        nat.kill()
        self.start(lab, wants_none=True, state_path=path)
        self.wait_until_count(lab, 0)

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
        self.wait_until_count(lab, 1)

    def test_packets_are_lost(self) -> None:
        lab = self.make_lab()
        port = "tcp dport 5000" if self.driver == "upnp" else "udp dport 5351"
        every_other = ("numgen", "inc", "mod", "2", "0", "drop")
        lab.run("router", "nft", "add", "rule", "inet", "filter", "input", *port.split(), *every_other)
        nat = self.start(lab, timeout_seconds=5.0)
        nat.wait_for_port(state="mapped")

    def test_ports_come_and_go(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        nat.order("add " + json.dumps(front(name="more", local_port=7000, public_port=7001)))
        nat.wait_for_port(name="more", state="mapped")
        nat.order("remove front")
        nat.wait(lambda line: line["kind"] == "removed")
        self.wait_until_mapped(lab, port=7001)
        self.wait_until_count(lab, 1)


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
    address = f"{LAN_IPV6}2"

    def assert_open(self, lab: Lab, address: str = address) -> None:
        self.assertEqual(self.greet(lab, address, LOCAL_PORT), f"hello from port {LOCAL_PORT}")

    def test_client_outside_reaches_backend_inside(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, front(public_port=LOCAL_PORT), front(public_port=LOCAL_PORT, family=6))
        port = nat.wait_for_port(state="mapped", family=6)
        self.assertEqual((port["public_port"], port["external_address"]), (LOCAL_PORT, self.address))
        nat.wait_for_port(state="mapped", family=4)
        self.wait_until_mapped(lab, port=LOCAL_PORT)
        self.assert_open(lab)
        self.assert_open(lab, OUTER)
        nat.stop()
        self.assertEqual(self.greet(lab, self.address, LOCAL_PORT, timeout=0.5), "")

    def test_gateway_known_by_its_link_local_address(self) -> None:
        """As it is where routers advertise themselves; and it announces that it has restarted."""
        lab = self.make_lab()
        self.wait_until(lambda: self.find_link_local(lab), "the router's link-local address")
        way = ("via", self.find_link_local(lab), "dev", "eth0")
        lab.run("client", "ip", "-6", "route", "replace", "default", *way)
        nat = self.start(lab, front(public_port=LOCAL_PORT, family=6))
        nat.wait_for_port(state="mapped", family=6)
        self.assert_open(lab)
        lab.stop_daemon(signal.SIGKILL)
        lab.load_rules()
        lab.start_daemon()
        self.wait_until(lambda: nat.count("portmap.renewed"), "asked for again")
        self.assert_open(lab)

    def find_link_local(self, lab: Lab) -> str:
        """The router's; empty while it is tentative."""
        shown = lab.run("router", "ip", "-6", "addr", "show", "dev", "br0", "scope", "link", "-tentative")
        return next((word.split("/")[0] for word in shown.split() if word.startswith("fe80:")), "")

    def test_killed_then_started_with_none(self) -> None:
        lab = self.make_lab()
        path = str(lab.directory / "state.json")
        nat = self.start(lab, front(public_port=LOCAL_PORT, family=6), state_path=path)
        nat.wait_for_port(state="mapped", family=6)
        nat.kill()
        self.assertIn(f"dport {LOCAL_PORT} ", self.list_pinholes(lab))
        self.start(lab, wants_none=True, state_path=path)
        self.wait_until(lambda: "dport" not in self.list_pinholes(lab), "the pinhole closed")

    def list_pinholes(self, lab: Lab) -> str:
        return lab.run("router", "nft", "list", "chain", "inet", "filter", "miniupnpd")


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
        nat = self.start(lab, timeout_seconds=1.0)
        port = nat.wait_for_port(reachable=False)
        self.assertEqual({finding["reason"] for finding in port["findings"]}, {"no-answer"})
        stopped = nat.stop()
        self.assertLess(stopped["seconds"], STOP_SECONDS)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))

    def test_stop_while_the_gateway_is_silent(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab)
        nat.wait_for_port(state="mapped")
        lab.stop_daemon(signal.SIGKILL)
        stopped = nat.stop()
        self.assertLess(stopped["seconds"], 2 * STOP_SECONDS)
        self.assertEqual((stopped["timers"], stopped["sockets"]), ([], []))


class AllProtocolsTests(NATLabCase):
    """PCP, NAT-PMP and UPnP side by side."""

    def test_upnp_tells_who_has_the_port(self) -> None:
        lab = self.make_lab()
        other = self.start(lab, front(local_port=7000), place="other", protocols=("pcp",))
        other.wait_for_port(state="mapped")
        nat = self.start(lab, timeout_seconds=20.0)
        nat.wait(lambda line: f"{OTHER}, port 7000" in line.get("text", ""))
        self.assertIn(f"public port {PUBLIC_PORT}; failed, not reachable", nat.describe_last())
        # UPnP may have answered only now, so that all three are being tried again.
        self.wait_until_count(lab, 1)

    def test_one_mapping_only(self) -> None:
        lab = self.make_lab()
        nat = self.start(lab, timeout_seconds=20.0)
        nat.wait(lambda line: line.get("text", "").count("answers") == len(self.protocols))
        port = nat.wait_for_port(state="mapped")
        self.assertEqual((port["protocol"], port["external_address"]), ("pcp", OUTER))
        self.wait_until_count(lab, 1)
        nat.stop()
        self.assert_nothing_mapped(lab)
        self.assertEqual(nat.count("portmap.deleted"), 1)
