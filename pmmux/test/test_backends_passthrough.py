"""C{pass}: one target, stated one way, and connected to."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.passthrough import protocol
from pmmux.errors import ConfigurationError
from pmmux.interfaces import IBackend, IConnectionBackend, IDatagramBackend, IHealthCheckable
from pmmux.matching import compile_condition
from pmmux.model import Address
from pmmux.test.doubles import FakeDataPath, make_connection, make_services, make_spec, make_stream
from pmmux.transport.connecting import Connector


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
