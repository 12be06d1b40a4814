"""
NAT port mapping as its users have it: C{twistd pmmux} with a configuration file, behind a real miniupnpd.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time

from tests.nat_lab.case import BARE, DENIED_PORT, LOCAL_PORT, PUBLIC_PORT, NATLabCase, configure
from tests.nat_lab.lab import CLIENT, LAN_IPV6, OUTER, PATIENCE_SECONDS, ROUTER, Lab
from tests.support.process import kill_group
from tests.support.waiting import wait_for

# Deletion may take three of them; the rest is for a machine with much else to do.
STOP_SECONDS = 15.0
RENEWALS = 2

# A connection with a second request when its standard input ends.
_HOLD = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as client:
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
_BACKEND = "[backend hello]\nprotocol = http-response\ndetect = http\nresponse.body = hello\n"


class DriverTests:
    """What holds for each driver; those below say which."""

    driver = ""

    def setUp(self) -> None:
        self.protocols = (self.driver,)
        super().setUp()

    def test_client_outside_reaches_backend_inside(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        said = started.wait_until_says("NAT: front", "reachable in principle")
        self.assertIn(f"{OUTER}:{PUBLIC_PORT} -> local port {LOCAL_PORT} ({self.driver}); mapped", said)
        self.assertIn(f"external address {OUTER}", started.wait_until_says(f"gateway {ROUTER} on eth0"))
        self.wait_until_mapped(lab)
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)
        [state] = started.state_files()
        self.assertEqual(json.loads(state.read_text())["mappings"], [])

    def test_kill_and_next_start(self) -> None:
        """The next one wants another port, and removes what the first has left."""
        lab = self.make_lab()
        started = self.run_pmmux(lab)
        started.wait_until_says("NAT: front", "mapped")
        kill_group(started.process)
        self.wait_until_mapped(lab)
        again = self.run_pmmux(lab, configure(8181, 9443, f"protocol = {self.driver}"))
        again.wait_until_says("NAT: front", "mapped")
        self.wait_until_mapped(lab, port=9443)
        self.wait_until_count(lab, 1)
        self.assertEqual(len(again.state_files()), 1)
        self.assertEqual(again.stop(), 0)
        self.assert_nothing_mapped(lab)


class PCPTests(DriverTests, NATLabCase):
    driver = "pcp"


class NATPMPTests(DriverTests, NATLabCase):
    driver = "pmp"


class UPnPTests(DriverTests, NATLabCase):
    driver = "upnp"


class ServiceTests(NATLabCase):
    """What no driver has to do with."""

    protocols = ("pcp", "pmp")

    def test_any_port_of_both(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure("?", "?"))
        said = started.wait_until_says("NAT: front", "reachable in principle")
        found = re.search(rf"{re.escape(OUTER)}:(\d+) -> local port (\d+) ", said)
        self.assertEqual(int(found[2]), started.port)
        self.wait_until_mapped(lab, port=int(found[1]))
        self.assertEqual(self.get(lab, OUTER, int(found[1])), "hello")

    def test_denied_port(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure(public_port=DENIED_PORT))
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
        self.assert_mapped_again_soon(lab)
        self.wait_until_mapped(lab)
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")

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
        self.wait_until_mapped(lab)
        command = [sys.executable, *BARE, _HOLD, OUTER, str(PUBLIC_PORT)]
        client = lab.popen("outside", command, stdin=-1, stdout=-1, start_new_session=True)
        self.addCleanup(kill_group, client)
        self.assertEqual(client.stdout.readline(), "open\n")
        started.process.send_signal(signal.SIGTERM)
        self.wait_until_count(lab, 0)
        self.assertIs(started.process.poll(), None)
        client.stdin.close()
        self.assertEqual(client.stdout.read(), "hello\n")
        self.assertEqual(started.wait(), 0)

    def test_mux_only(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, more="mux-only = yes")
        self.assert_served_on_the_lan(lab)
        self.assert_asks_nobody(lab)
        self.assertEqual(started.stop(), 0)
        self.assertEqual(started.says(), "")

    def assert_asks_nobody(self, lab: Lab) -> None:
        """No UDP socket is open there."""
        self.assertEqual(len(lab.run("client", "cat", "/proc/net/udp").splitlines()), 1)

    def test_portmap_only(self) -> None:
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure("?"), 0, more="portmap-only = yes")
        said = started.wait_until_says("NAT: front", "mapped")
        self.assertIn(f"{OUTER}:{PUBLIC_PORT} -> local port {PUBLIC_PORT} ", said)
        self.wait_until_mapped(lab)
        self.assertEqual(self.get(lab, CLIENT, PUBLIC_PORT, "other"), "")
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(lab)

    def test_mapping_without_listening(self) -> None:
        lab = self.make_lab()
        other = f"[listener else]\nbind = {CLIENT}\nport = 7000\npublic-port = 7001\nlisten = no"
        started = self.run_pmmux(lab, configure(more=f"protocol = pcp\n{other}"))
        started.wait_until_says("NAT: else", f"{OUTER}:7001 -> local port 7000 (pcp); mapped")
        started.wait_until_says("NAT: front", "mapped")
        self.assertEqual(list(started.ports), ["front"])

    def test_udp(self) -> None:
        lab = self.make_lab()
        udp = "[listener games]\nbind = 0.0.0.0\nport = 9090\nprotocol = udp\npublic-port = 9191\n"
        backend = f"[backend echo]\nprotocol = pass\ntarget = {CLIENT}:7000\n"
        service = "[nat]\nprotocol = pcp\n"
        echo = (
            "import socket; s = socket.socket(2, 2); s.bind(('', 7000))\nwhile 1: s.sendto(*s.recvfrom(99))"
        )
        echoing = lab.popen("client", [sys.executable, *BARE, echo], start_new_session=True)
        self.addCleanup(kill_group, echoing)
        started = self.run_pmmux(lab, udp + backend + service)
        started.wait_until_says("NAT: games (udp, IPv4)", f"{OUTER}:9191 -> local port 9090 (pcp); mapped")
        self.wait_until(lambda: self.greet(lab, OUTER, 9191, "udp", 1) == "you", "echoed")

    def test_pinhole(self) -> None:
        """A listener on all addresses is reached by IPv6 as well."""
        lab = self.make_lab()
        started = self.run_pmmux(lab, configure(public_port=LOCAL_PORT).replace("bind = 0.0.0.0", ""))
        address = f"{LAN_IPV6}2"
        started.wait_until_says("NAT: front (tcp, IPv6)", f"[{address}]:{LOCAL_PORT} -> ", "mapped")
        started.wait_until_says("NAT: front (tcp, IPv4)", "mapped")
        self.wait_until_mapped(lab, port=LOCAL_PORT)
        self.assertEqual(self.get(lab, address, LOCAL_PORT), "hello")
        self.assertEqual(self.get(lab, OUTER, LOCAL_PORT), "hello")
        self.assertEqual(started.stop(), 0)

    def test_compact_forms_and_metrics(self) -> None:
        lab = self.make_lab()
        more = "port-bindings = 8443:8080:tcp\nport-map-protocol = pmp\n"
        more += "log-metrics = yes\nmetrics-interval = 500"
        started = self.run_pmmux(lab, _BACKEND, more=more)
        started.wait_until_says(f"{OUTER}:{PUBLIC_PORT} -> local port {LOCAL_PORT} (pmp); mapped")
        self.wait_until_mapped(lab)
        self.assertEqual(self.get(lab, OUTER, PUBLIC_PORT), "hello")
        for name in ("portmap.created", "portmap.create.duration", "portmap.added"):
            wait_for(lambda name=name: name in started.output(), name, PATIENCE_SECONDS)
        self.assertEqual(started.stop(), 0)
        self.assertIn("portmap.deleted", started.output())

    def test_two_configurations_do_not_share(self) -> None:
        lab = self.make_lab()
        one = self.run_pmmux(lab)
        one.wait_until_says("NAT: front", "mapped")
        other = self.run_pmmux(lab, configure(8181, 9443), name="other")
        other.wait_until_says("NAT: front", "mapped")
        self.assertEqual(len(one.state_files()), 2)
        self.assertEqual(other.stop(), 0)
        self.wait_until_mapped(lab)
        self.wait_until_count(lab, 1)

    def test_two_of_one_configuration_do_not_share(self) -> None:
        lab = self.make_lab()
        one = self.run_pmmux(lab, configure("?", "?"))
        one.wait_until_says("NAT: front", "mapped")
        other = self.run_pmmux(lab, configure("?", "?"))
        other.wait_until_says("another process uses it")
        other.wait_until_says("NAT: front", "mapped")
        self.wait_until_count(lab, 2)
        self.assertEqual(other.stop(), 0)
        self.wait_until_count(lab, 1)

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
        started = self.run_pmmux(lab, configure(), environment=environment)
        started.wait_until_says("NAT: front", "(pcp); mapped")
        started.wait_until_says("NAT: UPnP needs the package txupnp: pip install pmmux[upnp]")
        self.assertEqual(started.stop(), 0)

    def test_report_is_said_once(self) -> None:
        """Also over renewals and polls, which change nothing."""
        lab = self.make_lab()
        # Renewed each second, without a risk to end.
        more = "protocol = pcp\nlifetime = 300\nrenewal-lead = 299\npoll-interval = 1s"
        metrics = "log-metrics = yes\nmetrics-interval = 500"
        started = self.run_pmmux(lab, configure(more=more), more=metrics)
        started.wait_until_says("NAT: front", "mapped")
        renewed = re.compile(rf"portmap\.renewed.* [{RENEWALS}-9] \(").search
        self.wait_until(lambda: any(renewed(event["message"]) for event in started.events()), "renewals")
        said = [event["message"] for event in started.events() if event["message"].startswith("NAT: ")]
        self.assertEqual(sum("NAT: front" in line for line in said), 1, said)
        # The gateway perhaps twice: PCP tells the external address with the first mapping only.
        self.assertEqual(len(said), len(set(said)), said)
        self.assertLessEqual(len(said), 3, said)
