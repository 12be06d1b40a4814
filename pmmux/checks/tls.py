"""C{tls}: completes a TLS handshake, verifies the certificate, and looks how long it is valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import TLS_OPTIONS, Findings, TLSContexts, explain
from pmmux.checks.streams import LentStream
from pmmux.checks.verdict import Answer
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.errors import Fault, UpstreamError
from pmmux.model import SectionValues

MOST_DAYS = 3650


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Waits for the handshake, and says goodbye."""

    transport: Any

    def __init__(self, days_left: int | None, now_seconds: float, answer: Answer) -> None:
        self._days_left = days_left
        self._now_seconds = now_seconds
        self._answer = answer

    def handshakeCompleted(self) -> None:
        """Twisted calls it."""
        error = self._judge_days()
        self.transport.loseConnection()
        self._answer.say(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It went no further."""
        self._answer.say(explain(reason))

    def _judge_days(self) -> str:
        certificate = self.transport.getPeerCertificate()
        if self._days_left is None or certificate is None:
            return ""
        expiry = certificate.to_cryptography().not_valid_after_utc
        days = (expiry - datetime.fromtimestamp(self._now_seconds, UTC)).days
        if days < 0:
            return "the certificate has expired"
        return "" if days >= self._days_left else f"the certificate expires in {days} days"


@implementer(IHealthCheck)
class TLSCheck:
    """See the module."""

    name = "tls"
    options = (
        *TLS_OPTIONS,
        Option(
            "days-left",
            values.integer(0, MOST_DAYS),
            f"a number from 0 to {MOST_DAYS}",
            description="How many days the certificate must be valid yet; absent: it is not looked at.",
        ),
    )

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """@param now: gives the time in seconds since 1970."""
        self._contexts = TLSContexts()
        self._now = now

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """Nothing can be wrong."""
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect and shake hands."""
        answer, findings = Answer(), Findings()
        handshake = _Handshake(check.get("days-left"), self._now(), answer)
        protocol = self._contexts.secure(handshake, target, check, findings, services.reactor)
        async with LentStream(services, target, check) as stream:
            stream.hand_over(protocol)
            error = await answer.wait()
        if error:
            raise UpstreamError(str(target), findings.problem or error)


make_check = TLSCheck
