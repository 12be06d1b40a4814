"""Which clients may connect: lists, numbers at a time, and rates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.access import AccessRecord
from pmmux.clients import ClientLimits, list_faults
from pmmux.config import values
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.errors import RouteError
from pmmux.model import Address, OptionKey, SectionValues
from pmmux.networks import LOOK_SECONDS, NetworkSet, WatchedNetworks, read_networks
from pmmux.sites import site_of
from pmmux.test.doubles import FakeReporter, make_client


def make_settings(options: dict[str, Any], listener: dict[str, Any] | None = None) -> Settings:
    def section(kind: str, written: dict[str, Any]) -> SectionValues:
        return SectionValues(kind, "front", {OptionKey(name): value for name, value in written.items()})

    spec = ListenerSpec("front", "tcp", (), None, 1, None, True, section("listener", listener or {}))
    return Settings(section("pmmux", options), (spec,), (), (), {})


class NetworkTests(SynchronousTestCase):
    @given(
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=5),
        st.integers(0, 2**32 - 1),
    )
    def test_as_the_networks_themselves(self, written: list[tuple[int, int]], number: int) -> None:
        networks = [
            values.network(f"{values.ipaddress.IPv4Address(address)}/{length}") for address, length in written
        ]
        host = values.ipaddress.IPv4Address(number)
        self.assertEqual(str(host) in NetworkSet(networks), any(host in network for network in networks))

    def test_both_families(self) -> None:
        found = NetworkSet([values.network("2001:db8::/32"), values.network("10.0.0.0/8")])
        self.assertIn("2001:db8::1", found)
        self.assertIn("10.9.9.9", found)
        self.assertNotIn("2001:db9::1", found)
        self.assertNotIn("11.0.0.1", found)
        self.assertNotIn("/run/front.sock", found)
        self.assertNotIn("10.0.0.1", NetworkSet())

    def test_a_file(self) -> None:
        path = self.mktemp()
        Path(path).write_text("# all\n10.0.0.0/8 # some\n\n 2001:db8::1\n")
        self.assertEqual([str(each) for each in read_networks(path)], ["10.0.0.0/8", "2001:db8::1/128"])
        Path(path).write_text("10.0.0.0/8\nnobody\n")
        self.assertIn("line 2", str(self.assertRaises(ValueError, read_networks, path)))

    def test_a_file_that_changes(self) -> None:
        clock, path = Clock(), self.mktemp()
        Path(path).write_text("10.0.0.0/8\n")
        watched = WatchedNetworks([values.network("192.0.2.1")], path, clock.seconds)
        self.assertIn("10.1.1.1", watched)
        Path(path).write_text("10.0.0.1\n172.16.0.0/12\n")
        self.assertIn("10.1.1.1", watched)
        clock.advance(LOOK_SECONDS)
        self.assertNotIn("10.1.1.1", watched)
        self.assertIn("172.16.5.5", watched)
        self.assertIn("192.0.2.1", watched)
        # Neither a broken line nor a missing file changes anything.
        Path(path).write_text("nonsense\n")
        clock.advance(LOOK_SECONDS)
        self.assertIn("172.16.5.5", watched)
        os.unlink(path)
        clock.advance(LOOK_SECONDS)
        self.assertIn("172.16.5.5", watched)
        Path(path).write_text("10.2.0.0/16\n")
        clock.advance(LOOK_SECONDS)
        self.assertNotIn("172.16.5.5", watched)
        self.assertIn("10.2.3.4", watched)


class ClientLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reporter = FakeReporter()
        self.refused: list[AccessRecord] = []
        self.limits = ClientLimits(self.clock, self.reporter, self.refused.append)
        self.last = 0

    def use(self, options: dict[str, Any], listener: dict[str, Any] | None = None) -> None:
        self.limits.use(make_settings(options, listener))

    def come(self, host: str, family: str = "ipv4") -> bool:
        self.last += 1
        return self.limits.admit(self.last, "front", make_client(Address(host, 1, family)))

    def test_nothing_configured(self) -> None:
        self.use({})
        self.assertFalse(self.limits.is_configured)
        self.assertFalse(self.limits.are_for("front"))

    def test_at_a_time(self) -> None:
        self.use({"max-connections-per-address": 2})
        self.assertEqual([self.come("192.0.2.1") for _ in range(3)], [True, True, False])
        self.assertTrue(self.come("192.0.2.2"))
        self.limits.leave(1)
        self.limits.leave(1)
        self.limits.leave(3)
        self.assertEqual([self.come("192.0.2.1") for _ in range(2)], [True, False])
        self.assertEqual([record.outcome for record in self.refused], ["limit-reached"] * 2)
        self.assertEqual(self.reporter.total("router.connection.failed"), 2)

    def test_a_site_of_ipv6_is_one(self) -> None:
        self.assertEqual(site_of("2001:db8::1"), site_of("2001:db8::ffff:1%eth0"))
        self.assertNotEqual(site_of("2001:db8::1"), site_of("2001:db8:0:1::1"))
        self.use({"max-connections-per-address": 1})
        self.assertTrue(self.come("2001:db8::1", "ipv6"))
        self.assertFalse(self.come("2001:db8::2", "ipv6"))

    def test_unix_sockets_have_no_address(self) -> None:
        self.use({"max-connections-per-address": 1, "max-connection-rate-per-address": 1})
        self.assertEqual([self.come("", "unix") for _ in range(3)], [True] * 3)

    def test_rate(self) -> None:
        self.use({"max-connection-rate-per-address": 4})
        self.assertEqual([self.come("192.0.2.1") for _ in range(6)], [True] * 4 + [False] * 2)
        self.clock.advance(1.5)
        # Half of the last second still counts: two of its four.
        self.assertEqual([self.come("192.0.2.1") for _ in range(3)], [True, True, False])
        self.clock.advance(2.5)
        self.assertEqual([self.come("192.0.2.1") for _ in range(5)], [True] * 4 + [False])

    def test_lists(self) -> None:
        inner = {"deny": (values.network("192.0.2.7"),)}
        self.use({"allow": (values.network("192.0.2.0/24"),)}, inner)
        self.assertTrue(self.come("192.0.2.1"))
        self.assertFalse(self.come("192.0.2.7"))
        self.assertFalse(self.come("198.51.100.1"))
        self.assertTrue(self.limits.is_listed_out("front", "192.0.2.7"))
        self.assertFalse(self.limits.is_listed_out("other", "192.0.2.7"))

    def test_announced(self) -> None:
        self.use({"max-connections-per-address": 1})
        client = make_client(Address("192.0.2.1", 1))
        self.limits.admit_announced(1, "front", client)
        refused = self.assertRaises(RouteError, self.limits.admit_announced, 2, "front", client)
        self.assertEqual(refused.outcome, "limit-reached")
        self.assertEqual(self.refused, [])

    def test_changed(self) -> None:
        self.use({"max-connections-per-address": 1})
        self.assertTrue(self.come("192.0.2.1"))
        self.use({"max-connections-per-address": 2})
        self.assertEqual([self.come("192.0.2.1") for _ in range(2)], [True, False])
        self.use({})
        self.assertTrue(self.come("192.0.2.1"))

    def test_files_are_read_when_the_configuration_is(self) -> None:
        path = self.mktemp()
        (fault,) = list_faults(make_settings({"deny-file": path}))
        self.assertIn("No such file", fault.message)
        Path(path).write_text("?\n")
        (fault,) = list_faults(make_settings({}, {"allow-file": path}))
        self.assertIn("line 1", fault.message)
