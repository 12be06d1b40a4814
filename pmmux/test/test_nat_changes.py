"""The NAT service under other settings and with other ports, while it runs."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs

from pmmux.nat.lease import MappingState
from pmmux.nat.mapping import MappingRequest, NATUnreachable, Reason
from pmmux.nat.routes import LinkChoice
from pmmux.nat.settings import IPV6, NATSettings, WantedMapping
from pmmux.nat.uplink import PARTING_SECONDS
from pmmux.test.nat_doubles import EXTERNAL, FakeClient
from pmmux.test.test_nat_service import FRONT, LINK, ServiceCase

MORE = WantedMapping("more", "tcp", 7000, 7001)


class PortTests(ServiceCase):
    def use(self, *wanted: WantedMapping) -> None:
        self.service.use(self.service.settings, wanted)

    def test_what_is_the_same_is_not_touched(self) -> None:
        self.start(FRONT)
        self.use(FRONT)
        self.assertEqual(len(self.pcp.requests("map")), 1)
        self.assertEqual(self.pcp.requests("unmap"), [])
        self.stop()

    def test_added_and_removed(self) -> None:
        self.start(FRONT)
        self.use(MORE)
        self.assertEqual(list(self.pcp.table), [("tcp", 7001)])
        self.assertIsNone(self.service.report().find("front", "tcp"))
        self.assertEqual(self.port("more").state, MappingState.MAPPED)
        self.stop()

    def test_reports_follow_the_order(self) -> None:
        self.start(FRONT)
        self.use(MORE, FRONT)
        self.assertEqual([port.name for port in self.service.report().ports], ["more", "front"])
        self.stop()

    def test_changed(self) -> None:
        self.start(FRONT)
        self.use(evolve(FRONT, public_port=9443))
        self.assertEqual(self.port().public_port, 9443)
        self.assertEqual(list(self.pcp.table), [("tcp", 9443)])
        self.stop()

    def test_old_one_is_deleted_before_the_new_one_is_made(self) -> None:
        """PCP and NAT-PMP delete by the local port, which may be the same."""
        self.start(FRONT)
        self.pcp.on_unmap = None
        self.use(evolve(FRONT, public_port=9443))
        self.assertEqual(len(self.pcp.requests("map")), 1)
        self.assertEqual(self.port().state, MappingState.WAITING)
        for hanging in self.pcp.clients[0]._hanging:
            hanging.callback(True)
        self.assertEqual(self.port().public_port, 9443)
        self.pcp.on_unmap = True
        self.stop()

    def test_removed_while_the_old_one_is_deleted(self) -> None:
        self.start(FRONT)
        self.pcp.on_unmap = None
        self.use(evolve(FRONT, public_port=9443))
        self.use()
        for hanging in self.pcp.clients[0]._hanging:
            hanging.callback(True)
        self.assertEqual(len(self.pcp.requests("map")), 1)
        self.pcp.on_unmap = True
        self.stop()

    def test_other_than_the_ports(self) -> None:
        """The mapping stays, and is judged anew."""
        self.start(FRONT)
        self.use(evolve(FRONT, listens=False))
        self.assertEqual(self.pcp.requests("unmap"), [])
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.use(evolve(FRONT, addresses=("10.0.0.1",)))
        self.assertEqual(self.reasons(), [Reason.WRONG_INTERFACE])
        self.assertEqual(self.pcp.table, {})
        self.use(FRONT)
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_another_family(self) -> None:
        self.pcp.families = (4, IPV6)
        self.table.choices[IPV6] = LinkChoice(evolve(LINK, gateway="fe80::1%eth0", address="2a00::2"))
        self.start(FRONT)
        self.use(FRONT, WantedMapping("front", "tcp", 8080, 8080, family=IPV6))
        self.assertEqual(self.port(family=IPV6).state, MappingState.MAPPED)
        self.assertEqual(len(self.pcp.requests("map")), 2)
        self.stop()

    def test_is_said(self) -> None:
        self.start(FRONT)
        self.network.advance(0)
        with capturedLogs() as events:
            self.use()
            self.use(FRONT)
            self.network.advance(0)
        said = [(event["name"], event["transport"]) for event in events if "name" in event]
        self.assertEqual(said, [("front", "tcp")])
        # What was said of it before is said again, since it is another mapping.
        self.assertTrue([event for event in events if "8443 -> local port 8080" in event.get("report", "")])
        self.stop()

    def test_before_the_start(self) -> None:
        service = self.make()
        service.use(NATSettings(protocols=("pmp",)), [FRONT])
        service.start()
        self.assertEqual(self.port().protocol, "pmp")
        self.stop()


class SettingsTests(ServiceCase):
    def use(self, **settings: Any) -> None:
        self.service.use(evolve(self.service.settings, **settings), [FRONT])
        self.network.advance(0)

    def test_lifetime(self) -> None:
        """The mapping is renewed with it at once."""
        self.start(FRONT)
        self.use(lifetime_seconds=100)
        self.assertEqual([request.lifetime_seconds for request in self.pcp.requests("map")], [3600, 100])
        self.assertEqual(self.pcp.requests("unmap"), [])
        self.stop()

    def test_strict(self) -> None:
        self.pcp.on_map = lambda request: self.pcp.grant(request, 1024)
        self.drivers = [self.pcp]
        self.start(FRONT, strict=False)
        self.assertEqual(self.port().public_port, 1024)
        self.use(strict=True)
        self.assertEqual((self.port().state, self.reasons()), (MappingState.FAILED, [Reason.OTHER_PORT]))
        self.assertEqual(self.pcp.table, {})
        self.use(strict=False)
        self.assertEqual(self.port().public_port, 1024)
        self.stop()

    def test_protocol(self) -> None:
        """By the old one the mapping is deleted first."""
        self.start(FRONT)
        self.use(protocols=("upnp",))
        self.assertEqual(self.pcp.table, {})
        self.assertEqual(self.port().protocol, "upnp")
        self.assertTrue(self.pcp.clients[0].closed)
        self.use(protocols=("pcp",))
        self.assertEqual(self.upnp.table, {})
        self.assertEqual(self.port().protocol, "pcp")
        self.stop()

    def test_protocol_while_the_gateway_is_silent(self) -> None:
        self.start(FRONT)
        self.pcp.on_unmap = None
        self.use(protocols=("upnp",))
        self.assertEqual(self.port().state, MappingState.WAITING)
        self.network.advance(1)
        self.network.advance(0)
        self.assertEqual(self.port().protocol, "upnp")
        self.stop()

    def test_stop_while_the_protocol_changes(self) -> None:
        self.start(FRONT)
        self.pcp.on_unmap = None
        self.use(protocols=("upnp",))
        stopped = self.service.stop()
        self.network.advance(1)
        self.network.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.upnp.requests("map"), [])
        self.assertEqual((self.network.getDelayedCalls(), self.network.ports), ([], []))

    def test_timeout(self) -> None:
        self.start(FRONT)
        self.use(timeout_seconds=1.0)
        self.assertEqual([client.context.timeout_seconds for client in self.pcp.clients], [4.0, 1.0])
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.stop()

    def test_gateway(self) -> None:
        self.start(FRONT)
        self.use(gateway="192.168.77.254", interface="eth7")
        gateways = [client.context.link.gateway for client in self.pcp.clients]
        self.assertEqual(gateways, [LINK.gateway, "192.168.77.254"])
        self.assertEqual(len(self.pcp.requests("unmap")), 1)
        self.assertEqual(self.port().external_address, EXTERNAL)
        self.stop()

    def leave_while_asking(self, **settings: Any) -> FakeClient:
        """Go to one that is silent, while a request is not answered. @return: the client left."""
        self.drivers = [self.pcp, self.pmp]
        self.pmp.answer = None
        self.pcp.on_map = lambda _: None
        self.start(FRONT, protocols=("pcp",))
        self.pcp.answer = self.pcp.on_unmap = None
        self.use(**settings)
        return self.pcp.clients[0]

    def test_left_gateway_answers(self) -> None:
        """What it gives then is not ours any more."""
        for settings in ({"gateway": "192.168.77.254"}, {"protocols": ("pmp",)}):
            self.setUp()
            mapping = self.leave_while_asking(**settings)._hanging[0]
            mapping.callback(self.pcp.grant(MappingRequest("tcp", 8080, 8443, 60)))
            self.assertEqual(self.port().state, MappingState.WAITING)
            self.network.advance(PARTING_SECONDS)
            self.stop()

    def test_left_gateway_is_silent_for_longer_than_the_other(self) -> None:
        """That one is not forgotten when the leave is taken."""
        self.pcp.on_map = lambda _: None
        self.start(FRONT, protocols=("pcp",))
        self.pcp.on_map, self.pcp.on_unmap = self.pcp.grant, None
        self.use(gateway="192.168.77.254")
        self.assertEqual(self.port().state, MappingState.WAITING)
        self.network.advance(PARTING_SECONDS)
        self.assertTrue(self.pcp.clients[0].closed)
        self.assertEqual(self.port().state, MappingState.MAPPED)
        self.pcp.on_unmap = True
        self.stop()

    def test_left_gateway_is_silent(self) -> None:
        """That is not said of the one that is asked now."""
        for settings in ({"gateway": "192.168.77.254"}, {"protocols": ("pmp",)}):
            self.setUp()
            mapping = self.leave_while_asking(**settings)._hanging[0]
            mapping.errback(NATUnreachable("closed"))
            self.assertEqual((self.port().reachable, self.reasons()), (None, []))
            self.network.advance(PARTING_SECONDS)
            self.stop()

    def test_gateway_and_protocol(self) -> None:
        self.start(FRONT)
        self.use(gateway="192.168.77.254", protocols=("pmp",))
        self.assertEqual(self.pcp.table, {})
        self.assertEqual(self.port().protocol, "pmp")
        self.assertEqual(self.pmp.clients[-1].context.link.gateway, "192.168.77.254")
        self.stop()

    def test_while_there_is_no_gateway(self) -> None:
        self.table.choices[4] = LinkChoice(None)
        self.start(FRONT)
        self.use(protocols=("pmp",), lifetime_seconds=100)
        self.table.choices[4] = LinkChoice(LINK)
        self.network.advance(2)
        self.assertEqual(self.port().protocol, "pmp")
        self.assertEqual(self.pmp.requests("map")[0].lifetime_seconds, 100)
        self.stop()

    def test_state_file_stays(self) -> None:
        path = self.mktemp()
        self.start(FRONT, state_path=path)
        self.use(state_path="/elsewhere")
        self.assertEqual(self.service.settings.state_path, path)
        self.stop()
