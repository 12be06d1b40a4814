"""The UPnP driver with devices on loopback, most of them hostile."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import random
import sys
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pmmux.nat.interfaces import INATClient
from pmmux.nat.mapping import (
    DriverContext,
    Grant,
    Link,
    MappingRequest,
    NATRefused,
    NATUnavailable,
    NATUnreachable,
    Reason,
)
from pmmux.nat.ssdp import GatewaySearch
from pmmux.nat.upnp import UPnPDriver
from pmmux.test.nat_doubles import ADDRESS, GATEWAY, FakeNetwork
from pmmux.test.upnp_device import (
    HOST,
    SERVICE,
    Device,
    RawServer,
    describe_actions,
    describe_service,
    fault,
    hang,
    soap,
)
from pmmux.wire.ssdp import SEARCH_TARGETS, SearchAnswer

MISSING = [name for name in ("netifaces", "txupnp") if importlib.util.find_spec(name) is None]
REQUEST = MappingRequest("tcp", 8080, 8443, 3600, fixed=True)
ANY = MappingRequest("tcp", 8080, 8443, 3600)
TIMEOUT_SECONDS = 1.0
NAMES = st.sampled_from(
    [
        "device",
        "deviceList",
        "serviceList",
        "service",
        "serviceType",
        "SCPDURL",
        "controlURL",
        "URLBase",
        "urlbase",
        "devices",
        "as_dict",
        "actionList",
        "action",
        "name",
        "argumentList",
        "argument",
        "direction",
    ]
)
SHORT_SECONDS = 0.3
OTHER = "192.168.77.3"


class UPnPCase(TestCase):
    """A device, and a client that is looking for it."""

    timeout = 10

    def setUp(self) -> None:
        if MISSING:
            self.skipTest(f"the package {MISSING[0]} is missing (pip install pmmux[upnp])")
        from twisted.internet import reactor  # noqa: TID251

        self.reactor: Any = reactor
        self.device = Device()
        self.search_port = self.device.start(reactor)
        self.addCleanup(self.device.stop)
        self.client = self.open()
        self.addCleanup(self.client.close)

    def open(self, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
        context = DriverContext(
            self.reactor, Link(HOST, HOST, "lo"), timeout_seconds, bytes(12), self.fail, random.Random(1)
        )
        return UPnPDriver(self.search_port).open(context)

    async def find_refusal(self, coroutine: Any, reason: Reason) -> str:
        try:
            await coroutine
        except NATRefused as refusal:
            self.assertEqual(refusal.finding.reason, reason, refusal.finding.text)
            return refusal.finding.text
        raise self.failureException("was not refused")

    def listen(self, server: RawServer) -> int:
        port = self.reactor.listenTCP(0, server, interface=HOST)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number


class RightDeviceTests(UPnPCase):
    async def test_cancelled_while_asking(self) -> None:
        """It must not look like a refusal, after which the next driver would be tried."""
        await self.client.probe()
        self.device.pages["/root.xml"] = hang
        for seconds in (0, 0.1):
            asking = Deferred.fromCoroutine(self.client.probe())
            await self.later(seconds)
            asking.cancel()
            await self.assertFailure(asking, CancelledError)

    async def test_probe(self) -> None:
        verifyObject(INATClient, self.client)
        facts = await self.client.probe()
        self.assertEqual((facts.external_address, facts.detail), ("11.22.33.1", "WANIPConnection:1"))
        self.assertEqual(self.device.table, {})

    async def test_map_renew_and_unmap(self) -> None:
        await self.client.probe()
        for _ in range(2):
            self.assertEqual(await self.client.map(REQUEST), Grant("upnp", "tcp", 8080, 8443, 3600))
        self.assertEqual(self.device.table, {("8443", "TCP"): (HOST, "8080", "pmmux")})
        for _ in range(2):
            await self.client.unmap(Grant("upnp", "tcp", 8080, 8443, 0))
        self.assertEqual(self.device.table, {})

    async def test_relative_urls_and_a_base(self) -> None:
        base = f"<URLBase>http://{HOST}:{self.device.port}/deep/</URLBase>"
        self.device.pages["/root.xml"] = describe_service("ctl", "scpd.xml", base)
        self.device.pages["/deep/scpd.xml"] = describe_actions()
        await self.client.probe()
        self.assertIn("/deep/ctl", self.device.hits)

    async def test_other_kinds_of_service(self) -> None:
        kind = "urn:schemas-upnp-org:service:WANPPPConnection:1"
        self.device.pages["/root.xml"] = describe_service(kind=kind)
        self.device.answers["GetExternalIPAddress"] = soap(
            "GetExternalIPAddress", NewExternalIPAddress=""
        ).replace(b"WANIPConnection:1", b"WANPPPConnection:1")
        facts = await self.client.probe()
        self.assertEqual((facts.detail, facts.is_offline), ("WANPPPConnection:1", True))

    async def test_taken(self) -> None:
        self.device.table["8443", "TCP"] = ("192.168.77.3", "7000", "g\u00e4mes&#10;&#x202e;")
        await self.client.probe()
        text = await self.find_refusal(self.client.map(REQUEST), Reason.PORT_TAKEN)
        self.assertIn("192.168.77.3, port 7000", text)
        self.assertTrue(text.isprintable())
        self.assertIn("192.168.77.3", await self.client.find_holder("tcp", 8443))
        self.assertEqual(await self.client.find_holder("tcp", 8444), "")
        await self.client.unmap(Grant("upnp", "tcp", 8080, 8443, 0))
        self.assertEqual(len(self.device.table), 1)

    async def test_taken_by_another_program_here(self) -> None:
        self.device.table["8443", "TCP"] = (HOST, "7000", "other")
        await self.client.probe()
        text = await self.find_refusal(self.client.map(REQUEST), Reason.PORT_TAKEN)
        self.assertIn("this machine itself, port 7000", text)

    async def test_another_port_where_any_will_do(self) -> None:
        self.device.table["8443", "TCP"] = ("192.168.77.3", "7000", "games")
        await self.client.probe()
        grant = await self.client.map(ANY)
        self.assertGreaterEqual(grant.external_port, 49152)
        self.assertEqual(len(self.device.table), 2)

    async def test_every_port_is_taken(self) -> None:
        self.device.answers["AddPortMapping"] = fault(718, "ConflictInMappingEntry")
        await self.client.probe()
        await self.find_refusal(self.client.map(ANY), Reason.SECURE_MODE)
        self.assertEqual(self.device.hits.count("AddPortMapping"), 8)

    async def test_refusals(self) -> None:
        await self.client.probe()
        for code, reason in (
            (606, Reason.PORT_DENIED), (718, Reason.SECURE_MODE), (724, Reason.UNSUPPORTED),
            (728, Reason.NO_RESOURCES), (501, Reason.UNSUPPORTED), (-7, Reason.UNSUPPORTED),
            ("x", Reason.BROKEN_DEVICE),
        ):  # fmt: skip
            self.device.answers["AddPortMapping"] = fault(code, "words <b/>" if code == "x" else "words")
            await self.find_refusal(self.client.map(REQUEST), reason)

    async def test_permanent_leases_only(self) -> None:
        self.device.answers["AddPortMapping"] = lambda given: (
            fault(725, "OnlyPermanentLeasesSupported") if given["NewLeaseDuration"] != "0" else None
        )
        await self.client.probe()
        for _ in range(2):
            grant = await self.client.map(REQUEST)
            self.assertEqual(grant.lifetime_seconds, 0)
        self.assertEqual(self.device.leases, ["0", "0"])
        self.assertEqual(self.device.hits.count("AddPortMapping"), 3)

    async def test_mapping_is_lost(self) -> None:
        await self.client.probe()
        grant = await self.client.map(REQUEST)
        self.assertFalse((await self.client.poll((grant,))).lost)
        self.device.table["8443", "TCP"] = ("192.168.77.3", "8080", "")
        self.assertTrue((await self.client.poll((grant,))).lost)
        self.device.table.clear()
        self.assertTrue((await self.client.poll((grant,))).lost)

    async def test_close_while_asking(self) -> None:
        await self.client.probe()
        self.device.answers["AddPortMapping"] = None
        self.device.pages["/root.xml"] = hang
        again = Deferred.fromCoroutine(self.client.probe())
        await self.later(0.1)
        await self.client.close()
        await self.assertFailure(again, NATUnreachable)
        await self.assertFailure(Deferred.fromCoroutine(self.client.probe()), NATUnreachable)

    async def test_cancelled_while_searching(self) -> None:
        self.device.location = ""
        probing = Deferred.fromCoroutine(self.client.probe())
        probing.cancel()
        await self.assertFailure(probing, CancelledError)

    def later(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def test_noise(self) -> None:
        self.device.noise = [
            b"", b"\xff\xfe\0", b"HTTP/1.1 200 OK\r\n\r\n", b"A" * 60000, b"HTTP/1.1 200 OK\r\nMX: x\r\n\r\n",
            b"NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nNTS: ssdp:byebye\r\n\r\n",
        ]  # fmt: skip
        await self.client.probe()


class HostileDeviceTests(UPnPCase):
    """What must be refused, with no socket or timer left: trial looks for those."""

    async def test_location_elsewhere(self) -> None:
        secret = RawServer(b"HTTP/1.1 200 OK\r\n\r\n")
        port = self.listen(secret)
        client = self.open(SHORT_SECONDS)
        for location in (
            f"http://127.0.0.2:{port}/secret", f"http://localhost:{port}/x", f"http://[::ffff:127.0.0.1]:{port}/x",
            f"http://127.1:{port}/x", f"http://2130706433:{port}/x", f"http://a@127.0.0.1:{port}/x",
            f"http://127.0.0.1@127.0.0.2:{port}/x", f"https://127.0.0.1:{port}/x", "file:///etc/passwd",
            "/x", "",
        ):  # fmt: skip
            self.device.location = location
            await self.assertFailure(Deferred.fromCoroutine(client.probe()), NATUnreachable)
        self.assertEqual(self.device.hits, [])

    async def test_urls_elsewhere(self) -> None:
        for url in ("http://127.0.0.2:1/ctl", "//127.0.0.2:1/ctl", "@127.0.0.2:1/ctl", "http://a.lan/x", ""):
            for page in (describe_service(control=url), describe_service(scpd=url)):
                if url == "@127.0.0.2:1/ctl":
                    continue  # A path on the device itself, as a browser would read it too.
                self.device.pages["/root.xml"] = page
                await self.find_refusal(self.client.probe(), Reason.BROKEN_DEVICE)
        self.assertEqual(set(self.device.hits), {"/root.xml"})

    async def test_base_elsewhere(self) -> None:
        self.device.pages["/root.xml"] = describe_service(extra="<URLBase>http://127.0.0.2:1/</URLBase>")
        await self.client.probe()

    async def test_redirect(self) -> None:
        def redirect(request: Any) -> bytes:
            request.setResponseCode(302)
            request.setHeader("location", f"http://{HOST}:{self.device.port}/elsewhere")
            return b""

        self.device.pages["/root.xml"] = redirect
        await self.find_refusal(self.client.probe(), Reason.BROKEN_DEVICE)
        self.assertEqual(self.device.hits, ["/root.xml"])

    async def test_documents(self) -> None:
        lol = '<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><root>&b;</root>'
        for page in (
            b"", b"\0\xff<html><not xml", b"<a>" * 5000 + b"</a>" * 5000, b"<root/>",
            b"<root><device/></root>", lol.encode(),
            f'<?xml version="1.0" encoding="utf-16"?>{lol}'.encode("utf-16"),
            b"<a>" + b"x" * 300_000 + b"</a>", describe_service().replace(b"serviceType", b"other"),
            describe_service().replace(b"<device>", b"<device><devices>x</devices><services/>"),
        ):  # fmt: skip
            self.device.pages["/root.xml"] = page
            await self.find_refusal(self.client.probe(), Reason.BROKEN_DEVICE)
        self.device.pages["/root.xml"] = describe_service(kind="urn:schemas-upnp-org:service:Other:1")
        await self.find_refusal(self.client.probe(), Reason.UNSUPPORTED)

    async def test_action_lists(self) -> None:
        for page, reason in (
            (b"<scpd/>", Reason.BROKEN_DEVICE),
            (b"<!DOCTYPE x><scpd/>", Reason.BROKEN_DEVICE),
            (describe_actions().replace(b"NewLeaseDuration", b"NewLease"), Reason.UNSUPPORTED),
            (describe_actions().replace(b"DeletePortMapping", b"Delete"), Reason.UNSUPPORTED),
        ):
            self.device.pages["/scpd.xml"] = page
            await self.find_refusal(self.client.probe(), reason)

    async def test_names_of_actions(self) -> None:
        extra = "".join(
            f"<action><name>{name}</name></action>"
            for name in ("discover_commands", "_gateway", "__class__", "call", "SetConnectionType")
        )
        self.device.pages["/scpd.xml"] = describe_actions(extra)
        await self.client.probe()
        self.assertNotIn("SetConnectionType", self.device.hits)

    async def test_answers_to_actions(self) -> None:
        await self.client.probe()
        for answer in (
            b"", b"<html><body>Internal error<br></body></html>", b"<a/>", soap("Other"),
            soap("GetExternalIPAddress"), soap("GetExternalIPAddress", NewExternalIPAddress="evil\nhost"),
            soap("GetExternalIPAddress", NewExternalIPAddress="::1"),
            soap("GetExternalIPAddress", NewExternalIPAddress="<x><y/></x>"),
            b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
            fault(1).replace(b"UPnPError", b"Other"),
        ):  # fmt: skip
            self.device.answers["GetExternalIPAddress"] = answer
            await self.find_refusal(self.client.poll(()), Reason.BROKEN_DEVICE)

    async def test_tables(self) -> None:
        await self.client.probe()
        for client, port in (("evil", "1"), ("192.168.77.3", "x"), ("", ""), ("192.168.77.3", "9" * 5000)):
            self.device.table["8443", "TCP"] = (client, port, "")
            await self.find_refusal(self.client.map(REQUEST), Reason.BROKEN_DEVICE)

    async def test_silence(self) -> None:
        self.device.pages["/root.xml"] = hang
        client = self.open(SHORT_SECONDS)
        await self.assertFailure(Deferred.fromCoroutine(client.probe()), NATUnreachable)

    async def test_endless(self) -> None:
        """Memory is bounded by what is taken off the wire, for headers as for bodies."""
        for octets, repeated in (
            (b"HTTP/1.1 200 OK\r\n\r\n<root>", b"A" * 65536),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"A" * 65536 + b"\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"A" * 4000 + b"\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"A" * 65536),
            (b"", b"\r\n" * 30000),
        ):
            server = RawServer(octets, repeated)
            self.device.location = f"http://HOST:{self.listen(server)}/x"
            probing = Deferred.fromCoroutine(self.client.probe())
            await self.assertFailure(probing, NATRefused, NATUnreachable)
            # The rest is in the system's buffers.
            self.assertLess(server.sent, 8 * 1024 * 1024)

    async def test_not_http(self) -> None:
        for octets in (
            b"\0" * 100,
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200\r\nContent-Length: x\r\n\r\n",
            b"HTTP/9 x y\r\n",
        ):
            self.device.location = f"http://HOST:{self.listen(RawServer(octets))}/x"
            client = self.open(SHORT_SECONDS)
            await self.assertFailure(Deferred.fromCoroutine(client.probe()), NATRefused, NATUnreachable)

    async def test_refused_connection(self) -> None:
        self.device.location = "http://HOST:9/x"
        await self.assertFailure(Deferred.fromCoroutine(self.client.probe()), NATUnreachable)


class SearchTests(SynchronousTestCase):
    """Who is heard when gateways are searched."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        context = DriverContext(self.network, Link(GATEWAY, ADDRESS, "eth0"), 4.0, bytes(12), self.fail)
        self.found = Deferred.fromCoroutine(GatewaySearch(context).find())
        [self.port] = self.network.ports

    def answer(self, sender: str, location: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nST: {SEARCH_TARGETS[0]}\r\nUSN: uuid:1\r\n"
        self.port.receive(f"{head}LOCATION: {location}\r\n\r\n".encode(), (sender, 1900))

    def test_another_machine(self) -> None:
        for location in (f"http://{OTHER}:5000/x", f"http://{GATEWAY}:5000/x"):
            self.answer(OTHER, location)
        self.assertNoResult(self.found)
        self.answer(GATEWAY, f"http://{GATEWAY}:5000/root.xml")
        self.assertEqual(self.successResultOf(self.found)[0], f"http://{GATEWAY}:5000/root.xml")
        self.assertEqual((self.network.ports, self.network.getDelayedCalls()), ([], []))

    def test_nobody(self) -> None:
        self.answer(GATEWAY, f"http://{OTHER}:5000/x")
        self.network.advance(4)
        self.assertIn("which is refused", str(self.failureResultOf(self.found, NATUnreachable).value))
        self.assertEqual((self.network.ports, self.network.getDelayedCalls()), ([], []))


class AnswerFuzzTests(SynchronousTestCase):
    """Whatever is answered to an action, it is read or refused."""

    def setUp(self) -> None:
        if MISSING:
            self.skipTest(f"the package {MISSING[0]} is missing (pip install pmmux[upnp])")

    @settings(deadline=None)
    @given(
        st.sampled_from([soap("GetExternalIPAddress", NewExternalIPAddress="11.22.33.1"), fault(714, "No")]),
        st.data(),
    )
    def test_damaged(self, octets: bytes, data: st.DataObject) -> None:
        from pmmux.nat import igd

        at = data.draw(st.integers(0, len(octets)))
        end = data.draw(st.integers(at, min(at + 40, len(octets))))
        damaged = octets[:at] + data.draw(st.binary(max_size=5)) + octets[end:]
        http = mock.Mock(post=mock.AsyncMock(return_value=(200, damaged)))
        outputs = ["NewExternalIPAddress"]
        command = igd.DeviceCommand("/ctl", SERVICE, "GetExternalIPAddress", [], outputs)
        gateway = igd.InternetGateway(http, SERVICE, {"GetExternalIPAddress": command})
        asked = Deferred.fromCoroutine(gateway.ask_external_address())
        address = self.successResultOf(asked.addErrback(lambda failure: failure.trap(NATRefused) and ""))
        ipaddress.IPv4Address(address or HOST)


class DescriptionFuzzTests(SynchronousTestCase):
    """Whatever a description is, it is read or refused."""

    def setUp(self) -> None:
        if MISSING:
            self.skipTest(f"the package {MISSING[0]} is missing (pip install pmmux[upnp])")

    def read(self, octets: bytes) -> None:
        from pmmux.nat import igd

        gateway = igd.PinnedGateway(f"http://{HOST}:5000/root.xml", SearchAnswer("x", "y"))
        for attempt in (
            lambda: gateway.read_description(octets),
            lambda: igd.choose_service(gateway),
            lambda: igd.read_commands(octets, "http://x/", igd.SERVICE_TYPES[0]),
        ):
            with contextlib.suppress(NATRefused):
                attempt()

    @settings(deadline=None)
    @given(st.sampled_from([describe_service(), describe_actions()]), st.data())
    def test_damaged(self, octets: bytes, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(octets)))
        end = data.draw(st.integers(at, min(at + 40, len(octets))))
        self.read(octets[:at] + data.draw(st.binary(max_size=5)) + octets[end:])

    @settings(deadline=None)
    @given(
        st.recursive(st.sampled_from(["", "x", "/y", "in"]), lambda inner: st.lists(st.tuples(NAMES, inner)))
    )
    def test_other_trees(self, tree: Any) -> None:
        def write(node: Any) -> str:
            if isinstance(node, str):
                return node
            return "".join(f"<{name}>{write(inner)}</{name}>" for name, inner in node)

        for root, kind in (("root", "device-1-0"), ("scpd", "service-1-0")):
            self.read(f'<{root} xmlns="urn:schemas-upnp-org:{kind}">{write(tree)}</{root}>'.encode())


class MissingPackageTests(TestCase):
    def test_is_said_in_a_line(self) -> None:
        # None in sys.modules makes an import fail as that of a missing package does.
        gone = {name: None for name in (*sys.modules, "txupnp") if name.partition(".")[0] == "txupnp"}
        with mock.patch.dict(sys.modules, gone), self.assertRaises(NATUnavailable) as raised:
            sys.modules.pop("pmmux.nat.igd", None)
            UPnPDriver().open(None)  # type: ignore[arg-type]
        self.assertIn("pip install pmmux[upnp]", str(raised.exception))
