"""The NAT service, its uplinks and leases, on drivers that do as they are told."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest import mock

from attrs import define, field
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pmmux.metrics.reporter import MetricReporter
from pmmux.nat.lease import REFRESH_PERMANENT_SECONDS, MappingState
from pmmux.nat.mapping import (
    NO_EXTERNAL_ADDRESS,
    GatewayFacts,
    Grant,
    Link,
    MappingRequest,
    NATRefused,
    NATUnavailable,
    NATUnreachable,
    Reason,
    refuse,
)
from pmmux.nat.report import PortReport
from pmmux.nat.routes import WATCH_SECONDS, LinkChoice
from pmmux.nat.service import STOP_SECONDS, NATService, make_drivers
from pmmux.nat.settings import BUILT_IN_DRIVERS, IPV4, IPV6, NATSettings, WantedMapping
from pmmux.nat.state import Journal
from pmmux.nat.uplink import DEBOUNCE_SECONDS
from pmmux.test.nat_doubles import ADDRESS, EXTERNAL, GATEWAY, FakeDriver, FakeNetwork, FakeReporter

LINK = Link(GATEWAY, ADDRESS, "eth0")
FRONT = WantedMapping("front", "tcp", 8080, 8443)
ANY = WantedMapping("front", "tcp", 8080, 0)


@define
class FakeTable:
    """Routes by hand, by the gateway that is configured."""

    gateway: str = ""
    interface: str = ""
    choices: dict[int, LinkChoice] = field(factory=lambda: {IPV4: LinkChoice(LINK), IPV6: LinkChoice(None)})
    find_address: Callable[[int, str], str] = lambda family, gateway: ""

    def choose(self, family: int) -> LinkChoice:
        chosen = self.choices[family]
        if self.gateway and family == IPV4:
            return LinkChoice(Link(self.gateway, ADDRESS, self.interface))
        return chosen


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.reporter = FakeReporter()
        self.table = FakeTable()
        self.pcp, self.pmp, self.upnp = (FakeDriver(name) for name in BUILT_IN_DRIVERS)
        self.drivers: list[Any] = [self.pcp, self.pmp, self.upnp]

    def make(self, *wanted: WantedMapping, **settings: Any) -> NATService:
        self.service = NATService(
            self.network, NATSettings(**settings), wanted, self.reporter, drivers=self.drivers,
            table=self.table, now=self.network.seconds, chance=random.Random(1),
        )  # fmt: skip
        return self.service

    def start(self, *wanted: WantedMapping, **settings: Any) -> NATService:
        service = self.make(*wanted, **settings)
        service.start()
        return service

    def stop(self) -> None:
        stopped = self.service.stop()
        self.network.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.network.ports, [])

    def port(self, name: str = "front", family: int = IPV4) -> PortReport:
        port = self.service.report().find(name, "tcp", family)
        assert port is not None
        return port

    def reasons(self, name: str = "front") -> list[Reason]:
        return [finding.reason for finding in self.port(name).findings]


class ChoiceTests(ServiceCase):
    def test_preferred_first(self) -> None:
        self.start(FRONT)
        self.assertEqual((self.port().protocol, self.port().state), ("pcp", MappingState.MAPPED))
        self.assertEqual(self.pmp.requests("map") + self.upnp.requests("map"), [])
        self.stop()
        self.assertEqual(self.pcp.table, {})
        self.assertTrue(all(client.closed for driver in self.drivers for client in driver.clients))

    def test_late_refusal_is_told(self) -> None:
        """It may say why the others refuse."""
        self.pcp.on_map = lambda _: refuse(Reason.NO_RESOURCES, "no room")
        self.pmp.answer = None
        self.drivers = [self.pcp, self.pmp]
        with capturedLogs() as events:
            self.start(FRONT)
            self.network.advance(1)
            self.pmp.clients[0].end_waiting(NATRefused(NO_EXTERNAL_ADDRESS))
            self.network.advance(1)
        self.assertEqual(self.reasons(), [Reason.NO_RESOURCES, Reason.NO_EXTERNAL_ADDRESS])
        told = [event["report"] for event in events if "report" in event]
        self.assertTrue(any("no room" in text and "behind another NAT" in text for text in told), told)
        self.stop()

    def test_configured_order(self) -> None:
        self.start(FRONT, protocols=("upnp", "pcp"))
        self.assertEqual(self.port().protocol, "upnp")
        self.assertEqual(self.pmp.clients, [])
        self.stop()

    def test_preferred_is_waited_for_a_while(self) -> None:
        self.pcp.answer = None
        self.start(FRONT)
        self.assertEqual(self.port().state, MappingState.WAITING)
        self.network.advance(0.9)
        self.assertEqual(self.port().state, MappingState.WAITING)
        self.network.advance(0.2)
        self.assertEqual(self.port().protocol, "pmp")
        self.stop()

    def test_preferred_says_no(self) -> None:
        self.pcp.answer = refuse(Reason.UNSUPPORTED, "no PCP here")
        self.start(FRONT)
        self.assertEqual(self.port().protocol, "pmp")
        self.assertIn("no PCP here", self.service.report().render())
        self.stop()

    def test_nobody_answers(self) -> None:
        for driver in self.drivers:
            driver.answer = NATUnreachable(f"nobody speaks {driver.name}")
        self.start(FRONT)
        self.assertEqual((self.port().state, self.port().reachable), (MappingState.WAITING, False))
        self.assertEqual(self.reasons(), [Reason.NO_ANSWER] * 3)
        self.pmp.answer = GatewayFacts(EXTERNAL)
        self.network.advance(5)
        self.assertEqual(self.port().protocol, "pmp")
        self.stop()

    def test_package_missing(self) -> None:
        class Missing(FakeDriver):
            def open(self, context: Any) -> Any:
                raise NATUnavailable(refuse(Reason.PACKAGE_MISSING, "pip install it").finding)

        self.drivers = [Missing("upnp"), self.pmp]
        self.start(FRONT, protocols=("upnp", "pmp", "other"))
        self.assertEqual(self.port().protocol, "pmp")
        text = self.service.report().render()
        self.assertIn("upnp: no (pip install it)", text)
        self.assertIn("other: no (there is no driver of this name", text)
        self.stop()

    def test_no_protocol_at_all(self) -> None:
        self.table.choices[IPV6] = LinkChoice(Link("fe80::1%eth0", "2a00::2", "eth0"))
        self.start(FRONT, WantedMapping("front", "tcp", 8080, 8080, family=IPV6))
        pinhole = self.port(family=IPV6)
        self.assertEqual((pinhole.state, pinhole.reachable), (MappingState.WAITING, False))
        self.assertEqual([finding.reason for finding in pinhole.findings], [Reason.UNSUPPORTED])
        self.stop()
        missing = NATUnavailable(refuse(Reason.PACKAGE_MISSING, "pip install it").finding)
        with mock.patch.object(self.upnp, "open", side_effect=missing):
            self.start(FRONT, protocols=("upnp",))
            self.assertEqual((self.port().reachable, self.reasons()), (False, [Reason.PACKAGE_MISSING]))
            self.stop()

    def test_next_driver_after_a_refusal_only(self) -> None:
        self.pcp.on_map = lambda _: refuse(Reason.NOT_AUTHORIZED, "not you")
        self.pmp.on_map = lambda _: NATUnreachable("silent")
        self.start(FRONT)
        self.assertEqual(self.reasons(), [Reason.NOT_AUTHORIZED, Reason.NO_ANSWER])
        self.assertEqual(self.upnp.requests("map"), [])
        self.stop()

    def test_built_in_drivers(self) -> None:
        self.assertEqual(tuple(driver.name for driver in make_drivers()), BUILT_IN_DRIVERS)


class StrictTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.drivers = [self.pcp]
        self.pcp.on_map = lambda request: self.pcp.grant(request, 1024)

    def test_other_port_is_given_back(self) -> None:
        self.start(FRONT)
        self.assertEqual((self.port().state, self.reasons()), (MappingState.FAILED, [Reason.OTHER_PORT]))
        self.assertEqual(self.pcp.table, {})
        self.assertEqual(self.reporter.events, [])
        self.stop()

    def test_holder_is_named(self) -> None:
        self.pcp.holder = "192.168.77.3, port 80"
        self.start(FRONT)
        self.assertEqual(self.reasons(), [Reason.PORT_TAKEN])
        self.assertIn("192.168.77.3", self.service.report().render())
        self.stop()

    def test_not_strict(self) -> None:
        self.start(FRONT, strict=False)
        self.assertEqual((self.port().public_port, self.reasons()), (1024, [Reason.OTHER_PORT]))
        self.stop()

    def test_wanted_says_otherwise(self) -> None:
        self.start(WantedMapping("front", "tcp", 8080, 8443, strict=False))
        self.assertEqual(self.port().public_port, 1024)
        self.stop()

    def test_any_port(self) -> None:
        self.start(ANY)
        self.assertEqual((self.port().public_port, self.reasons()), (1024, []))
        [request] = self.pcp.requests("map")
        self.assertEqual((request.external_port, request.fixed), (8080, False))
        self.stop()


class RenewalTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.drivers = [self.pcp]

    def maps(self) -> int:
        return len(self.pcp.requests("map"))

    def test_at_half(self) -> None:
        self.start(FRONT, lifetime_seconds=3600, poll_seconds=1e6)
        self.network.advance(3600 * 0.44)
        self.assertEqual(self.maps(), 1)
        self.network.advance(3600 * 0.07)
        self.assertEqual(self.maps(), 2)
        self.assertEqual(self.reporter.counts("portmap.renewed"), 1)
        self.stop()

    def test_lifetime_of_the_gateway_counts(self) -> None:
        self.pcp.lifetime_seconds = 120
        self.start(FRONT, poll_seconds=1e6)
        self.network.advance(61)
        self.assertEqual(self.maps(), 2)
        self.stop()

    def test_lead(self) -> None:
        self.start(FRONT, lifetime_seconds=100, renewal_lead_seconds=10, poll_seconds=1e6)
        self.network.advance(89)
        self.assertEqual(self.maps(), 1)
        self.network.advance(2)
        self.assertEqual(self.maps(), 2)
        self.stop()

    def test_permanent(self) -> None:
        self.pcp.lifetime_seconds = 0
        self.start(FRONT, poll_seconds=1e6)
        self.assertEqual(
            (self.port().remaining_seconds, self.reasons()), (float("inf"), [Reason.PERMANENT_ONLY])
        )
        self.network.advance(REFRESH_PERMANENT_SECONDS)
        self.assertEqual(self.maps(), 2)
        self.stop()

    def test_absurdly_short_lifetime(self) -> None:
        self.pcp.lifetime_seconds = 1
        self.start(FRONT, poll_seconds=1e6)
        for _ in range(100):
            self.network.advance(0.1)
        self.assertLessEqual(self.maps(), 11)
        self.stop()

    def test_refused_retries_back_off(self) -> None:
        self.pcp.on_map = lambda _: refuse(Reason.NO_RESOURCES, "full")
        self.start(FRONT, poll_seconds=1e6)
        times = []
        for second in range(300):
            before = self.maps()
            self.network.advance(1)
            if self.maps() > before:
                times.append(second + 1)
        self.assertEqual(times, [5, 15, 35, 75, 135, 195, 255])
        self.assertEqual(self.reporter.counts("portmap.add.error"), 8)
        self.pcp.on_map = self.pcp.grant
        self.network.advance(60)
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_refusal_with_a_lifetime(self) -> None:
        self.pcp.on_map = lambda _: refuse(Reason.NO_RESOURCES, "full", 300)
        self.start(FRONT, poll_seconds=1e6)
        self.network.advance(299)
        self.assertEqual(self.maps(), 1)
        self.network.advance(2)
        self.assertEqual(self.maps(), 2)
        self.stop()

    def test_renewal_is_not_answered(self) -> None:
        self.start(FRONT, lifetime_seconds=100, poll_seconds=1e6)
        self.pcp.on_map = lambda _: NATUnreachable("silent")
        self.pcp.answer = NATUnreachable("silent")
        for _ in range(60):
            self.network.advance(1)
        self.assertEqual((self.port().state, self.port().reachable), (MappingState.RENEWING, True))
        self.assertGreater(self.reporter.counts("portmap.renew.error"), 0)
        for _ in range(60):
            self.network.advance(1)
        self.assertNotIn(self.port().state, (MappingState.MAPPED, MappingState.RENEWING))
        self.assertEqual(self.port().public_port, 0)
        self.pcp.on_map, self.pcp.answer = self.pcp.grant, GatewayFacts()
        for _ in range(120):
            self.network.advance(1)
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_renewal_is_refused(self) -> None:
        self.drivers = [self.pcp, self.pmp]
        self.start(FRONT, lifetime_seconds=100, poll_seconds=1e6)
        self.pcp.on_map = lambda _: refuse(Reason.NO_RESOURCES, "full")
        self.network.advance(51)
        self.assertEqual(self.port().protocol, "pmp")
        self.assertEqual(self.pcp.table, {})
        self.assertEqual([name for name, _ in self.reporter.events],
                         ["portmap.added", "portmap.removed", "portmap.added"])  # fmt: skip
        self.stop()

    def test_gateway_lost_the_mappings(self) -> None:
        self.start(FRONT, poll_seconds=30)
        self.pcp.answer = GatewayFacts(lost=True)
        self.network.advance(30)
        self.pcp.answer = GatewayFacts()
        self.assertEqual(self.maps(), 1)
        self.network.advance(DEBOUNCE_SECONDS)
        self.assertEqual(self.maps(), 2)
        self.stop()

    def test_restarts_are_heard_once(self) -> None:
        self.start(FRONT, poll_seconds=1e6)
        for _ in range(100):
            self.pcp.clients[0].context.lost()
            self.network.advance(0.01)
        self.network.advance(2)
        self.assertLessEqual(self.maps(), 4)
        self.stop()

    def test_only_the_owner_must_answer(self) -> None:
        self.drivers = [self.pcp, self.pmp]
        self.pmp.polls_cheaply = True
        self.start(FRONT, poll_seconds=10)
        self.pmp.answer = NATUnreachable("silent")
        for _ in range(60):
            self.network.advance(1)
        self.assertEqual(len(self.pcp.clients), 1)
        self.pcp.answer = NATUnreachable("silent")
        for _ in range(60):
            self.network.advance(1)
        self.assertGreater(len(self.pcp.clients), 1)
        self.stop()

    def test_hints_are_followed_by_one_poll(self) -> None:
        self.start(FRONT, poll_seconds=1e6)
        before = len(self.pcp.requests("poll"))
        for _ in range(100):
            self.service._uplinks[IPV4]._hear_hint()
            self.network.advance(0.005)
        self.network.advance(2)
        self.assertEqual(len(self.pcp.requests("poll")), before + 1)
        self.stop()

    def test_external_address_changes(self) -> None:
        self.start(FRONT, poll_seconds=30)
        self.pcp.answer = GatewayFacts("11.22.33.9")
        self.network.advance(30)
        self.network.advance(1)
        self.assertEqual(self.port().external_address, "11.22.33.9")
        self.assertEqual(self.maps(), 2)
        self.stop()


class LinkTests(ServiceCase):
    def test_no_gateway(self) -> None:
        self.table.choices[IPV4] = LinkChoice(None, (refuse(Reason.NO_GATEWAY, "none").finding,))
        self.start(FRONT)
        self.assertEqual((self.port().reachable, self.reasons()), (False, [Reason.NO_GATEWAY]))
        self.table.choices[IPV4] = LinkChoice(LINK)
        self.network.advance(WATCH_SECONDS)
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_another_gateway(self) -> None:
        self.start(FRONT)
        self.table.choices[IPV4] = LinkChoice(Link("10.0.0.1", "10.0.0.2", "eth1"))
        self.network.advance(WATCH_SECONDS)
        self.assertEqual(len(self.pcp.requests("unmap")), 1)
        self.assertTrue(self.pcp.clients[0].closed)
        self.assertEqual(self.pcp.clients[1].context.link.gateway, "10.0.0.1")
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_old_gateway_is_silent(self) -> None:
        self.start(FRONT)
        self.pcp.on_unmap = None
        self.table.choices[IPV4] = LinkChoice(None)
        self.network.advance(WATCH_SECONDS)
        self.assertFalse(self.pcp.clients[0].closed)
        self.network.advance(1)
        self.assertTrue(self.pcp.clients[0].closed)
        self.stop()

    def test_listener_elsewhere(self) -> None:
        self.start(WantedMapping("front", "tcp", 8080, 8443, addresses=("127.0.0.1",)))
        self.assertIn(Reason.WRONG_INTERFACE, self.reasons())
        self.assertEqual(self.pcp.requests("map"), [])
        self.stop()

    def test_listener_here(self) -> None:
        for name, addresses in (("a", ("0.0.0.0",)), ("b", (ADDRESS,)), ("c", ("127.0.0.1", "::"))):
            self.start(WantedMapping(name, "tcp", 8080, 8443, addresses=addresses))
            self.assertEqual(self.port(name).state, MappingState.MAPPED)
            self.stop()

    def test_ipv6_address_that_the_internet_reaches(self) -> None:
        for address, advised in (("2a00:2::2", True), ("fd77::2", False), ("fe80::2", False), ("", False)):
            self.table.find_address = lambda family, gateway, address=address: address
            for driver in (self.pcp, self.pmp, self.upnp):
                driver.answer = GatewayFacts("100.64.7.7")
            self.start(FRONT)
            self.assertEqual(Reason.IPV6_INSTEAD in self.reasons(), advised, address)
            self.stop()

    def test_external_address_told_late(self) -> None:
        self.pcp.answer = GatewayFacts()
        self.pmp.answer = None
        self.drivers = [self.pcp, self.pmp]
        self.start(FRONT)
        self.assertEqual(self.port().external_address, "")
        for hanging in self.pmp.clients[0]._hanging:
            hanging.callback(GatewayFacts(EXTERNAL))
        self.assertEqual(self.port().external_address, EXTERNAL)
        self.stop()

    def test_another_nat_between(self) -> None:
        """No other driver is tried: it would map to whoever that is."""
        self.pcp.on_map = lambda _: refuse(Reason.ADDRESS_MISMATCH, "another NAT")
        self.start(FRONT)
        self.assertEqual(self.reasons(), [Reason.ADDRESS_MISMATCH])
        self.assertEqual(self.pmp.requests("map") + self.upnp.requests("map"), [])
        self.stop()

    def test_behind_another_nat(self) -> None:
        for address, reason in (("192.168.1.7", Reason.DOUBLE_NAT), ("100.64.0.7", Reason.CARRIER_NAT)):
            self.pcp.external_address = address
            self.start(FRONT)
            self.assertEqual((self.port().reachable, self.reasons()), (False, [reason]))
            self.stop()


class LifeTests(ServiceCase):
    def test_add_and_remove(self) -> None:
        service = self.start(FRONT)
        service.add(WantedMapping("more", "tcp", 7000, 7001))
        self.assertEqual(self.port("more").public_port, 7001)
        with self.assertRaises(ValueError):
            service.add(FRONT)
        self.successResultOf(service.remove("front"))
        self.assertIsNone(service.report().find("front", "tcp"))
        self.assertEqual(list(self.pcp.table), [("tcp", 7001)])
        self.successResultOf(service.remove("front"))
        self.stop()

    def test_events(self) -> None:
        service = self.start(ANY)
        self.pcp.on_map = lambda request: self.pcp.grant(request, 9443)
        self.pcp.clients[0].context.lost()
        self.network.advance(DEBOUNCE_SECONDS)
        self.successResultOf(service.remove("front"))
        told = [(name, fields["name"], fields["public_port"]) for name, fields in self.reporter.events]
        self.assertEqual(
            told,
            [
                ("portmap.added", "front", "8080"),
                ("portmap.changed", "front", "9443"),
                ("portmap.removed", "front", "9443"),
            ],
        )
        self.stop()

    def test_same_local_port_twice(self) -> None:
        self.start(FRONT, WantedMapping("more", "tcp", 8080, 7001), protocols=("pcp",))
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.assertEqual(self.reasons("more"), [Reason.LOCAL_PORT_TAKEN])
        self.stop()

    def test_local_port_is_chosen(self) -> None:
        self.start(WantedMapping("front", "tcp", 0, 0))
        self.assertGreater(self.port().local_port, 0)
        self.stop()

    def test_real_reporter_knows_our_metrics(self) -> None:
        self.reporter = MetricReporter()  # type: ignore[assignment]
        self.start(FRONT, lifetime_seconds=100)
        self.network.advance(60)
        self.upnp.on_map = self.pmp.on_map = self.pcp.on_map = lambda _: refuse(Reason.NO_RESOURCES, "full")
        self.network.advance(60)
        self.network.advance(60)
        self.pcp.on_map = self.pcp.grant
        self.network.advance(60)
        self.pcp.on_unmap = refuse(Reason.NOT_AUTHORIZED, "no")
        self.stop()
        told = {sample.metric.name for sample in self.reporter.collect()}  # type: ignore[attr-defined]
        self.assertLessEqual({"portmap.created", "portmap.renewed", "portmap.renew.error"}, told)
        self.assertIn("portmap.delete.error", told)

    def test_changes_are_told_once(self) -> None:
        service = self.start(FRONT)
        told: list[str] = []
        service.changed.append(lambda: told.append(service.report().render()))
        self.network.advance(0)
        self.assertEqual(len(told), 1)
        self.assertIn(f"front (tcp, IPv4): {EXTERNAL}:8443 -> local port 8080", told[0])
        self.network.advance(1)
        self.assertEqual(len(told), 1)
        self.stop()

    def test_stop_while_the_gateway_is_silent(self) -> None:
        self.start(FRONT)
        self.pcp.on_unmap = None
        stopped = self.service.stop()
        self.network.advance(STOP_SECONDS - 0.6)
        self.assertNoResult(stopped)
        self.network.advance(0.6)
        self.successResultOf(stopped)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.network.ports, [])

    def test_stop_while_probing_and_mapping(self) -> None:
        for answer, on_map in ((None, self.pcp.grant), (GatewayFacts(), lambda _: None)):
            self.pcp.answer, self.pcp.on_map = answer, on_map
            self.pmp.answer = self.upnp.answer = None
            self.start(FRONT)
            self.stop()
        # What was asked for last may have been granted.
        self.assertEqual(len(self.pcp.requests("unmap")), 1)

    def test_stop_before_anything(self) -> None:
        self.start()
        self.stop()

    def test_pinhole(self) -> None:
        self.pcp.families = (IPV4, IPV6)
        self.table.choices[IPV6] = LinkChoice(Link("fe80::1%eth0", "2a00::2", "eth0"))
        self.pcp.external_address = "2a00::2"
        self.start(FRONT, WantedMapping("front", "tcp", 8080, 8080, family=IPV6))
        self.assertEqual(self.port(family=IPV6).state, MappingState.MAPPED)
        self.assertEqual(len(self.service.report().gateways), 2)
        self.stop()


class CrashTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.mktemp()
        self.journal = Journal(self.path, self.network.seconds)

    def leave(self, name: str, driver: FakeDriver, internal: int, external: int, link: Link = LINK) -> None:
        grant = Grant(driver.name, "tcp", internal, external, 3600)
        driver.table["tcp", external] = grant
        self.journal.remember(name, link, grant)

    def test_leftovers_are_deleted_before_anything_is_mapped(self) -> None:
        self.leave("old", self.pcp, 7000, 7001)
        self.leave("old", self.upnp, 7002, 7003)
        self.leave("front", self.pcp, 8181, 8443)
        self.start(FRONT, state_path=self.path)
        self.assertEqual([kind for kind, _ in self.pcp.asked], ["poll", "unmap", "unmap", "map"])
        self.assertEqual((list(self.pcp.table), list(self.upnp.table)), ([("tcp", 8443)], []))
        self.stop()
        self.assertEqual(Journal(self.path, self.network.seconds).records(), ())

    def test_without_any_wanted_port(self) -> None:
        self.leave("old", self.pcp, 7000, 7001)
        self.start(state_path=self.path)
        self.assertEqual(self.pcp.table, {})
        self.stop()

    def test_same_mapping_is_taken_over(self) -> None:
        self.leave("front", self.pcp, 8080, 8443)
        self.start(FRONT, state_path=self.path)
        self.assertEqual(self.pcp.requests("unmap"), [])
        self.assertEqual(self.pcp.clients[0].context.nonce, self.journal.nonce)
        self.stop()

    def test_same_public_port_is_asked_for_again(self) -> None:
        self.leave("front", self.pcp, 8080, 50123)
        self.start(ANY, state_path=self.path)
        self.assertEqual(self.pcp.requests("map"), [MappingRequest("tcp", 8080, 50123, 3600)])
        self.stop()

    def test_late_driver_is_tried(self) -> None:
        self.pcp.on_map = lambda _: refuse(Reason.NOT_AUTHORIZED, "not you")
        self.upnp.answer = None
        self.start(FRONT, protocols=("pcp", "upnp"))
        self.assertEqual(self.port().state, MappingState.FAILED)
        self.upnp.clients[0]._hanging[0].callback(GatewayFacts(EXTERNAL))
        self.assertEqual(self.port().protocol, "upnp")
        self.stop()

    def test_late_driver_cleans_too(self) -> None:
        self.leave("old", self.upnp, 7002, 7003)
        self.upnp.answer = None
        self.start(FRONT, state_path=self.path)
        self.assertEqual(len(self.upnp.table), 1)
        self.upnp.clients[0]._hanging[0].callback(GatewayFacts(EXTERNAL))
        self.assertEqual(self.upnp.table, {})
        self.stop()

    def test_other_gateways_are_kept_for_later(self) -> None:
        self.leave("old", self.pcp, 7000, 7001, Link("10.0.0.1", "10.0.0.2", "eth0"))
        self.start(FRONT, state_path=self.path)
        self.stop()
        self.assertEqual(len(Journal(self.path, self.network.seconds).records()), 1)

    def test_former_address_has_the_port(self) -> None:
        self.leave("front", self.pcp, 8080, 8443, Link(GATEWAY, "192.168.77.9", "eth0"))
        self.pcp.on_map = lambda request: self.pcp.grant(request, 1024)
        self.start(FRONT, state_path=self.path, protocols=("pcp",))
        self.assertEqual(self.reasons(), [Reason.PORT_TAKEN])
        self.assertIn("former address 192.168.77.9", self.service.report().render())
        self.stop()

    def test_killed_while_asking(self) -> None:
        """It is written down before it is asked for."""
        self.pcp.on_map = lambda _: None
        self.start(FRONT, state_path=self.path)
        [record] = Journal(self.path, self.network.seconds).records()
        self.assertEqual((record.driver, record.internal_port, record.external_port), ("pcp", 8080, 8443))
        self.stop()
