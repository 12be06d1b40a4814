"""Port mapping at a reload: what has changed is mapped or given back while pmmux runs, and the rest stays."""

from __future__ import annotations

import json
import re
import signal

from tests.nat_lab.case import LOCAL_PORT, NATLabCase, configure
from tests.nat_lab.lab import CLIENT, LAN, OUTER, PATIENCE_SECONDS, ROUTER
from tests.nat_lab.twistd import PmmuxInLab
from tests.support.waiting import wait_for

RELOADED = "the configuration was reloaded"
OTHER_PORT = 9443
LIFETIME_SECONDS = 600
METRICS = "log-metrics = yes"


class ReloadCase(NATLabCase):
    protocols = ("pcp", "pmp")

    def setUp(self) -> None:
        super().setUp()
        self.lab = self.make_lab()

    def reload(self, started: PmmuxInLab, config: str, more: str = "") -> str:
        """Read that in its place. @return: what was said meanwhile."""
        before = len(started.events())

        def messages() -> list[str]:
            return [event["message"] for event in started.events()[before:]]

        started.write(config, more)
        started.process.send_signal(signal.SIGHUP)
        wait_for(lambda: RELOADED in messages(), RELOADED, PATIENCE_SECONDS)
        return "\n".join(messages())

    def removed(self, started: PmmuxInLab) -> list[str]:
        """The listeners whose mapping has gone, as told by events; needs C{log-metrics}."""
        events = (event for event in started.events() if "portmap.removed" in event["message"])
        return [found[1] for event in events if (found := re.search(r"\bname=(\w+)", event["message"]))]

    def assert_reached(self, port: int) -> None:
        self.wait_until_mapped(self.lab, port=port)
        self.wait_until(lambda: self.get(self.lab, OUTER, port) == "hello", f"an answer on port {port}")


class PortTests(ReloadCase):
    """The public port of a listener."""

    def test_added_changed_and_removed(self) -> None:
        started = self.run_pmmux(self.lab, configure(public_port=None))
        self.assert_served_on_the_lan(self.lab)
        self.assert_nothing_mapped(self.lab)
        for port in (8443, OTHER_PORT, 9999):
            self.reload(started, configure(public_port=port))
            self.assert_reached(port)
            self.wait_until_count(self.lab, 1)
            started.wait_until_says("NAT: front", f"{OUTER}:{port} -> local port {LOCAL_PORT}", "mapped")
        self.reload(started, configure(public_port=None))
        self.wait_until_count(self.lab, 0)
        started.wait_until_says("NAT: front (tcp, IPv4)", "not wanted any more")
        self.assert_served_on_the_lan(self.lab)
        self.assertEqual(started.stop(), 0)

    def test_local_port_changed(self) -> None:
        started = self.run_pmmux(self.lab)
        started.wait_until_says("NAT: front", "mapped")
        self.reload(started, configure(8181))
        self.wait_until(lambda: f"{CLIENT}:8181" in self.lab.list_mappings(), "the new local port")
        self.wait_until_count(self.lab, 1)
        self.assertEqual(self.get(self.lab, OUTER, 8443), "hello")

    def test_listener_added_and_removed(self) -> None:
        one = configure()
        more = f"[listener more]\nbind = 0.0.0.0\nport = 7000\npublic-port = {OTHER_PORT}\n"
        started = self.run_pmmux(self.lab, one, more=METRICS)
        started.wait_until_says("NAT: front", "mapped")
        self.reload(started, more + one, METRICS)
        self.assert_reached(OTHER_PORT)
        self.reload(started, one, METRICS)
        self.wait_until_count(self.lab, 1)
        self.assertEqual(self.removed(started), ["more"])

    def test_mapped_only(self) -> None:
        """A port that another program listens on."""
        elsewhere = "[listener else]\nport = 7000\npublic-port = 7001\nlisten = no\n"
        started = self.run_pmmux(self.lab)
        started.wait_until_says("NAT: front", "mapped")
        self.reload(started, elsewhere + configure())
        started.wait_until_says("NAT: else", ":7001 -> local port 7000", "mapped")
        self.reload(started, configure())
        self.wait_until_count(self.lab, 1)

    def test_wrong_file(self) -> None:
        """Nothing is mapped, nothing is given back."""
        started = self.run_pmmux(self.lab, configure(), more=METRICS)
        started.wait_until_says("NAT: front", "mapped")
        started.write(configure(public_port=OTHER_PORT, more="protocol = pigeons"), METRICS)
        started.process.send_signal(signal.SIGHUP)
        refused = "the configuration was not reloaded"
        wait_for(lambda: refused in started.output(), refused, PATIENCE_SECONDS)
        self.wait_until_count(self.lab, 1)
        self.assert_reached(8443)
        self.assertEqual(self.removed(started), [])
        started.may_trouble = True


