"""C{noop} takes everything and says nothing."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.backends.noop import protocol
from pmmux.interfaces import IBackend, IDatagramBackend, IDatagramSession, IProtocolBackend
from pmmux.matching import compile_condition
from pmmux.model import PriorityTier
from pmmux.test.doubles import make_client, make_connection, make_services, make_spec, run_now


class NoopTests(SynchronousTestCase):
    def make(self, **written: str) -> object:
        spec = make_spec("rest", protocol, written)
        self.assertEqual(protocol.validate(spec), ())
        return protocol.create(spec, compile_condition(spec.options), make_services(Clock()))

    def test_provides(self) -> None:
        for interface in (IBackend, IProtocolBackend, IDatagramBackend):
            verifyObject(interface, self.make())

    def test_falls_back(self) -> None:
        self.assertEqual(self.make().tier, PriorityTier.FALLBACK)
        self.assertEqual(self.make(priority="vip").tier, PriorityTier.VIP)

    def test_says_nothing_and_closes_with_the_client(self) -> None:
        clock = Clock()
        connection = make_connection(clock, b"hello")
        connection.stream.hand_over(self.make().build_protocol(connection))
        transport = connection.stream.transport
        transport.deliver(b"more", b"")
        clock.advance(0)
        self.assertFalse(transport.connected)
        self.assertEqual(transport.value(), b"")

    def test_datagrams(self) -> None:
        session = run_now(self.make().open_session(make_client(transport="udp"), None))
        verifyObject(IDatagramSession, session)
        session.send(b"x")
        session.close()
        session.close()
