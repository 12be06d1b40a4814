"""
NAT port mapping as its users have it: C{twistd pmmux} with a configuration file, behind a real miniupnpd.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from typing import Any

from tests.nat_lab.lab import CLIENT, LAN, OUTER, ROUTER, ULA, Lab
from tests.nat_lab.side_by_side import make_suite
from tests.nat_lab.twistd import PmmuxInLab
from tests.support.process import kill_group
from tests.support.waiting import wait_for
from tests.test_nat import BARE, DENIED_PORT, NATLabCase

LOCAL_PORT, PUBLIC_PORT = 8080, 8443
STOP_SECONDS = 3.5

_GET = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as client:
    client.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
    found = b''
    while octets := client.recv(4096):
        found += octets
print(found.decode().rpartition('\\r\\n\\r\\n')[2])
"""
# A connection with a second request when its standard input ends.
_HOLD = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as client:
    client.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    client.recv(4096)
    print('open', flush=True)
    sys.stdin.read()
    client.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
    found = b''
    while octets := client.recv(4096):
        found += octets
print(found[-5:].decode())
"""


def front(port: object = LOCAL_PORT, public_port: object = PUBLIC_PORT, more: str = "") -> str:
    """A configuration with one listener, whose backend answers by itself."""
    return f"""
[listener front]
bind = 0.0.0.0
port = {port}
public-port = {public_port}

[backend hello]
protocol = http-response
detect = http
response.body = hello

