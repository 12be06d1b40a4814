"""Certificates that nobody else has signed, for names that have no other; kept in memory only."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pmmux.tls.certificates import Certificate, is_address

VALID_DAYS = 90
COMMON_NAME = "pmmux self-signed"
# Clocks of clients may be behind.
_BACKDATED = timedelta(days=1)


def make_key() -> ec.EllipticCurvePrivateKey:
    """An ECDSA key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_self_signed(host: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> Certificate:
    """
    @param host: a name or IP address; empty for a certificate that names nothing.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    if host:
        general: x509.GeneralName = (
            x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([general]), critical=False)
    leaf = builder.sign(key, SHA256())
    return Certificate(host or COMMON_NAME, leaf, key, (), (host,) if host else ())
