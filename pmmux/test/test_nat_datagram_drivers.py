"""The PCP and NAT-PMP drivers, on a network of which we are the gateway."""

from __future__ import annotations

import errno
import random
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.nat.epoch import EpochWatch
from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.mapping import (
    DriverContext,
    GatewayFacts,
    Grant,
    Link,
    MappingRequest,
    NATRefused,
    NATUnreachable,
    Reason,
)
from pmmux.nat.natpmp import NATPMPDriver
from pmmux.nat.pcp import PCPDriver
from pmmux.nat.upnp import UPnPDriver
from pmmux.test.nat_doubles import ADDRESS, EXTERNAL, GATEWAY, FakeNetwork

NONCE = bytes(range(12))
REQUEST = MappingRequest("tcp", 8080, 8443, 3600)


class DriverCase(SynchronousTestCase):
    """One client, and a gateway that is us."""

    driver: Any = None

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.lost = 0
        self.client = self.driver().open(
            DriverContext(
                self.network, Link(GATEWAY, ADDRESS, "eth0"), 4.0, NONCE, self.lose, random.Random(1)
            )
        )

    def lose(self) -> None:
        self.lost += 1

    def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)

    @property
    def sent(self) -> list[bytes]:
        return [datagram for datagram, _ in self.network.ports[0].sent]

    def answer(self, octets: str | bytes, sender: tuple[str, int] = (GATEWAY, 5351)) -> None:
        self.network.ports[0].receive(bytes.fromhex(octets) if isinstance(octets, str) else octets, sender)

    def assert_refused(self, asked: Deferred[Any], reason: Reason) -> NATRefused:
        refusal = self.failureResultOf(asked, NATRefused).value
        self.assertEqual(refusal.finding.reason, reason)
        self.assertTrue(str(refusal))
        return refusal

    def assert_nothing_left(self) -> None:
        self.successResultOf(self.client.close())
        self.assertEqual(self.network.ports, [])
        self.assertEqual(self.network.getDelayedCalls(), [])


class ExchangeTests:
    """What both have from L{pmmux.nat.exchange}."""

    def test_interfaces(self) -> None:
        verifyObject(INATDriver, self.driver())
        verifyObject(INATClient, self.client)

    def test_question_is_sent_again_until_given_up(self) -> None:
        asked = self.ask(self.client.probe())
        for seconds, count in ((0.2, 1), (0.1, 2), (0.6, 3), (1.1, 4)):
            self.network.advance(seconds)
            self.assertEqual(len(self.sent), count)
        self.network.advance(2)
        self.assertIn(GATEWAY, str(self.failureResultOf(asked, NATUnreachable).value))
        self.assert_nothing_left()

    def test_one_question_at_a_time(self) -> None:
        first, second = self.ask(self.client.map(REQUEST)), self.ask(self.client.probe())
        self.assertEqual(len(self.sent), 1)
        self.network.advance(4)
        self.failureResultOf(first, NATUnreachable)
        self.assertNoResult(second)
        self.network.advance(4)
        self.failureResultOf(second, NATUnreachable)
        self.assert_nothing_left()

    def test_sending_fails(self) -> None:
        self.network.fault = OSError(errno.ENETUNREACH, "unreachable")
        asked = self.ask(self.client.probe())
        self.network.advance(4)
        self.failureResultOf(asked, NATUnreachable)
        self.assert_nothing_left()

    def test_closed_while_asking(self) -> None:
        asked, queued = self.ask(self.client.probe()), self.ask(self.client.probe())
        self.assert_nothing_left()
        self.failureResultOf(asked, NATUnreachable)
        self.failureResultOf(queued, NATUnreachable)
        self.failureResultOf(self.ask(self.client.probe()), NATUnreachable)

    def test_cancelled_while_asking(self) -> None:
        asked, queued = self.ask(self.client.probe()), self.ask(self.client.probe())
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        queued.cancel()
        self.failureResultOf(queued, CancelledError)
        self.assert_nothing_left()

    def test_random_answers(self) -> None:
        asked = self.ask(self.client.map(REQUEST))
        chance = random.Random(7)
        for length in range(70):
            self.answer(bytes((0x0F, 0x80)) + chance.randbytes(length))
        self.assertNoResult(asked)
        asked.addErrback(lambda _: None)
        self.assert_nothing_left()


