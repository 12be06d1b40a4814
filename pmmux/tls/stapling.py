"""
OCSP responses to be stapled: whom they are about, and how long they are of use.

@see: RFC 6960 section 4.2; RFC 6066 section 8
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import Hash
from cryptography.x509 import ocsp

EXPIRES_SOON = timedelta(hours=6)
# Responders' clocks may be ahead of ours.
_EARLY = timedelta(minutes=5)


class StapleError(Exception):
    """A response cannot be used; in words."""


@frozen
class Staple:
    """
    A response that is about the certificate it stands beside.

    @ivar octets: in DER form.
    @ivar begins_at: when it was made.
    @ivar ends_at: when there is to be a newer one; C{None} where it does not tell.
    @ivar is_good: whether it says that the certificate is.
    """

    octets: bytes = field(repr=False)
    begins_at: datetime
    ends_at: datetime | None
    is_good: bool

    def octets_at(self, now: datetime) -> bytes:
        """What is to be stapled; nothing where clients would refuse it for its age."""
        if self.ends_at is not None and self.ends_at <= now:
            return b""
        return self.octets if self.begins_at <= now + _EARLY else b""

    def warnings(self, now: datetime) -> list[str]:
        """What clients will not like, in words."""
        found = []
        if not self.is_good:
            found.append("its OCSP response does not say that it is good")
        if self.ends_at is not None and self.ends_at <= now:
            found.append(f"its OCSP response has expired on {_text(self.ends_at)}, and is not stapled")
        elif self.ends_at is not None and self.ends_at - now < EXPIRES_SOON:
            found.append(f"its OCSP response expires on {_text(self.ends_at)}")
        if self.begins_at > now + _EARLY:
            found.append(f"its OCSP response is not valid before {_text(self.begins_at)}, and is not stapled")
        return found


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def read_staple(octets: bytes, leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> Staple:
    """
    @param octets: in DER form.
    @param chain: as far as it is known.
    @raises StapleError: it is no response, or not about C{leaf}.
    """
    try:
        response = ocsp.load_der_ocsp_response(octets)
        found = list(response.responses)
    except ValueError:
        raise StapleError("no OCSP response in DER form that tells anything") from None
    for single in found:
        if single.serial_number == leaf.serial_number and _is_by_issuer(single, leaf, chain):
            return Staple(
                octets,
                single.this_update_utc,
                single.next_update_utc,
                single.certificate_status is ocsp.OCSPCertStatus.GOOD,
            )
    raise StapleError("the OCSP response is about another certificate")


def _is_by_issuer(
    single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, chain: Sequence[x509.Certificate]
) -> bool:
    """Serial numbers are unique for one issuer only."""
    algorithm = single.hash_algorithm
    issuer = next((each for each in chain if each.subject == leaf.issuer), None)
    if issuer is None:
        hashing = Hash(algorithm)
        hashing.update(leaf.issuer.public_bytes())
        return single.issuer_name_hash == hashing.finalize()
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm).build()
    return (single.issuer_name_hash, single.issuer_key_hash) == (
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    )
