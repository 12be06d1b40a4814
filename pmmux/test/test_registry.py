"""The registry: what is missing, there twice or broken is named; what is built in is nothing special."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import pmmux.plugins
from pmmux.config.options import Option, SectionSchema
from pmmux.errors import PluginError
from pmmux.interfaces import IProbe, IRoutingStrategy
from pmmux.model import NO_MATCH
from pmmux.probes.probe import Probe
from pmmux.registry import Registry
from pmmux.strategies.first_available import FirstAvailable
from pmmux.test.doubles import builtin_registry

DROP_IN = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from pmmux.interfaces import IExtension

@implementer(IPlugin, IExtension)
class Extension:
    name = {name!r}

    def register(self, registry):
        {body}

extension = Extension()
"""


class RegisterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = Registry()

    def test_looked_up(self) -> None:
        strategy = FirstAvailable()
        self.registry.add_strategy(strategy)
        self.assertIs(self.registry.get(IRoutingStrategy, "first-available"), strategy)
        self.assertIsNone(self.registry.get(IRoutingStrategy, "other"))
        self.assertEqual(self.registry.names(IRoutingStrategy), ("first-available",))
        self.assertEqual(self.registry.all(IRoutingStrategy), [("first-available", strategy)])

    def test_twice(self) -> None:
        self.registry.add_strategy(FirstAvailable())
        error = self.assertRaises(PluginError, self.registry.add_strategy, FirstAvailable())
        self.assertEqual(error.plugin, "first-available")

    def test_replaced(self) -> None:
        self.registry.add_strategy(FirstAvailable())
        other = FirstAvailable()
        self.registry.register(IRoutingStrategy, other, "first-available", replace=True)
        self.assertIs(self.registry.get(IRoutingStrategy, "first-available"), other)

    def test_service_replaced(self) -> None:
        class Quiet(FirstAvailable):
            name = "quiet"

        self.assertIsInstance(self.registry.make(IRoutingStrategy, FirstAvailable), FirstAvailable)
        self.registry.provide(IRoutingStrategy, lambda ours, *given: Quiet(*given))
        made = self.registry.make(IRoutingStrategy, FirstAvailable)
        self.assertIsInstance(made, Quiet)
        self.assertIs(self.registry.get(IRoutingStrategy), made)
        error = self.assertRaises(PluginError, self.registry.provide, IRoutingStrategy, FirstAvailable)
        self.assertIn("two extensions", error.reason)

    def test_service_replaced_by_what_is_none(self) -> None:
        self.registry.provide(IRoutingStrategy, lambda ours: object())
        self.assertRaises(PluginError, self.registry.make, IRoutingStrategy, FirstAvailable)

    def test_one_that_does_not_provide_it(self) -> None:
        class Half:
            name = "half"

        error = self.assertRaises(PluginError, self.registry.add_strategy, Half())
        self.assertEqual(error.plugin, "half")
        self.assertIn("choose", error.reason)

    def test_one_that_takes_other_arguments(self) -> None:
        @implementer(IRoutingStrategy)
        class Odd:
            name = "odd"

            async def choose(self) -> None:
                """Wrong."""

        self.assertRaises(PluginError, self.registry.add_strategy, Odd())

    def test_probes_by_transport_in_order(self) -> None:
        probes = [Probe(name, "tcp", lambda octets: NO_MATCH) for name in "cab"]
        same_name = Probe("a", "udp", lambda octets: NO_MATCH)
        for probe in (*probes, same_name):
            self.registry.add_probe(probe)
        self.assertEqual([each.name for each in self.registry.probes("tcp")], ["c", "a", "b"])
        self.assertEqual(self.registry.probes("udp"), (same_name,))
        self.assertIs(self.registry.get(IProbe, "udp:a"), same_name)
        self.assertRaises(PluginError, self.registry.add_probe, same_name)

    def test_options_and_sections(self) -> None:
        option = Option("x", str, "text")
        self.registry.add_options("listener", [option])
        self.registry.add_options("listener", [option])
        self.assertEqual(self.registry.options("listener"), (option, option))
        self.assertEqual(self.registry.options("backend"), ())
        schema = SectionSchema("mine", True, (option,))
        self.registry.add_section(schema)
        self.assertEqual(self.registry.sections(), (schema,))
        self.assertRaises(PluginError, self.registry.add_section, schema)


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        before = list(pmmux.plugins.__path__)
        pmmux.plugins.__path__.append(str(self.folder))
        self.addCleanup(pmmux.plugins.__path__.__setitem__, slice(None), before)
        self.addCleanup(self.forget, set(sys.modules))

    def forget(self, before: set[str]) -> None:
        for name in set(sys.modules) - before:
            if name.startswith("pmmux.plugins."):
                del sys.modules[name]

    def drop_in(self, module: str, name: str, body: str = "pass") -> None:
        (self.folder / f"{module}.py").write_text(DROP_IN.format(name=name, body=body))

    def refused(self, *extensions: str) -> PluginError:
        error: PluginError = self.assertRaises(PluginError, Registry().load, extensions)
        return error

    def test_asked_for(self) -> None:
        self.drop_in("wanted", "wanted", "registry.add_options('pmmux', ['from wanted'])")
        self.drop_in("unwanted", "unwanted", "raise ZeroDivisionError")
        registry = Registry()
        registry.load(["wanted"])
        self.assertEqual(registry.options("pmmux")[-1], "from wanted")
        self.assertIn("first-available", registry.names(IRoutingStrategy))

    def test_missing(self) -> None:
        self.drop_in("other", "other")
        error = self.refused("wanted")
        self.assertEqual((error.plugin, error.reason), ("wanted", "not installed; installed are other"))

    def test_there_twice(self) -> None:
        self.drop_in("one", "wanted")
        self.drop_in("two", "wanted")
        self.assertEqual(str(self.refused("wanted")), "plugin wanted: installed more than once")

    def test_broken_at_import(self) -> None:
        (self.folder / "wanted.py").write_text("import no_such_module_of_ours")
        error = self.refused("wanted")
        self.flushLoggedErrors()
        self.assertEqual(error.plugin, "wanted")
        self.assertIn("pmmux.plugins.wanted cannot be imported (ModuleNotFoundError", error.reason)

    def test_broken_at_registering(self) -> None:
        self.drop_in("wanted", "wanted", "raise ZeroDivisionError('why')")
        self.assertEqual(str(self.refused("wanted")), "plugin wanted: ZeroDivisionError: why")

    def test_faults_of_its_own_are_passed_on(self) -> None:
        body = "from pmmux.errors import PluginError; raise PluginError('part', 'why')"
        self.drop_in("wanted", "wanted", body)
        self.assertEqual(str(self.refused("wanted")), "plugin part: why")


class BuiltinTests(SynchronousTestCase):
    def test_what_there_is(self) -> None:
        registry: Any = builtin_registry()
        preferred = [probe.name for probe in registry.probes("tcp")][:4]
        self.assertEqual(preferred, ["tls", "http2", "http", "ssh"])
        rest = [probe.name for probe in registry.probes("tcp")][5:]
        self.assertEqual(rest, sorted(rest))
        self.assertIn("quic", [probe.name for probe in registry.probes("udp")])
