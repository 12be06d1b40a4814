"""C{dns}: asks a name server for a name, over UDP."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from pmmux.checks.datagrams import ask
from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION
from pmmux.config.options import Option
from pmmux.errors import Fault
from pmmux.model import SectionValues
from pmmux.wire.dns import TYPE_NAMES
from pmmux.wire.dnsquery import RCODE_NAMES, encode_query, encode_question, read_answer

IDENTIFIER_BITS = 16
TYPE_NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
NO_ERROR = RCODE_NAMES[0]
_ANY = 255


def parse_query(text: str) -> str:
    """A name that can be asked for."""
    encode_question(text, _ANY)
    return text


def parse_type(text: str) -> int:
    """A record type by its name."""
    number = TYPE_NUMBERS.get(text.upper())
    if number is None:
        raise ValueError("not a record type")
    return number


def parse_rcode(text: str) -> str:
    """A response code by its name."""
    name = text.upper()
    if name not in RCODE_NAMES:
        raise ValueError("not a response code")
    return name


@implementer(IHealthCheck)
class DNSCheck:
    """See the module. The answer must be to this very question."""

    name = "dns"
    options = (
        Option("query", parse_query, "a domain name", ".", description="The name that is asked for."),
        Option(
            "query-type",
            parse_type,
            "a record type such as A, AAAA, NS or SOA",
            TYPE_NUMBERS["NS"],
            description="The type of record that is asked for.",
        ),
        Option(
            "response-code",
            parse_rcode,
            ", ".join(RCODE_NAMES),
            (NO_ERROR,),
            listed=True,
            description="What the answer's response code may be.",
        ),
        HEADER_OPTION,
    )

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """Nothing can be wrong."""
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Ask."""
        query: str | None = check.get("query")
        question = encode_question(
            "." if query is None else query, check.get("query-type") or TYPE_NUMBERS["NS"]
        )
        identifier = secrets.randbits(IDENTIFIER_BITS)
        accepted: Sequence[str] = check.get("response-code") or (NO_ERROR,)

        def judge(datagram: bytes) -> str | None:
            answer = read_answer(datagram)
            if (
                answer is None
                or answer.identifier != identifier
                or answer.question.lower() != question.lower()
            ):
                return None
            return "" if answer.rcode_name in accepted else f"it answers {answer.rcode_name}"

        await ask(target, check, services, encode_query(identifier, question), judge)


make_check = DNSCheck
