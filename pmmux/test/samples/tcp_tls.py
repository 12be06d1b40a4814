"""ClientHellos that the probe C{tls} takes."""

from __future__ import annotations

from pmmux.test import hellos

MATCHING: list[bytes] = [
    hellos.client_hello(),
    hellos.client_hello(None),
    hellos.client_hello(fragment_octets=1),
    hellos.client_hello(fragment_octets=60) + hellos.record(b"\x01", kind=0x14),
    hellos.client_hello(extra=[hellos.encrypted_client_hello()]),
    hellos.client_hello_of(2_000),
    hellos.records(hellos.handshake(hellos.body(extensions_octets=b"", version=0x0300))),
    hellos.OPENSSL_TLS13,
    hellos.OPENSSL_TLS12,
    hellos.OPENSSL_UNNAMED,
    hellos.CURL,
]
