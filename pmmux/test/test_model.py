"""The values that everything speaks."""

from __future__ import annotations

from types import MappingProxyType

from twisted.trial.unittest import SynchronousTestCase

from pmmux.model import (
    NO_PROPERTIES,
    Address,
    Location,
    OptionKey,
    PriorityTier,
    Properties,
    SectionValues,
    Status,
    Verdict,
    malformed,
    match,
    need,
)


class VerdictTests(SynchronousTestCase):
    def test_makers(self) -> None:
        self.assertEqual(match({"a": "b"}, 9), Verdict(True, 9, {"a": "b"}))
        self.assertEqual(need(5), Verdict(None, 5))
        self.assertEqual(need(5, "truncated").fault, "truncated")
        self.assertEqual(malformed("bad"), Verdict(False, 0, NO_PROPERTIES, "bad"))


class StatusTests(SynchronousTestCase):
    def test_who_is_offered(self) -> None:
        offered = {status for status in Status if status.is_offered}
        self.assertEqual(offered, {Status.UNKNOWN, Status.HEALTHY, Status.DEGRADED, Status.STABILIZING})

    def test_tiers_are_in_order(self) -> None:
        self.assertEqual(sorted(PriorityTier, reverse=True)[-1], PriorityTier.VIP)
        self.assertLess(PriorityTier.NORMAL, PriorityTier.FALLBACK)


class TextTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for address, text in (
            (Address("192.0.2.1", 80), "192.0.2.1:80"),
            (Address("2001:db8::1", 80, "ipv6"), "[2001:db8::1]:80"),
            (Address("/run/x", 0, "unix"), "unix:/run/x"),
        ):
            self.assertEqual(str(address), text)
        self.assertEqual(len({Address("a", 1), Address("a", 1), Address("a", 2)}), 2)

    def test_locations(self) -> None:
        self.assertEqual(str(Location("p.ini", 3, "backend web", "sni")), "p.ini:3 [backend web] sni")
        self.assertEqual(str(Location("command line")), "command line")

    def test_option_keys(self) -> None:
        self.assertEqual(str(OptionKey("sni", None, True)), "sni!")
        self.assertEqual(str(OptionKey("property", "a.b", True)), "property[a.b]!")


class PropertiesTests(SynchronousTestCase):
    def test_own_over_layers_in_order(self) -> None:
        properties = Properties({"a": "own"})
        properties.join({"a": "first", "b": "first"})
        properties.join({"b": "second", "c": "second"})
        self.assertEqual(dict(properties), {"a": "own", "b": "first", "c": "second"})
        self.assertEqual(len(properties), 3)
        properties["c"] = "set"
        self.assertEqual(properties["c"], "set")
        self.assertIn("b", properties)
        self.assertNotIn("d", properties)

    def test_absent(self) -> None:
        properties = Properties()
        self.assertIsNone(properties.get("a"))
        self.assertEqual(properties.get("a", "x"), "x")
        with self.assertRaises(KeyError):
            properties["a"]

    def test_own_is_a_copy(self) -> None:
        own = {"a": "1"}
        properties = Properties(own)
        properties["a"] = "2"
        self.assertEqual(own, {"a": "1"})
        Properties(MappingProxyType(own))["b"] = "3"


class SectionValuesTests(SynchronousTestCase):
    def test_lookups(self) -> None:
        plain, keyed, negated = OptionKey("a"), OptionKey("a", "k"), OptionKey("a", "k", True)
        where = Location("p.ini", 7)
        section = SectionValues(
            "backend",
            "web",
            {plain: 1, keyed: 2, negated: 3, OptionKey("b"): None},
            {"a": 9, "b": 8, "c": 7},
            location=Location("p.ini", 1),
            locations={keyed: where},
        )
        self.assertEqual((section.get("a"), section.get("b"), section.get("c")), (1, None, 7))
        self.assertIsNone(section.get("d"))
        self.assertEqual(list(section.keyed("a")), [(plain, 1), (keyed, 2), (negated, 3)])
        self.assertIs(section.where(keyed), where)
        self.assertEqual(section.where(plain), Location("p.ini", 1))
