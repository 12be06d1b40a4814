"""C{pass}: one target, stated one way, and connected to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.passthrough import protocol
from pmmux.errors import ConfigurationError
from pmmux.interfaces import (
    IBackend,
    IConnectionBackend,
    IDatagramBackend,
    IDatagramSession,
    IHealthCheckable,
)
from pmmux.matching import compile_condition
from pmmux.model import Address
from pmmux.test.datagram_doubles import FakeUpstream
from pmmux.test.doubles import (
    FakeDataPath,
    make_client,
    make_connection,
    make_services,
    make_spec,
    make_stream,
    run_now,
)
from pmmux.transport.connecting import Connector
from pmmux.wire.proxyheader import read_proxy_header


class PassTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = FakeDataPath()

    def make(self, **written: str) -> Any:
        spec = make_spec("web", protocol, {name.replace("_", "-"): text for name, text in written.items()})
        self.assertEqual(list(protocol.validate(spec)), [])
        services = make_services(self.clock, self.path, Connector(self.clock, self.path))
        return protocol.create(spec, compile_condition(spec.options), services)

    def test_provides(self) -> None:
        for interface in (IBackend, IConnectionBackend, IDatagramBackend, IHealthCheckable):
            verifyObject(interface, self.make(target="192.0.2.1:80"))

    def test_targets(self) -> None:
        for text, shown, address in (
            ("192.0.2.1:80", "192.0.2.1:80", Address("192.0.2.1", 80)),
            ("[2001:db8::1]:80", "[2001:db8::1]:80", Address("2001:db8::1", 80, "ipv6")),
            ("unix:/run/x", "unix:/run/x", Address("/run/x", 0, "unix")),
        ):
            backend = self.make(target=text)
            self.assertEqual(backend.target, shown)
            connected = Deferred.fromCoroutine(backend.connect(make_connection(self.clock)))
            asked, waiting = self.path.connecting[-1]
            self.assertEqual(asked, address)
            stream = make_stream(self.clock)
            waiting.callback(stream)
            self.assertIs(self.successResultOf(connected), stream)

    def test_express_lane(self) -> None:
        self.assertEqual(self.make(target="192.0.2.1:80").express_target, Address("192.0.2.1", 80))
        for text in ("web.example:80", "unix:/run/x"):
            self.assertIsNone(self.make(target=text).express_target)

    def test_pair(self) -> None:
        backend = self.make(**{"target.ip": "192.0.2.1", "target.port": "80"})
        self.assertEqual(backend.target, "192.0.2.1:80")

    def test_standard_options(self) -> None:
        self.assertEqual(self.make(target="192.0.2.1:80", weight="7").weight, 7)

    def test_datagrams_are_announced(self) -> None:
        client = make_client(transport="udp")
        for written, expected in (
            ({}, None),
            ({"send_proxy": "v1"}, None),
            ({"send_proxy": "v2", "send_proxy_tlv": "unique-id, crc32c"}, "198.51.100.7"),
        ):
            backend = self.make(target="192.0.2.1:53", **written)
            upstream = FakeUpstream(Address("192.0.2.1", 53), None, ("127.0.0.1", 1))
            backend._services.datagrams = SimpleNamespace(connect=lambda address, peer, it=upstream: it)
            session = run_now(backend.open_session(client, None, upstream.address))
            verifyObject(IDatagramSession, session)
            for octets in (b"one", memoryview(b"two")):
                session.send(octets)
            self.assertEqual((session.address, session.local_name), (upstream.address, ("127.0.0.1", 1)))
            found = [read_proxy_header(octets) for octets in upstream.received]
            if expected is None:
                self.assertEqual(upstream.received, [b"one", b"two"])
            else:
                self.assertEqual([each.source.host for each in found], [expected] * 2)
                self.assertEqual([each.transport for each in found], ["udp"] * 2)
                ends = [octets[each.octets :] for each, octets in zip(found, upstream.received, strict=True)]
                self.assertEqual(ends, [b"one", b"two"])
            session.close()
            self.assertTrue(upstream.is_closed)

    def test_time_out(self) -> None:
        """Its own, or that of all."""
        for written in ({"connect_timeout": "9s"}, {}):
            connecting = self.make(target="192.0.2.1:80", **written).connect(make_connection(self.clock))
            Deferred.fromCoroutine(connecting).addErrback(lambda failure: None)
        self.assertEqual(self.path.timeouts_seconds, [9.0, 5.0])

    def test_faults(self) -> None:
        for written, expected in (
            ({}, "target is missing"),
            ({"target.ip": "192.0.2.1"}, "target.port is missing"),
            ({"target.port": "80"}, "target.ip is missing"),
            ({"target": "192.0.2.1:80", "target.port": "80"}, "target.port must not be there too"),
        ):
            (fault,) = protocol.validate(make_spec("web", protocol, written))
            self.assertIn(expected, fault.message)
        for text in ("192.0.2.1", ":80", "192.0.2.1:0", "192.0.2.1:99999", "unix:", "2001:db8::1:80x"):
            with self.assertRaises(ConfigurationError, msg=text):
                make_spec("web", protocol, {"target": text})