class NATPMPTests(ExchangeTests, DriverCase):
    driver = NATPMPDriver

    def test_probe(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("0080000000000007 0b162101")
        self.assertEqual(self.successResultOf(asked), GatewayFacts(EXTERNAL, "NAT-PMP", False))
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_no_external_address_yet(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("0080000000000007 00000000")
        self.assertEqual(self.successResultOf(asked).external_address, "")

    def test_other_senders_are_not_heard(self) -> None:
        asked = self.ask(self.client.probe())
        for sender in (("192.168.77.3", 5351), (GATEWAY, 5352), ("127.0.0.1", 5351)):
            self.answer("0080000000000007 0b162101", sender)
        self.assertNoResult(asked)
        self.answer("0080000000000007 0b162101")
        self.successResultOf(asked)

    def test_map(self) -> None:
        asked = self.ask(self.client.map(REQUEST))
        self.assertEqual(self.sent, [bytes.fromhex("00020000 1f90 20fb 00000e10")])
        for other in (
            "0081000000000007 1f90 20fb 00000e10",  # UDP
            "0082000000000007 1f91 20fb 00000e10",  # another local port
            "0082000000000007 1f90 20fb 00000000",  # a late answer to a deletion
            "0082000000000007 1f90 20fb",
        ):
            self.answer(other)
        self.assertNoResult(asked)
        self.answer("0082000000000007 1f90 20fc 00000708")
        self.assertEqual(self.successResultOf(asked), Grant("pmp", "tcp", 8080, 8444, 1800))

    def test_unmap(self) -> None:
        asked = self.ask(self.client.unmap(Grant("pmp", "tcp", 8080, 8443, 0)))
        self.assertEqual(self.sent, [bytes.fromhex("00020000 1f90 0000 00000000")])
        self.answer("0082000000000007 1f90 20fb 00000e10")
        self.assertNoResult(asked)
        self.answer("0082000000000007 1f90 0000 00000000")
        self.successResultOf(asked)

    def test_refusals(self) -> None:
        for result, reason in (
            (2, Reason.NOT_AUTHORIZED), (3, Reason.NO_EXTERNAL_ADDRESS), (4, Reason.NO_RESOURCES),
            (5, Reason.UNSUPPORTED), (77, Reason.BROKEN_DEVICE),
        ):  # fmt: skip
            asked = self.ask(self.client.map(REQUEST))
            self.answer(f"0082 {result:04x} 00000007 1f91 0000 00000000")
            self.assertNoResult(asked)
            self.answer(f"0082 {result:04x} 00000007 1f90 0000 00000000")
            self.assert_refused(asked, reason)

    def test_port_zero(self) -> None:
        asked = self.ask(self.client.map(REQUEST))
        self.answer("0082000000000007 1f90 0000 00000e10")
        self.assert_refused(asked, Reason.BROKEN_DEVICE)

    def test_pcp_only_server(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("02800001" + "00" * 20)
        self.assert_refused(asked, Reason.UNSUPPORTED)

    def test_epoch_went_back(self) -> None:
        for epoch, lost in (("00000100", False), ("00000100", False), ("00000002", True)):
            asked = self.ask(self.client.poll(()))
            self.answer(f"00800000 {epoch} 0b162101")
            self.assertEqual(self.successResultOf(asked).lost, lost)
        asked = self.ask(self.client.map(REQUEST))
        self.answer("0082000000000000 1f90 20fc 00000708")
        self.successResultOf(asked)
        self.assertEqual(self.lost, 1)


class PCPTests(ExchangeTests, DriverCase):
    driver = PCPDriver
    rest = NONCE.hex() + "06000000 1f90"

    def map_answer(self, result: int = 0, lifetime: int = 1800, rest: str = "", epoch: int = 7) -> str:
        rest = rest or f"{self.rest} 20fb 00000000000000000000ffff 0b162101"
        return f"028100 {result:02x} {lifetime:08x} {epoch:08x} {'00' * 12} {rest}"

    def test_probe(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("02800000 00000000 00000007" + "00" * 12)
        self.assertEqual(self.successResultOf(asked), GatewayFacts("", "PCP version 2", False))

    def test_probe_of_a_server_without_announce(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("02800004 00000000 00000007" + "00" * 12)
        self.successResultOf(asked)

    def test_map(self) -> None:
        asked = self.ask(self.client.map(REQUEST))
        self.assertEqual(len(self.sent[0]), 60)
        for rest in (
            "ff" * 12 + "06000000 1f90 20fb 00000000000000000000ffff 0b162101",
            NONCE.hex() + "11000000 1f90 20fb 00000000000000000000ffff 0b162101",
            NONCE.hex() + "06000000 1f91 20fb 00000000000000000000ffff 0b162101",
        ):
            self.answer(self.map_answer(rest=rest))
        self.answer(self.map_answer(lifetime=0))
        self.assertNoResult(asked)
        self.answer(self.map_answer())
        self.assertEqual(self.successResultOf(asked), Grant("pcp", "tcp", 8080, 8443, 1800, EXTERNAL))

    def test_unmap(self) -> None:
        for result in (0, 8):
            asked = self.ask(self.client.unmap(Grant("pcp", "tcp", 8080, 8443, 0)))
            self.answer(self.map_answer(result, lifetime=0))
            self.successResultOf(asked)

    def test_unmap_refused(self) -> None:
        asked = self.ask(self.client.unmap(Grant("pcp", "tcp", 8080, 8443, 0)))
        self.answer(self.map_answer(2, lifetime=30))
        self.assert_refused(asked, Reason.NOT_AUTHORIZED)

    def test_refusals(self) -> None:
        for result, reason in (
            (2, Reason.NOT_AUTHORIZED), (4, Reason.UNSUPPORTED), (7, Reason.NO_EXTERNAL_ADDRESS),
            (8, Reason.NO_RESOURCES), (10, Reason.NO_RESOURCES), (11, Reason.PORT_TAKEN),
            (12, Reason.ADDRESS_MISMATCH), (3, Reason.BROKEN_DEVICE), (200, Reason.BROKEN_DEVICE),
        ):  # fmt: skip
            asked = self.ask(self.client.map(REQUEST))
            self.answer(self.map_answer(result, lifetime=30))
            self.assertEqual(self.assert_refused(asked, reason).retry_seconds, 30)

    def test_refusal_for_ever_is_bounded(self) -> None:
        asked = self.ask(self.client.map(REQUEST))
        self.answer(self.map_answer(8, lifetime=2**32 - 1))
        self.assertEqual(self.assert_refused(asked, Reason.NO_RESOURCES).retry_seconds, 1800)

    def test_nat_pmp_only_server(self) -> None:
        asked = self.ask(self.client.probe())
        self.answer("0080000100000007")
        self.assertIn("NAT-PMP", str(self.assert_refused(asked, Reason.UNSUPPORTED)))

    def test_epoch_went_back(self) -> None:
        for epoch, lost in ((100, 0), (100, 0), (2, 1)):
            asked = self.ask(self.client.map(REQUEST))
            self.answer(self.map_answer(epoch=epoch))
            self.successResultOf(asked)
            self.assertEqual(self.lost, lost)

    def test_pinhole(self) -> None:
        link = Link("fe80::1%eth0", "fd77::2", "eth0")
        client = PCPDriver().open(DriverContext(self.network, link, 4.0, NONCE, self.lose))
        asked = self.ask(client.map(REQUEST))
        self.assertEqual(self.network.ports[0].interface, "fd77::2")
        external = "fd770000000000000000000000000002"
        self.answer(self.map_answer(rest=f"{self.rest} 20fb {external}"), ("fe80::1", 5351))
        self.assertEqual(self.successResultOf(asked).external_address, "fd77::2")
        self.successResultOf(client.close())


class UPnPDriverTests(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyObject(INATDriver, UPnPDriver())


class EpochTests(SynchronousTestCase):
    def test_answers(self) -> None:
        for (epoch, at), lost in (
            ((110, 10.0), False),
            ((99, 0.5), False),
            ((98, 0.5), True),
            ((100, 10.0), True),
            ((200, 10.0), True),
            ((194, 100.0), False),
            ((180, 100.0), True),
        ):
            watch = EpochWatch()
            self.assertFalse(watch.shows_loss(100, 0.0))
            self.assertEqual(watch.shows_loss(epoch, at), lost, (epoch, at))
