"""C{connect}: healthy where a TCP connection can be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from pmmux.checks.interfaces import IHealthCheck
from pmmux.checks.securing import HEADER_OPTION
from pmmux.checks.streams import LentStream
from pmmux.config.options import Option
from pmmux.errors import Fault
from pmmux.model import SectionValues


@implementer(IHealthCheck)
class ConnectCheck:
    """
    See the module. The connection is reset at once, so that none is left in TIME_WAIT; with a PROXY
    header it is closed in order, so that the header arrives.
    """

    name = "connect"
    options: tuple[Option, ...] = (HEADER_OPTION,)

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """Nothing can be wrong."""
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Connect."""
        async with LentStream(services, target, check, reset=True):
            pass


make_check = ConnectCheck