class SettingsTests(ReloadCase):
    """The section C{[nat]}, and what C{[pmmux]} has of it."""

    def test_protocol_and_lifetime(self) -> None:
        """The mapping that is there gets both."""
        started = self.run_pmmux(self.lab, configure(more="protocol = pcp"))
        started.wait_until_says("NAT: front", "(pcp); mapped")
        self.reload(started, configure(more="protocol = pmp"))
        started.wait_until_says("NAT: front", "(pmp); mapped")
        self.assert_reached(8443)
        self.wait_until_count(self.lab, 1)
        self.reload(started, configure(more=f"protocol = pmp\nlifetime = {LIFETIME_SECONDS}"))
        log = self.lab.directory / "miniupnpd.log"
        self.wait_until(lambda: f"lifetime={LIFETIME_SECONDS}s" in log.read_text(), "asked for by that")
        self.wait_until_count(self.lab, 1)
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(self.lab)

    def test_interface_and_gateway(self) -> None:
        started = self.run_pmmux(self.lab)
        started.wait_until_says("NAT: front", "mapped")
        self.reload(started, configure(more="interface = lo"))
        started.wait_until_says("NAT: front", "[nat] names lo, but the default route goes through eth0")
        self.wait_until_count(self.lab, 0)
        self.reload(started, configure(more=f"gateway = {LAN}.9", timeout="1s"))
        started.wait_until_says("NAT: front", f"no answer from {LAN}.9")
        self.reload(started, configure(more=f"gateway = {ROUTER}"))
        self.assert_reached(8443)

    def test_state_file(self) -> None:
        """It is what cannot change."""
        started = self.run_pmmux(self.lab)
        started.wait_until_says("NAT: front", "mapped")
        elsewhere = self.lab.directory / "elsewhere.json"
        said = self.reload(started, configure(more=f"state-file = {elsewhere}"))
        self.assertIn("[nat] state-file changes only when pmmux is started again", said)
        self.assertEqual(started.stop(), 0)
        [state] = started.state_files()
        self.assertEqual(json.loads(state.read_text())["mappings"], [])
        self.assertFalse(elsewhere.exists())

    def test_options_of_pmmux(self) -> None:
        started = self.run_pmmux(self.lab, configure(), more="port-map-protocol = pcp")
        started.wait_until_says("NAT: front", "(pcp); mapped")
        said = self.reload(started, configure(), "port-map-protocol = pmp")
        self.assertIn("options: changed port-map-protocol", said)
        self.assertNotIn("started again", said)
        started.wait_until_says("NAT: front", "(pmp); mapped")
        said = self.reload(started, configure(), "mux-only = yes")
        self.assertIn("options: changed mux-only, port-map-protocol", said)
        self.wait_until_count(self.lab, 0)
        self.assert_served_on_the_lan(self.lab)
        self.reload(started, configure(), "portmap-only = yes")
        self.wait_until_mapped(self.lab)
        self.assertEqual(self.get(self.lab, CLIENT, LOCAL_PORT, "other"), "")
        self.reload(started, configure())
        self.assert_reached(8443)
        self.assertEqual(started.stop(), 0)
        self.assert_nothing_mapped(self.lab)
