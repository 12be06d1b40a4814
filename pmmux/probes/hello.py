"""
What a ClientHello tells, as connection properties: the same for TLS, QUIC and DTLS.

C{tls}, C{tls.sni}, C{tls.alpn} (comma separated), C{tls.version} (the highest offered),
C{tls.versions}, C{tls.ech} (C{true}, or absent) and C{tls.ja4}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from attrs import define, field

from pmmux.wire.ja4 import TRANSPORT_TCP, compute_ja4
from pmmux.wire.tls import ClientHello, highest_version, version_name

#: What a probe that offers these properties has in its C{provides}.
HELLO_PROPERTIES = ("tls", "tls.")

# What stands for itself in C{tls.alpn}; the comma separates, controls have no place in a property.
_ALPN_SAFE = "!\"#$&'()*+-./:;<=>?@[]^_`{|}~"


# Not frozen: made for each TLS connection, and that would cost three times as much.
@define(slots=True, eq=False)
class HelloProperties(Mapping[str, str]):
    """
    The properties of a L{ClientHello}, each computed when it is first asked for, and then kept.

    Most configurations ask for C{tls.sni} alone, and C{tls.ja4} costs several times the parsing.
    So look names up in this mapping, in layers with others: a copy computes all of them.

    @ivar transport: one of the letters of L{pmmux.wire.ja4}.
    """

    hello: ClientHello
    transport: str = TRANSPORT_TCP
    _known: dict[str, str] = field(init=False, repr=False, factory=dict)

    def __getitem__(self, name: str) -> str:
        found = self._known.get(name)
        if found is None:
            found = _READERS[name](self)
            if found is None:
                raise KeyError(name)
            self._known[name] = found
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The property C{name}, or C{default}; the usual way, so without an exception on the way."""
        found = self._known.get(name)
        if found is None:
            read = _READERS.get(name)
            found = None if read is None else read(self)
            if found is None:
                return default
            self._known[name] = found
        return found

    def __contains__(self, name: object) -> bool:
        return name == _JA4 or (name in _READERS and super().__contains__(name))

    def __iter__(self) -> Iterator[str]:
        return (name for name in _READERS if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _write_alpn(hello: ClientHello) -> str | None:
    """The names, percent-encoded where they are not plain text (as in RFC 7639 section 2.2)."""
    return ",".join([quote(name, _ALPN_SAFE) for name in hello.alpn]) or None


def _write_versions(hello: ClientHello) -> str:
    return ",".join([version_name(version) for version in hello.versions])


_JA4 = "tls.ja4"
_READERS: Mapping[str, Callable[[HelloProperties], str | None]] = {
    "tls": lambda found: "true",
    "tls.sni": lambda found: found.hello.server_name,
    "tls.alpn": lambda found: _write_alpn(found.hello),
    "tls.version": lambda found: version_name(highest_version(found.hello)),
    "tls.versions": lambda found: _write_versions(found.hello),
    "tls.ech": lambda found: "true" if found.hello.has_ech else None,
    _JA4: lambda found: compute_ja4(found.hello, found.transport),
}
