"""C{tcp}: sends something and expects something, over TCP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.checks.expecting import (
    EXPECTATION_EXPECTED,
    OCTETS_EXPECTED,
    Expectation,
    parse_expectation,
    parse_octets,
)
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.streams import LentStream
from pmmux.checks.verdict import Answer
from pmmux.config.options import Option
from pmmux.errors import Fault, UpstreamError
from pmmux.model import SectionValues

ANSWER_LIMIT_OCTETS = 16384


class _Conversation(Protocol):
    """Sends, and reads until what it expects has come."""

    def __init__(self, send: bytes | None, expected: Expectation | None, answer: Answer) -> None:
        self._send = send
        self._expected = expected
        self._answer = answer
        self._received = b""

    def connectionMade(self) -> None:
        """Send."""
        if self._send is not None:
            assert self.transport is not None
            self.transport.write(self._send)
        if self._expected is None:
            self._answer.say()

    def dataReceived(self, data: bytes) -> None:
        """Look whether it is there now."""
        self._received += data
        if self._expected is None or self._expected.is_met_by(self._received[:ANSWER_LIMIT_OCTETS]):
            self._answer.say()
        elif len(self._received) >= ANSWER_LIMIT_OCTETS:
            self._received = b""
            self._answer.say(f"what is expected is not in the first {ANSWER_LIMIT_OCTETS} octets")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It said no more than what is here."""
        if self._received:
            self._answer.say("closed before it said what is expected")
        else:
            self._answer.say("closed without an answer")


@implementer(IHealthCheck)
class TCPCheck:
    """See the module."""

    name = "tcp"
    options = (
        Option("send", parse_octets, OCTETS_EXPECTED, description="What is sent; absent: nothing."),
        Option(
            "expect",
            parse_expectation,
            EXPECTATION_EXPECTED,
            description="What the answer must hold, in its first 16 KiB; absent: nothing is waited for.",
        ),
    )

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """There must be something to say or to hear."""
        if check.get("send") is None and check.get("expect") is None:
            return (Fault(check.location, "a check of type tcp needs send or expect", "expect = 220"),)
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect, send, and read."""
        answer = Answer()
        async with LentStream(services, target, check) as stream:
            stream.hand_over(_Conversation(check.get("send"), check.get("expect"), answer))
            error = await answer.wait()
        if error:
            raise UpstreamError(str(target), error)


make_check = TCPCheck
