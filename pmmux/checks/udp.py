"""C{udp}: sends a datagram and expects an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from pmmux.checks.datagrams import ask
from pmmux.checks.expecting import ANSWER_LIMIT_OCTETS, CONVERSATION_OPTIONS, Expectation
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION
from pmmux.errors import Fault
from pmmux.model import SectionValues


@implementer(IHealthCheck)
class UDPCheck:
    """
    See the module. Where no answer is expected, silence is health: only a refusal, by ICMP, is not.
    """

    name = "udp"
    options = (*CONVERSATION_OPTIONS, HEADER_OPTION)

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """There must be something to say: nobody answers to nothing."""
        if check.get("send") is None:
            return (Fault(check.location, "a check of type udp needs send", "send = hex:00"),)
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Send, and wait."""
        expected: Expectation | None = check.get("expect")

        def judge(answer: bytes) -> str | None:
            if expected is None or expected.is_met_by(answer[:ANSWER_LIMIT_OCTETS]):
                return ""
            return "what is expected is not in the answer"

        await ask(target, check, services, check.get("send"), judge, expected is not None)


make_check = UDPCheck