[nat]
timeout = 2s
{more}
"""


class ServiceCase(NATLabCase):
    """Runs pmmux in labs."""

    protocols = ("pcp", "pmp")

    def run_pmmux(self, lab: Lab, config: str = "", listeners: int = 1, **options: Any) -> PmmuxInLab:
        """Start it, and wait until it accepts."""
        nat = f"protocol = {', '.join(self.protocols)}"
        started = PmmuxInLab(lab, config or front(more=nat), **options)
        self.at_end(self.end, started)
        started.wait_until_ready(listeners)
        return started

    def end(self, started: PmmuxInLab) -> None:
        kill_group(started.process)
        self.assertEqual(started.troubles(), [])

    def get(self, lab: Lab, address: str, port: int, place: str = "outside") -> str:
        """What a client there is answered; empty where it does not get there."""
        command = (sys.executable, *BARE, _GET, address, str(port))
        return lab.run(place, *command, check=False).strip()

    def assert_served_on_the_lan(self, lab: Lab) -> None:
        self.assertEqual(self.get(lab, CLIENT, LOCAL_PORT, "other"), "hello")

    def count_mappings(self, lab: Lab) -> int:
        return lab.list_mappings().count("dnat")


class DriverTests:
    """What holds for each driver; those below say which."""

    driver = ""

    def begin(self) -> None:
        self.protocols = (self.driver,)
        super().begin()

    def test_client_outside_reaches_backend_inside(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        said = started.wait_until_says("NAT: front", "reachable in principle")
        self.assertIn(f"{OUTER}:{PUBLIC_PORT} -> local port {LOCAL_PORT} ({self.driver}); mapped", said)
        self.assertIn(f"external address {OUTER}", started.wait_until_says(f"gateway {ROUTER} on eth0"))
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)
        [state] = started.state_files()
        self.assertEqual(json.loads(state.read_text())["mappings"], [])

    def test_any_port_of_both(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, front("?", "?", f"protocol = {self.driver}"))
        said = started.wait_until_says("NAT: front", "reachable in principle")
        found = re.search(rf"{re.escape(OUTER)}:(\d+) -> local port (\d+) ", said)
        self.assertEqual(int(found[2]), started.port)
        self.assertEqual(self.get(lab, OUTER, int(found[1])), "hello")

    def test_kill_and_next_start(self) -> None:
        """The next one wants another port, and removes what the first has left."""
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        kill_group(started.process)
        self.assert_mapped(lab)
        again = self.run_pmmux(lab, front(8181, 9443, f"protocol = {self.driver}"))
        again.wait_until_says("NAT: front", "mapped")
        self.assertEqual(self.count_mappings(lab), 1)
        self.assert_mapped(lab, port=9443)
        self.assertEqual(len(again.state_files()), 1)
        self.assertEqual(again.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_denied_port(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, front(public_port=DENIED_PORT, more=f"protocol = {self.driver}"))
        started.wait_until_says(
            "NAT: front", f"public port {DENIED_PORT}; failed, not reachable", "denied range"
        )
        self.assert_served_on_the_lan(lab)
        # In between it asks again, and gives back the other port that it gets.
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_daemon_restarts(self) -> None:
        lab = self.make_lab()
        self.run_pmmux(lab).wait_until_says("NAT: front", "mapped")
        lab.stop_daemon(signal.SIGKILL)
        lab.load_rules()
        lab.start_daemon()
        wait_for(lambda: self.count_mappings(lab), "mapped again", 2.0)
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")


class PCPTests(DriverTests, ServiceCase):
    driver = "pcp"


class NATPMPTests(DriverTests, ServiceCase):
    driver = "pmp"


class UPnPTests(DriverTests, ServiceCase):
    driver = "upnp"


class ServiceTests(ServiceCase):
    """What no driver has to do with."""

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
        lab = self.make_lab()
        lab.stop_daemon(signal.SIGKILL)
        started = self.run_pmmux(lab)
        self.assert_served_on_the_lan(lab)
        self.assertEqual(started.says("NAT: front"), "")
        self.assertIn(f"no answer from {ROUTER}", started.wait_until_says("NAT: front", "not reachable"))
        began = time.monotonic()
        self.assertEqual(started.stop(), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)

    def test_gateway_falls_silent_before_the_end(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        lab.stop_daemon(signal.SIGKILL)
        began = time.monotonic()
        self.assertEqual(started.stop(), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)
        [state] = started.state_files()
        self.assertEqual(len(json.loads(state.read_text())["mappings"]), 1)

    def test_deleted_while_connections_drain(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        command = [sys.executable, *BARE, _HOLD, OUTER, str(PUBLIC_PORT)]
        client = lab.popen("outside", command, stdin=-1, stdout=-1, start_new_session=True)
        self.at_end(kill_group, client)
        self.assertEqual(client.stdout.readline(), "open\n")
        started.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not self.count_mappings(lab), "no mapping", 2.0)
        self.assertIs(started.process.poll(), None)
        client.stdin.close()
        self.assertEqual(client.stdout.read(), "hello\n")
        self.assertEqual(started.wait(), 0)

    def test_mux_only(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, more="mux-only = yes")
        self.assert_served_on_the_lan(lab)
        time.sleep(0.5)
        self.assert_nothing_mapped(lab)
        self.assertEqual(started.stop(), 0)
        self.assertEqual(started.says(), "")

    def test_portmap_only(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, front("?"), 0, more="portmap-only = yes")
        said = started.wait_until_says("NAT: front", "mapped")
        self.assertIn(f"{OUTER}:{PUBLIC_PORT} -> local port {PUBLIC_PORT} ", said)
        self.assert_mapped(lab)
        self.assertEqual(self.get(lab, CLIENT, PUBLIC_PORT, "other"), "")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_mapping_without_listening(self) -> None:
        lab = self.make_lab()
        other = f"[listener else]\nbind = {CLIENT}\nport = 7000\npublic-port = 7001\nlisten = no"
        started = self.run_pmmux(lab, front(more=f"protocol = pcp\n{other}"))
        started.wait_until_says("NAT: else", f"{OUTER}:7001 -> local port 7000 (pcp); mapped")
        started.wait_until_says("NAT: front", "mapped")
        self.assertEqual(list(started.ports), ["front"])

    def test_pinhole(self) -> None:
        """A listener on all addresses is reached by IPv6 as well."""
        lab = self.make_lab()
        started = self.run_pmmux(lab, front(public_port=LOCAL_PORT).replace("bind = 0.0.0.0", ""))
        started.wait_until_says("NAT: front (tcp, IPv6)", f"[{ULA}2]:{LOCAL_PORT} -> ", "mapped")
        started.wait_until_says("NAT: front (tcp, IPv4)", "mapped")
        self.assertEqual(self.get(lab, f"{ULA}2", LOCAL_PORT), "hello")
        self.assertEqual(self.get(lab, OUTER, LOCAL_PORT), "hello")
        self.assertEqual(started.stop(), 0)

    def test_listener_elsewhere(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, front().replace("0.0.0.0", "127.0.0.1"))
        said = started.wait_until_says("NAT: front", "failed, not reachable")
        self.assertIn(f"is on 127.0.0.1, but the gateway {ROUTER} sends traffic to {CLIENT}", said)

    def test_interface_elsewhere(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, front(more="interface = lo"))
        started.wait_until_says("NAT: front", "[nat] names lo, but the default route goes through eth0")
        self.assert_served_on_the_lan(lab)

    def test_behind_another_nat(self) -> None:
        lab = self.make_lab()
        lab.run("router", "ip", "addr", "flush", "dev", "wan0", "scope", "global")
        lab.run("router", "ip", "addr", "add", "100.64.7.7/24", "dev", "wan0")
        lab.stop_daemon(signal.SIGKILL)
        lab.start_daemon()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "not reachable", "behind another NAT (double NAT or CGNAT)")
        self.assert_served_on_the_lan(lab)

    def test_compact_forms_and_metrics(self) -> None:
        lab = self.make_lab()
        more = "port-bindings = 8443:8080:tcp\nport-map-protocol = pmp\n"
        more += "log-metrics = yes\nmetrics-interval = 500"
        config = "[backend hello]\nprotocol = http-response\ndetect = http\nresponse.body = hello\n"
        started = self.run_pmmux(lab, config, more=more)
        started.wait_until_says(f"{OUTER}:{PUBLIC_PORT} -> local port {LOCAL_PORT} (pmp); mapped")
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")
        for name in ("portmap.created", "portmap.create.duration", "portmap.added"):
            wait_for(lambda name=name: name in started.output(), name)
        self.assertEqual(started.stop(), 0)
        self.assertIn("portmap.deleted", started.output())

    def test_two_configurations_do_not_share(self) -> None:
        lab = self.make_lab()
        one = self.run_pmmux(lab)
        one.wait_until_says("NAT: front", "mapped")
        other = self.run_pmmux(lab, front(8181, 9443), name="other")
        other.wait_until_says("NAT: front", "mapped")
        self.assertEqual(len(one.state_files()), 2)
        self.assertEqual(other.stop(), 0)
        self.assert_mapped(lab)
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")

    def test_two_of_one_configuration_do_not_share(self) -> None:
        lab = self.make_lab()
        one = self.run_pmmux(lab, front("?", "?"))
        one.wait_until_says("NAT: front", "mapped")
        other = self.run_pmmux(lab, front("?", "?"))
        other.wait_until_says("another process uses it")
        other.wait_until_says("NAT: front", "mapped")
        # A request that was sent twice has the daemon replace its rule.
        wait_for(lambda: self.count_mappings(lab) == 2, "two mappings")
        self.assertEqual(other.stop(), 0)
        self.assertEqual(self.count_mappings(lab), 1)

    def test_state_cannot_be_written(self) -> None:
        lab = self.make_lab()
        (lab.directory / "state").write_text("not a directory")
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        started.wait_until_says("cannot write the state file")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_package_for_upnp_missing(self) -> None:
        lab = self.make_lab()
        package = lab.directory / "without" / "txupnp"
        package.mkdir(parents=True)
        fault = "raise ModuleNotFoundError(\"No module named 'txupnp'\", name='txupnp')"
        (package / "__init__.py").write_text(fault)
        environment = {"PYTHONPATH": str(package.parent)}
        started = self.run_pmmux(lab, front(), environment=environment)
        started.wait_until_says("NAT: front", "(pcp); mapped")
        started.wait_until_says("NAT: UPnP needs the package txupnp: pip install pmmux[upnp]")
        self.assertEqual(started.stop(), 0)

    def test_report_is_said_once(self) -> None:
        lab = self.make_lab(min_lifetime="2")
        started = self.run_pmmux(lab, front(more="protocol = pcp\nlifetime = 4\npoll-interval = 1s"))
        started.wait_until_says("NAT: front", "mapped")
        time.sleep(3)
        said = [event["message"] for event in started.events() if event["message"].startswith("NAT: ")]
        self.assertEqual(len(said), len(set(said)))
        # The gateway twice: PCP tells the external address with the first mapping only.
        self.assertEqual(len(said), 3, said)

    def test_own_address_changes(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        lab.run("client", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
        lab.run("client", "ip", "addr", "add", f"{LAN}.8/24", "dev", "eth0")
        lab.run("client", "ip", "route", "add", "default", "via", ROUTER)
        started.wait_until_says("NAT: front", f"this machine's former address {CLIENT}")


def testSuite() -> Any:
    """For trial."""
    return make_suite(PCPTests, NATPMPTests, UPnPTests, ServiceTests)
