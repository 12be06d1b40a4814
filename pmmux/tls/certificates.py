"""
Certificates with their keys and chains, read from files of the usual forms.

What is wrong is told by name: a key that is another's, a password that is missing, an expiry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from pmmux.tls.stapling import Staple, StapleError, read_staple

PEM, DER, PKCS12 = "pem", "der", "pfx"
_SUFFIXES = {".p12": PKCS12, ".pfx": PKCS12, ".der": DER, ".cer": DER}
_PEM_MARK = b"-----BEGIN "
FILE_LIMIT_OCTETS = 1 << 20
EXPIRES_SOON_DAYS = 14


class CertificateError(Exception):
    """A certificate cannot be used; in words that name the file."""


@frozen(eq=False)
class Certificate:
    """
    A certificate that we can present.

    @ivar name: that of its section; of a generated one, the name it was made for.
    @ivar chain: the certificates that lead from it towards its root, in order.
    @ivar hosts: what it is presented for: names and wildcards in lower case.
    @ivar is_default: whether it is presented where none fits better.
    @ivar staple: the OCSP response that goes with it; C{None} for none.
    @ivar files: what it was read from.
    """

    name: str
    leaf: x509.Certificate = field(repr=False)
    key: Any = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ()
    is_default: bool = False
    staple: Staple | None = None
    files: tuple[str, ...] = ()

    @property
    def expires_at(self) -> datetime:
        """When it is valid no longer."""
        return self.leaf.not_valid_after_utc

    def warnings(self, now: datetime) -> list[str]:
        """What clients will not like, in words."""
        found = []
        if self.expires_at < now:
            found.append(f"it has expired on {self.expires_at:%Y-%m-%d}")
        elif (self.expires_at - now).days < EXPIRES_SOON_DAYS:
            found.append(f"it expires on {self.expires_at:%Y-%m-%d}")
        if self.leaf.not_valid_before_utc > now:
            found.append(f"it is not valid before {self.leaf.not_valid_before_utc:%Y-%m-%d}")
        if self.leaf.issuer != self.leaf.subject and not self.chain:
            found.append("it comes without its chain: the certificate of its issuer is not in the file")
        if not self.hosts and not self.is_default:
            found.append("it names no host, and is not the default: nobody will ever see it")
        if self.staple is not None:
            found += self.staple.warnings(now)
        return found


@frozen
class CertificateFiles:
    """
    Where a certificate is, as configured.

    @ivar key_path: empty where the key is in the same file.
    @ivar form: C{"pem"}, C{"der"}, C{"pfx"}; empty to tell by the file.
    @ivar password: of the key, or of the PKCS#12 file; empty for none.
    @ivar password_path: a file that holds it.
    @ivar hosts: what it is presented for; empty for the names it holds.
    @ivar ocsp_path: empty for no stapling.
    """

    name: str
    path: str
    key_path: str = ""
    form: str = ""
    password: str = field(default="", repr=False)
    password_path: str = ""
    hosts: tuple[str, ...] = ()
    is_default: bool = False
    ocsp_path: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that is read."""
        return tuple(path for path in (self.path, self.key_path, self.password_path, self.ocsp_path) if path)

    def load(self) -> Certificate:
        """
        Read and check.

        @raises CertificateError: it cannot be used.
        """
        octets = _read(self.path)
        password = self._password()
        chain: Sequence[x509.Certificate]
        form = self.form or _form_of(self.path, octets)
        if form == PKCS12:
            leaf, key, chain = _load_pkcs12(self.path, octets, password)
        else:
            found = _load_certificates(self.path, octets, form)
            key_path = self.key_path or self.path
            key = _load_key(key_path, _read(key_path), password)
            leaf, chain = _pick_leaf(found, key, self.path, key_path)
        hosts = self.hosts or tuple(names_of(leaf))
        chain = order_chain(leaf, chain)
        staple = self._load_staple(leaf, chain) if self.ocsp_path else None
        return Certificate(self.name, leaf, key, chain, hosts, self.is_default, staple, self.paths)

    def _load_staple(self, leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> Staple:
        try:
            return read_staple(_read(self.ocsp_path), leaf, chain)
        except StapleError as error:
            raise CertificateError(f"{self.ocsp_path}: {error}") from None

    def _password(self) -> bytes | None:
        if self.password_path:
            return _read(self.password_path).split(b"\n", 1)[0].rstrip(b"\r") or None
        return self.password.encode("utf-8") or None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            octets = file.read(FILE_LIMIT_OCTETS + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror or error}") from None
    if len(octets) > FILE_LIMIT_OCTETS:
        raise CertificateError(f"{path}: larger than any certificate")
    return octets


def _form_of(path: str, octets: bytes) -> str:
    if _PEM_MARK in octets:
        return PEM
    return _SUFFIXES.get(Path(path).suffix.lower(), DER)


def _load_certificates(path: str, octets: bytes, form: str) -> list[x509.Certificate]:
    try:
        if form == PEM:
            return x509.load_pem_x509_certificates(octets)
        return [x509.load_der_x509_certificate(octets)]
    except ValueError:
        raise CertificateError(f"{path}: no certificate in {form.upper()} form that can be read") from None


def _load_key(path: str, octets: bytes, password: bytes | None) -> Any:
    load: Any = load_pem_private_key if _PEM_MARK in octets else load_der_private_key
    try:
        try:
            return load(octets, password)
        except TypeError:
            if password is None:
                raise CertificateError(f"{path}: the key needs a password") from None
            # The password is for another file, then: this one needs none.
            return load(octets, None)
    except ValueError:
        if password is not None:
            raise CertificateError(f"{path}: no key that can be read with this password") from None
        raise CertificateError(f"{path}: no private key that can be read") from None
    except UnsupportedAlgorithm:
        raise CertificateError(f"{path}: a key of a kind that is not known") from None


def _load_pkcs12(
    path: str, octets: bytes, password: bytes | None
) -> tuple[x509.Certificate, Any, list[x509.Certificate]]:
    try:
        key, leaf, chain = pkcs12.load_key_and_certificates(octets, password)
    except (ValueError, TypeError):
        reason = "with this password" if password else "without a password"
        raise CertificateError(f"{path}: no PKCS#12 that can be read {reason}") from None
    if key is None or leaf is None:
        raise CertificateError(f"{path}: a PKCS#12 without a key and its certificate")
    _check_match(leaf, key, path, path)
    return leaf, key, list(chain)


def _public(key: Any) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def _check_match(leaf: x509.Certificate, key: Any, path: str, key_path: str) -> None:
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise CertificateError(f"{path}: the key in {key_path} is not that of the certificate")


def _pick_leaf(
    found: Sequence[x509.Certificate], key: Any, path: str, key_path: str
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The certificate of the key, wherever in the file it stands, and the others."""
    for leaf in found:
        if _public(leaf.public_key()) == _public(key.public_key()):
            return leaf, [other for other in found if other is not leaf]
    raise CertificateError(f"{path}: the key in {key_path} is not that of the certificate")


def load_authorities(path: str) -> tuple[x509.Certificate, ...]:
    """
    Those in the PEM file C{path}, at least one.

    @raises CertificateError: it cannot be used.
    """
    return tuple(_load_certificates(path, _read(path), PEM))


def order_chain(leaf: x509.Certificate, others: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Those of C{others} that lead from C{leaf} to its root, which is itself left out, in order."""
    chain: list[x509.Certificate] = []
    last = leaf
    while last.issuer != last.subject and len(chain) < len(others):
        following = next((other for other in others if other.subject == last.issuer), None)
        if following is None or following in chain:
            break
        chain.append(following)
        last = following
    if len(chain) > 1 and chain[-1].issuer == chain[-1].subject:
        # Whoever trusts the root has it (RFC 8446 section 4.4.2).
        chain.pop()
    return tuple(chain)


def names_of(leaf: x509.Certificate) -> list[str]:
    """The names that a certificate holds, in lower case: alternative ones, else its common name."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(each.value).lower() for each in common]
    found = [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]
    return found + [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def now_utc(seconds: float) -> datetime:
    """C{seconds} since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def is_address(name: str) -> bool:
    """Whether C{name} is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
