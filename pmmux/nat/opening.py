"""
From the names of drivers to their clients of one gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pmmux.nat.interfaces import INATClient, INATDriver
from pmmux.nat.mapping import DriverContext, NATUnavailable
from pmmux.nat.report import ProtocolReport


def open_clients(
    names: Iterable[str], drivers: Sequence[INATDriver], family: int, context: DriverContext
) -> tuple[list[INATClient], list[ProtocolReport]]:
    """
    Open the drivers of C{names} that serve C{family}.

    @return: their clients, in that order; and of those that cannot be used, why.
    """
    known = {driver.name: driver for driver in drivers}
    clients: list[INATClient] = []
    unavailable = []
    for name in names:
        driver = known.get(name)
        if driver is None:
            text = f"there is no driver of this name; there are {', '.join(known)}"
            unavailable.append(ProtocolReport(name, False, text))
        elif family in driver.families:
            try:
                clients.append(driver.open(context))
            except NATUnavailable as error:
                unavailable.append(ProtocolReport(name, False, error.finding.text))
            except Exception as error:  # a third party's code; nothing is awaited
                text = f"{name} is broken: {type(error).__name__}: {error}"
                unavailable.append(ProtocolReport(name, False, text))
    return clients, unavailable
