"""C{tcp}: sends something and expects something, over TCP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.checks.expecting import ANSWER_LIMIT_OCTETS, CONVERSATION_OPTIONS, Expectation
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION, TLS_OPTION, TLS_OPTIONS, speaks_tls, tls_for
from pmmux.checks.streams import LentStream
from pmmux.checks.verdict import Answer
from pmmux.errors import Fault, UpstreamError
from pmmux.model import SectionValues
from pmmux.tls.upstream import UpstreamContexts


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
        *CONVERSATION_OPTIONS,
        TLS_OPTION,
        *TLS_OPTIONS,
        HEADER_OPTION,
    )

    def __init__(self) -> None:
        self._contexts = UpstreamContexts()

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """There must be something to say or to hear."""
        if check.get("send") is None and check.get("expect") is None:
            return (Fault(check.location, "a check of type tcp needs send or expect", "expect = 220"),)
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect, send, and read."""
        answer = Answer()
        tls = tls_for(target, check, self._contexts) if speaks_tls(target, check) else None
        async with LentStream(services, target, check, tls) as stream:
            stream.hand_over(_Conversation(check.get("send"), check.get("expect"), answer))
            error = await answer.wait()
        if error:
            raise UpstreamError(str(target), error)


make_check = TCPCheck
