"""The shape every built-in probe has: a name and a pure function."""

from __future__ import annotations

from collections.abc import Callable

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
    """

    name: str
    transport: str
    inspect: Callable[[bytes], Verdict]
    provides: tuple[str, ...] = ()
