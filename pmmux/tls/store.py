"""The certificates by name, kept as their files are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from pmmux.tls.certificates import Certificate, CertificateFiles, is_address, now_utc
from pmmux.tls.interfaces import ICertificateStore
from pmmux.tls.selfsigned import make_key, make_self_signed
from pmmux.tls.watching import Pace, Watched

GENERATED_LIMIT = 256
LABEL_LIMIT_CHARACTERS = 63
# A generated certificate is made anew when so little of its life is left.
GENERATED_LEAST_SECONDS = 86400.0


@implementer(ICertificateStore)
class CertificateStore:
    """See L{ICertificateStore}."""

    log = Logger()

    def __init__(
        self, files: Sequence[CertificateFiles], generates: bool, seconds: Callable[[], float]
    ) -> None:
        """
        @param generates: whether names without a certificate get one that we sign ourselves.
        @param seconds: since 1970.
        """
        self.generation = 0
        self._seconds = seconds
        self._generates = generates
        self._watched = {
            each.name: Watched(f"certificate {each.name}", each.paths, each.load) for each in files
        }
        self._certificates: dict[str, Certificate] = {}
        self._exact: dict[str, Certificate] = {}
        self._wildcards: dict[str, Certificate] = {}
        self._default: Certificate | None = None
        self._generated: OrderedDict[str, Certificate] = OrderedDict()
        self._key = make_key() if generates else None
        self._pace = Pace(seconds())
        self._look()

    def find(self, server_name: str | None) -> Certificate | None:
        """See L{ICertificateStore.find}."""
        now = self._seconds()
        if self._pace.is_due(now):
            self._look()
        if server_name is not None:
            found = self._exact.get(server_name)
            if found is None:
                found = self._wildcards.get(server_name.partition(".")[2])
            if found is not None:
                return found
        if self._default is not None:
            return self._default
        return self._generate(server_name or "", now) if self._generates else None

    def add(self, certificate: Certificate) -> None:
        """See L{ICertificateStore.add}."""
        self._certificates[certificate.name] = certificate
        self._index()

    def remove(self, name: str) -> None:
        """See L{ICertificateStore.remove}."""
        del self._certificates[name]
        self._watched.pop(name, None)
        self._index()

    def certificates(self) -> tuple[Certificate, ...]:
        """See L{ICertificateStore.certificates}."""
        return tuple(self._certificates.values())

    def _index(self) -> None:
        self.generation += 1
        self._exact, self._wildcards, self._default = {}, {}, None
        # Of several for the same name the first counts.
        for certificate in self._certificates.values():
            for host in certificate.hosts:
                if host.startswith("*."):
                    self._wildcards.setdefault(host[2:], certificate)
                else:
                    self._exact.setdefault(host, certificate)
            if certificate.is_default and self._default is None:
                self._default = certificate

    def reload(self) -> None:
        """See L{ICertificateStore.reload}."""
        self._look()
        self.generation += 1

    def _look(self) -> None:
        has_changed = False
        for name, watched in self._watched.items():
            if watched.look():
                has_changed = True
                self._take(name, watched.content)
        if has_changed:
            self._index()

    def _take(self, name: str, certificate: Certificate | None) -> None:
        assert certificate is not None
        for warning in certificate.warnings(now_utc(self._seconds())):
            self.log.warn("certificate {name}: {warning}", name=name, warning=warning)
        self._certificates[name] = certificate

    def _generate(self, host: str, now: float) -> Certificate:
        found = self._generated.get(host)
        if found is not None and found.expires_at.timestamp() - now > GENERATED_LEAST_SECONDS:
            self._generated.move_to_end(host)
            return found
        assert self._key is not None
        self._generated[host] = made = make_self_signed(_presentable(host), self._key, now_utc(now))
        if len(self._generated) > GENERATED_LIMIT:
            self._generated.popitem(last=False)
            self.generation += 1
        return made


def _presentable(host: str) -> str:
    """C{host} where a certificate can name it, else nothing."""
    labels = host.split(".")
    usable = all(
        label and len(label) <= LABEL_LIMIT_CHARACTERS and label.replace("-", "").replace("_", "").isalnum()
        for label in labels
    )
    return host if usable or is_address(host) else ""
