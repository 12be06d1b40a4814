"""What a check says first: a PROXY header and TLS, as the traffic does, or as it states itself."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pmmux.checks.target import CheckedTarget
from pmmux.config import values
from pmmux.config.options import Option
from pmmux.model import SectionValues
from pmmux.tls.upstream import UpstreamContexts, UpstreamSettings, UpstreamTLS
from pmmux.tls.upstream_options import AUTHORITIES_EXPECTED, NAME_EXPECTED, authorities

_BOOLEAN = "true or false"

HEADER_OPTION = Option(
    "send-proxy",
    values.boolean,
    _BOOLEAN,
    description="Whether to begin with the backend's PROXY header; absent: on the traffic's port.",
)
TLS_OPTION = Option(
    "tls",
    values.boolean,
    _BOOLEAN,
    description="Whether to speak through TLS; absent: as the traffic, on the traffic's port.",
)
TLS_OPTIONS = (
    Option(
        "verify",
        values.boolean,
        _BOOLEAN,
        description="Whether the certificate must be valid, trusted, and for this server; "
        "absent: `upstream-tls-verify`, else true.",
    ),
    Option(
        "ca",
        authorities,
        AUTHORITIES_EXPECTED,
        description="Whom to trust; absent: `upstream-tls-ca`, else the system's authorities.",
    ),
    Option(
        "server-name",
        values.host,
        NAME_EXPECTED,
        description="Asked for by SNI, and looked for in the certificate; "
        "absent: `upstream-tls-name`, else the target's host.",
    ),
)


def header_for(target: Any, check: SectionValues) -> bytes:
    """The PROXY header to begin with; empty for none."""
    if not isinstance(target, CheckedTarget):
        return b""
    sends: bool | None = check.get("send-proxy")
    if sends is None:
        sends = target.port == target.traffic_port
    return target.header if sends else b""


def speaks_tls(target: Any, check: SectionValues) -> bool:
    """Whether a check speaks through TLS."""
    asked: bool | None = check.get("tls")
    if asked is not None:
        return asked
    return isinstance(target, CheckedTarget) and target.tls is not None and target.port == target.traffic_port


def tls_for(
    target: Any, check: SectionValues, contexts: UpstreamContexts, alpn: tuple[bytes, ...] | None = None
) -> UpstreamTLS:
    """
    TLS as L{TLS_OPTIONS} in C{check} say, and, for what they leave out, as the backend does.

    @param alpn: what to offer in place of what the backend does.
    """
    settings = target.tls if isinstance(target, CheckedTarget) and target.tls else UpstreamSettings()
    verifies = check.get("verify")
    settings = evolve(
        settings,
        verifies=settings.verifies if verifies is None else verifies,
        authorities_path=check.get("ca") or settings.authorities_path,
        name=check.get("server-name") or settings.name,
        alpn=settings.alpn if alpn is None else alpn,
    )
    return UpstreamTLS(settings, target, contexts)
