"""From configuration and registry to the NAT service."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve, frozen
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.settings import ListenerSpec, Settings
from pmmux.errors import ConfigurationError, PluginError
from pmmux.interfaces import INATDriver
from pmmux.loading import load_settings
from pmmux.model import Address
from pmmux.nat.composing import choose_settings, find_section, make_service, use_settings
from pmmux.nat.places import SYSTEM_DIRECTORY, find_state_directory, find_state_path
from pmmux.nat.service import NATService, make_drivers
from pmmux.nat.settings import BUILT_IN_DRIVERS, WantedMapping
from pmmux.nat.wanted import find_faults
from pmmux.registry import Registry
from pmmux.test.nat_doubles import FakeDriver, FakeReporter

CONFIGURATION = """
[pmmux]
{pmmux}
[listener front]
bind = 0.0.0.0
port = ?
public-port = 443
[listener else]
bind = 0.0.0.0
port = 7000
public-port = ?
listen = no
[listener lan]
port = 8080
[backend rest]
protocol = noop
{more}
"""
ENVIRONMENT = {"STATE_DIRECTORY": "/state"}


@frozen
class OpenListener:
    """A listener whose port the system chose."""

    spec: ListenerSpec
    port: int

    def addresses(self) -> tuple[Address, ...]:
        return (Address("0.0.0.0", self.port),)


class ComposingCase(SynchronousTestCase):
    def load(self, more: str = "", pmmux: str = "") -> tuple[Settings, Registry]:
        self.path = Path(self.mktemp())
        self.path = self.path.with_suffix(".ini")
        self.path.write_text(CONFIGURATION.format(pmmux=pmmux, more=more))
        return load_settings((), {}, str(self.path))

    def faults(self, more: str = "", pmmux: str = "") -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            self.load(more, pmmux)
        prefix = f"{self.path}:"
        return [str(fault).removeprefix(prefix).partition(" ")[2] for fault in caught.exception.faults]

    def compose(self, more: str = "", pmmux: str = "") -> NATService | None:
        settings, _ = self.load(more, pmmux)
        self.source = settings.source
        front = OpenListener(settings.listeners[0], 40404)
        listening = [] if settings.globals.get("portmap-only") else [front]
        return make_service(Clock(), settings, make_drivers(), listening, FakeReporter(), ENVIRONMENT)


class ServiceTests(ComposingCase):
    def wanted(self, service: NATService | None) -> list[WantedMapping]:
        assert service is not None
        return list(service._wanted.values())

    def test_ports_that_are_really_listened_on(self) -> None:
        front, elsewhere = self.wanted(self.compose())
        self.assertEqual((front.local_port, front.public_port, front.listens), (40404, 443, True))
        self.assertEqual((elsewhere.local_port, elsewhere.public_port, elsewhere.listens), (7000, 0, False))

    def test_portmap_only(self) -> None:
        front, _ = self.wanted(self.compose(pmmux="portmap-only = yes"))
        self.assertEqual((front.local_port, front.listens), (0, False))

    def test_mux_only(self) -> None:
        self.assertIsNone(self.compose(pmmux="mux-only = yes"))

    def test_starts_and_stops_without_a_gateway(self) -> None:
        settings, _ = self.load("[nat]\nstate-file = none")
        service = NATService(Clock(), choose_settings(settings, {}), (), FakeReporter())
        service.start()
        self.successResultOf(service.stop())


class UseTests(ComposingCase):
    def test_ports_and_options(self) -> None:
        service = self.compose()
        assert service is not None
        settings, _ = self.load("[nat]\nlifetime = 60\nstate-file = /elsewhere.json", "portmap-only = yes")
        state_path = service.settings.state_path
        self.assertEqual(use_settings(service, settings, [], ENVIRONMENT), ("[nat] state-file",))
        self.assertEqual(service.settings.lifetime_seconds, 60)
        self.assertEqual(service.settings.state_path, state_path)
        self.assertEqual([wanted.local_port for wanted in service._wanted.values()], [0, 7000])

    def test_what_is_the_same(self) -> None:
        service = self.compose()
        assert service is not None
        settings = evolve(self.load()[0], source=self.source)
        front = OpenListener(settings.listeners[0], 40404)
        before = dict(service._wanted)
        self.assertEqual(use_settings(service, settings, [front], ENVIRONMENT), ())
        self.assertEqual(service._wanted, before)


class SettingsTests(ComposingCase):
    def state_path(self, more: str = "", environment: dict[str, str] = ENVIRONMENT) -> str:
        return choose_settings(self.load(more)[0], environment).state_path

    def test_state_file_of_its_own(self) -> None:
        one, other = self.state_path(), self.state_path()
        self.assertTrue(one.startswith("/state/nat-"))
        self.assertNotEqual(one, other)

    def test_state_file_named(self) -> None:
        self.assertEqual(self.state_path("[nat]\nstate-file = /a/b.json"), "/a/b.json")
        self.assertEqual(self.state_path("[nat]\nstate-file = none"), "")

    def test_state_file_beside_other_options(self) -> None:
        self.assertTrue(self.state_path("[nat]\nlifetime = 10").startswith("/state/"))

    def test_no_section(self) -> None:
        settings, _ = self.load()
        self.assertIsNone(find_section(settings))
        self.assertEqual(choose_settings(settings, ENVIRONMENT).protocols, BUILT_IN_DRIVERS)

    def test_nowhere_to_keep_state(self) -> None:
        if os.geteuid() == 0:
            self.patch(os, "geteuid", lambda: 1)
        with capturedLogs() as events:
            self.assertEqual(self.state_path(environment={}), "")
        self.assertEqual(len(events), 1)


class FaultTests(ComposingCase):
    def test_unknown_driver(self) -> None:
        expected = "expected one of pcp, pmp, upnp; did you mean 'pcp'?"
        self.assertEqual(
            self.faults("[nat]\nprotocol = upnp, pcpp"),
            [f'[nat] protocol: there is no NAT driver "pcpp"; {expected}'],
        )

    def test_unknown_driver_of_the_reference(self) -> None:
        [fault] = self.faults(pmmux="port-map-protocol = upnpp")
        self.assertIn("expected one of all, pcp, pmp, upnp; did you mean 'upnp'?", fault)

    def test_lead_not_shorter(self) -> None:
        [fault] = self.faults("[nat]\nlifetime = 10\nrenewal-lead = 10")
        self.assertEqual(fault, "[nat] renewal-lead: is not shorter than lifetime, which is 10s")

    def test_misspelt_option(self) -> None:
        [fault] = self.faults("[nat]\nlifetme = 10")
        self.assertIn("did you mean 'lifetime'?", fault)

    def test_right(self) -> None:
        settings, registry = self.load("[nat]\nprotocol = pmp\nlifetime = 1h\nrenewal-lead = 5m")
        self.assertEqual(list(find_faults(find_section(settings), registry.names(INATDriver))), [])


class RegistryTests(SynchronousTestCase):
    def test_driver_of_a_third_party(self) -> None:
        registry = Registry()
        registry.load(())
        driver = FakeDriver("carrier-pigeon")
        registry.add_nat_driver(driver)
        self.assertIs(registry.get(INATDriver, "carrier-pigeon"), driver)
        self.assertEqual(registry.names(INATDriver), ("carrier-pigeon", *BUILT_IN_DRIVERS))

    def test_driver_that_is_none(self) -> None:
        with self.assertRaises(PluginError):
            Registry().register(INATDriver, object(), "pcp")

    def test_another_in_its_place(self) -> None:
        registry = Registry()
        registry.load(())
        with self.assertRaises(PluginError):
            registry.add_nat_driver(FakeDriver("pcp"))
        own = FakeDriver("pcp")
        registry.register(INATDriver, own, "pcp", replace=True)
        self.assertIs(registry.get(INATDriver, "pcp"), own)


class PlaceTests(SynchronousTestCase):
    def find(self, is_root: bool = False, **environment: str) -> str:
        return str(find_state_directory(environment, is_root))

    def test_directories(self) -> None:
        home = {"HOME": "/home/me"}
        self.assertEqual(self.find(**home), "/home/me/.local/state/pmmux")
        self.assertEqual(self.find(XDG_STATE_HOME="/x", **home), "/x/pmmux")
        self.assertEqual(self.find(XDG_STATE_HOME="relative", **home), "/home/me/.local/state/pmmux")
        self.assertEqual(self.find(True, XDG_STATE_HOME="/x", **home), str(SYSTEM_DIRECTORY))
        self.assertEqual(self.find(True, STATE_DIRECTORY="/var/lib/a:/var/lib/b"), "/var/lib/a")
        self.assertEqual(self.find(), "None")

    def test_one_for_each_configuration(self) -> None:
        sources = ("/etc/a/pmmux.ini", "/etc/b/pmmux.ini", "/etc/a/other.ini", None)
        paths = {find_state_path(source, ENVIRONMENT) for source in sources}
        self.assertEqual(len(paths), len(sources))

    def test_the_same_by_another_way(self) -> None:
        here = os.getcwd()
        self.assertEqual(
            find_state_path("pmmux.ini", ENVIRONMENT), find_state_path(f"{here}/./pmmux.ini", ENVIRONMENT)
        )

    def test_names_are_plain(self) -> None:
        path = Path(find_state_path("/etc/Ü b\n" + "x" * 300 + ".ini", ENVIRONMENT))
        self.assertTrue(path.name.isascii() and path.name.isprintable() and " " not in path.name)
        self.assertLess(len(path.name), 80)
