"""An upstream under check whose traffic begins with something of ours."""

from __future__ import annotations

from attrs import field, frozen

from pmmux.config.values import Target
from pmmux.tls.upstream import UpstreamSettings


@frozen(slots=True)
class CheckedTarget(Target):
    """
    Where a check goes, and what its backend's traffic begins with there.

    @ivar traffic_port: where the traffic goes; a check may go to another port, which need not expect
        what traffic begins with.
    @ivar header: the PROXY header of a connection of our own; empty for none.
    @ivar tls: C{None} where the traffic is plaintext.
    """

    traffic_port: int = field(default=0, eq=False)
    header: bytes = field(default=b"", eq=False)
    tls: UpstreamSettings | None = field(default=None, eq=False)


def target_under_check(target: Target, header: bytes, tls: UpstreamSettings | None) -> Target:
    """C{target} for checks of a backend whose traffic begins with C{header} and TLS."""
    if not header and tls is None:
        return target
    return CheckedTarget(target.host, target.port, target.unix_path, target.port, header, tls)
