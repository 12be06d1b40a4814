"""The shape every built-in probe has: a name and a pure function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from zope.interface import implementer

from pmmux.interfaces import IProbe
from pmmux.model import Verdict


@implementer(IProbe)
@frozen
class Probe:
    """
    An L{IProbe} made of a function.

    @ivar inspect: from the octets so far to a L{Verdict}.
    @ivar inspect_several: the same for several datagrams of one client, in any order; C{None} where one
        says all that there is to know.
    """

    name: str
    transport: str
    inspect: Callable[[bytes], Verdict]
    provides: tuple[str, ...] = ()
    inspect_several: Callable[[Sequence[bytes]], Verdict] | None = None
