"""A certificate authority for tests, and the files that it hands out."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

VALID = timedelta(days=90)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@frozen(eq=False)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    def key_pem(self, password: bytes | None = None) -> bytes:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    @property
    def pem(self) -> bytes:
        """All of it in one file."""
        return self.certificate_pem + self.chain_pem + self.key_pem()

    def key_der(self) -> bytes:
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def pfx(self, password: bytes | None = None) -> bytes:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return pkcs12.serialize_key_and_certificates(
            b"it", self.key, self.certificate, self.chain, encryption
        )

    def write(self, path: Path, octets: bytes | None = None) -> str:
        path.write_bytes(self.pem if octets is None else octets)
        return str(path)


class Authority:
    """A root, and an intermediate that signs."""

    def __init__(self, name: str = "root") -> None:
        self.root = self._make(name, (), None, True)
        self.intermediate = self._make(f"{name}'s intermediate", (), self.root, True)

    def issue(
        self,
        *names: str,
        common_name: str = "",
        starts: timedelta = timedelta(days=-1),
        ends: timedelta = VALID,
        is_direct: bool = False,
        serial_number: int | None = None,
    ) -> Issued:
        """A certificate for C{names}; by the root itself where C{is_direct}."""
        issuer = self.root if is_direct else self.intermediate
        return self._make(
            common_name or (names[0] if names else "nobody"),
            names,
            issuer,
            False,
            starts,
            ends,
            serial_number,
        )

    def ocsp_response(
        self,
        issued: Issued,
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta | None = VALID,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    ) -> bytes:
        """What the intermediate says of C{issued}, in DER form."""
        now = datetime.now(UTC)
        signer = self.intermediate
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            issued.certificate,
            signer.certificate,
            SHA1(),
            status,
            now + begins,
            None if ends is None else now + ends,
            now + begins if is_revoked else None,
            None,
        )
        responder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
        return responder.sign(signer.key, SHA256()).public_bytes(Encoding.DER)

    @property
    def root_pem(self) -> bytes:
        return self.root.certificate_pem

    def _make(
        self,
        name: str,
        names: Sequence[str],
        issuer: Issued | None,
        is_ca: bool,
        starts: timedelta = timedelta(days=-1),
        ends: timedelta = VALID,
        serial_number: int | None = None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name) if issuer is None else issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial_number or x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer is not None:
            public = issuer.certificate.public_key()
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
            builder = builder.add_extension(identifier, critical=False)
        if names:
            general = [self._general(each) for each in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        signed = builder.sign(key if issuer is None else issuer.key, SHA256())
        chain = () if issuer is None or issuer is getattr(self, "root", None) else (issuer.certificate,)
        return Issued(signed, key, chain)

    def _general(self, name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)
