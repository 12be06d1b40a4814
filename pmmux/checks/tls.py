"""C{tls}: completes a TLS handshake, verifies the certificate, and looks how long it is valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from zope.interface import implementer

from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION, TLS_OPTIONS, tls_for
from pmmux.checks.streams import LentStream
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.errors import Fault, UpstreamError
from pmmux.model import SectionValues
from pmmux.tls.certificates import now_utc
from pmmux.tls.upstream import UpstreamContexts, certificate_of

MOST_DAYS = 3650


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
        HEADER_OPTION,
    )

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """@param now: gives the time in seconds since 1970."""
        self._contexts = UpstreamContexts()
        self._now = now

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """Nothing can be wrong."""
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect and shake hands."""
        tls = tls_for(target, check, self._contexts)
        async with LentStream(services, target, check, tls) as plain:
            error = self._judge_days(certificate_of(plain), check.get("days-left"))
        if error:
            raise UpstreamError(str(target), error)

    def _judge_days(self, certificate: x509.Certificate | None, wanted: int | None) -> str:
        if certificate is None or wanted is None:
            return ""
        days = (certificate.not_valid_after_utc - now_utc(self._now())).days
        if days < 0:
            return "the certificate has expired"
        return "" if days >= wanted else f"the certificate expires in {days} days"


make_check = TLSCheck
