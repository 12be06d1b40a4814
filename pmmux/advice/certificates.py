"""Certificates that have expired, or soon will."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from pmmux.advice.advice import Advice, Subject
from pmmux.model import OptionKey

CERTIFICATE_KIND = "certificate"
NEAR_DAYS = 30


def advise(subject: Subject, now: datetime.datetime | None = None) -> Iterator[Advice]:
    """See the module. What cannot be read here is for those who use it to report."""
    moment = now or datetime.datetime.now(datetime.UTC)
    for section in subject.settings.sections.get(CERTIFICATE_KIND, ()):
        path = section.get("path")
        if not path:
            continue
        ends_at = _end_of(path, section.get("password"))
        if ends_at is None:
            continue
        days = (ends_at - moment).days
        if days > NEAR_DAYS:
            continue
        state = "expired" if ends_at <= moment else f"expires in {days} days, on"
        yield Advice(
            section.where(OptionKey("path")),
            "certificate-expires",
            f"the certificate {section.name} {state} {ends_at:%Y-%m-%d}",
            "from then on clients refuse the connection",
            "a new certificate, and something that renews it",
        )


def _end_of(path: str, password: str | None) -> datetime.datetime | None:
    try:
        octets = Path(path).read_bytes()
    except OSError:
        return None
    for load in (x509.load_pem_x509_certificate, x509.load_der_x509_certificate):
        try:
            return load(octets).not_valid_after_utc
        except ValueError:
            continue
    return _end_of_bundle(octets, password)


def _end_of_bundle(octets: bytes, password: str | None) -> datetime.datetime | None:
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        _, certificate, _ = pkcs12.load_key_and_certificates(octets, password.encode() if password else None)
    except ValueError:
        return None
    return None if certificate is None else certificate.not_valid_after_utc
