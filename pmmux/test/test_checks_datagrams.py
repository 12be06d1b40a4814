"""Checks over UDP: C{udp} and C{dns}."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.checks.dns import DNSCheck
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.target import target_under_check
from pmmux.checks.udp import UDPCheck
from pmmux.config.values import Target
from pmmux.errors import ConfigurationError, UpstreamError
from pmmux.model import Address
from pmmux.test.datagram_doubles import FakeUpstream
from pmmux.test.doubles import read_options
from pmmux.wire.dnsquery import Answer, encode_question, read_answer
from pmmux.wire.proxyheader import ProxyHeader, write_v1, write_v2

TARGET = "192.0.2.1:53"
HEADER_OCTETS = 12
LOCAL = ProxyHeader(2, is_local=True)


class _Datagrams:
    """A datagram path with one upstream at a time."""

    def __init__(self) -> None:
        self.upstream: FakeUpstream

    async def connect_target(self, target: Any, peer: Any) -> FakeUpstream:
        self.upstream = FakeUpstream(Address("192.0.2.1", 53), peer, ("127.0.0.1", 1))
        return self.upstream


class CheckCase(SynchronousTestCase):
    """Runs a check against an upstream that the test plays."""

    check: Any
    target: Any = TARGET

    def setUp(self) -> None:
        self.clock = Clock()
        self.datagrams = _Datagrams()
        self.services = SimpleNamespace(reactor=self.clock, datagrams=self.datagrams)

    def begin(self, **written: str) -> Deferred[None]:
        """Start the check."""
        options = {name.replace("_", "-"): text for name, text in written.items()}
        section = read_options(self.check.options, options, "health-check")
        self.assertEqual(list(self.check.validate(section)), [])
        return Deferred.fromCoroutine(self.check.run(self.target, section, self.services))

    @property
    def upstream(self) -> FakeUpstream:
        return self.datagrams.upstream

    def assert_over(self) -> None:
        """Nothing is left of it."""
        self.assertTrue(self.upstream.is_closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def assert_passed(self, running: Deferred[None]) -> None:
        self.assertIs(self.successResultOf(running), None)
        self.assert_over()

    def assert_failed(self, running: Deferred[None], reason: str) -> None:
        self.assertEqual(self.failureResultOf(running, UpstreamError).value.reason, reason)
        self.assert_over()


class UDPTests(CheckCase):
    """Sending and expecting."""

    check = UDPCheck()

    def test_interface(self) -> None:
        """It is a check."""
        verifyObject(IHealthCheck, self.check)

    def test_answer(self) -> None:
        """The expected answer."""
        running = self.begin(send="ping", expect="pong")
        self.assertEqual(self.upstream.received, [b"ping"])
        self.upstream.says(b"a pong to you")
        self.assert_passed(running)

    def test_header(self) -> None:
        """What traffic begins with, where that is for datagrams."""
        for version, expected in ((2, write_v2(LOCAL)), (1, b"")):
            header = write_v1(LOCAL) if version == 1 else write_v2(LOCAL)
            self.target = target_under_check(Target("192.0.2.1", 53), header, None)
            running = self.begin(send="ping", expect="pong")
            self.assertEqual(self.upstream.received, [expected + b"ping"])
            self.upstream.says(b"pong")
            self.assert_passed(running)

    def test_hexadecimal(self) -> None:
        """Octets both ways."""
        running = self.begin(send="hex:00ff", expect="hex:ff00")
        self.assertEqual(self.upstream.received, [b"\x00\xff"])
        self.upstream.says(b"\xff\x00")
        self.assert_passed(running)

    def test_wrong_answer(self) -> None:
        """Another answer is a failure."""
        running = self.begin(send="ping", expect="pong")
        self.upstream.says(b"what?")
        self.assert_failed(running, "what is expected is not in the answer")

    def test_silence(self) -> None:
        """With an expectation, silence lasts until the time-out cancels the check."""
        running = self.begin(send="ping", expect="pong")
        self.clock.advance(100)
        self.assertNoResult(running)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assert_over()

    def test_silence_without_expectation(self) -> None:
        """Without one, silence is health."""
        running = self.begin(send="ping")
        self.assertNoResult(running)
        self.clock.advance(1)
        self.assert_passed(running)

    def test_refused(self) -> None:
        """A refusal is none."""
        for written in ({"send": "ping"}, {"send": "ping", "expect": "pong"}):
            running = self.begin(**written)
            self.upstream.peer.failed(OSError(errno.ECONNREFUSED, "Connection refused"))
            self.assert_failed(running, "Connection refused")

    def test_any_answer(self) -> None:
        """Where nothing is expected, any answer will do."""
        running = self.begin(send="ping")
        self.upstream.says(b"")
        self.assert_passed(running)

    def test_needs_send(self) -> None:
        """There must be something to send."""
        (fault,) = self.check.validate(read_options(self.check.options, {"expect": "x"}, "health-check"))
        self.assertIn("needs send", fault.message)


class DNSTests(CheckCase):
    """Asking for a name."""

    check = DNSCheck()

    def answer(self, rcode: int = 0, flags: int = 0x8180) -> bytes:
        """An answer to what was asked."""
        question = self.upstream.received[0]
        return question[:2] + (flags | rcode).to_bytes(2, "big") + question[4:]

    def test_interface(self) -> None:
        """It is a check."""
        verifyObject(IHealthCheck, self.check)

    def test_question(self) -> None:
        """As configured."""
        running = self.begin(query="www.example.org", query_type="aaaa")
        question = b"\3www\7example\3org\0\0\x1c\0\1"
        self.assertEqual(self.upstream.received[0][2:], b"\1\0\0\1\0\0\0\0\0\0" + question)
        self.upstream.says(self.answer())
        self.assert_passed(running)

    def test_default(self) -> None:
        """The root's name servers."""
        running = self.begin()
        self.assertEqual(self.upstream.received[0][HEADER_OCTETS:], b"\0\0\2\0\1")
        self.upstream.says(self.answer())
        self.assert_passed(running)

    def test_response_code(self) -> None:
        """Others than configured are failures."""
        running = self.begin()
        self.upstream.says(self.answer(2))
        self.assert_failed(running, "it answers SERVFAIL")
        running = self.begin(response_code="noerror, nxdomain")
        self.upstream.says(self.answer(3))
        self.assert_passed(running)

    def test_others_are_passed_over(self) -> None:
        """An answer to another question, or none at all."""
        running = self.begin(query="example.org")
        right = self.answer()
        for octets in (
            b"",
            b"x",
            right[:-1],
            self.answer(flags=0x0100),
            b"\0\0" + right[2:],
            right[:-4] + bytes(4),
        ):
            if octets != right:
                self.upstream.says(octets)
        self.assertNoResult(running)
        self.upstream.says(right)
        self.assert_passed(running)

    def test_options(self) -> None:
        """What cannot be asked is refused at load."""
        for written in (
            {"query": "a..b"},
            {"query": "x" * 64},
            {"query-type": "NOSUCH"},
            {"response-code": "FINE"},
            {"query": ".".join(["abcdefg"] * 40)},
        ):
            with self.assertRaises(ConfigurationError):
                read_options(self.check.options, written, "health-check")

    def test_never_raises(self) -> None:
        """Whatever arrives."""
        for size in range(64):
            for octet in (0, 1, 63, 64, 0xC0, 0xFF):
                read_answer(bytes([octet]) * size)

    def test_answer(self) -> None:
        """An answer by itself."""
        question = encode_question("a.b.", 1)
        datagram = b"\1\2\x81\x85\0\1\0\2\0\0\0\0" + question + bytes(20)
        found = read_answer(datagram)
        self.assertEqual(found, Answer(0x102, 5, 2, question))
        assert found is not None
        self.assertEqual(found.rcode_name, "REFUSED")
        self.assertEqual(Answer(0, 15, 0, b"").rcode_name, "RCODE15")
