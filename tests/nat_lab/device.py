"""
A UPnP gateway that is not as it should be, in the place of miniupnpd: each kind of it by its name.

Run as a program it is one, and prints a line of JSON after each request.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from pmmux.test.upnp_device import Device, fault, soap
from pmmux.wire.ssdp import PORT
from tests.nat_lab.lab import OTHER, PATIENCE_SECONDS, ROUTER, Lab
from tests.support.process import ROOT, clean_environment
from tests.support.waiting import wait_for

ELSEWHERE_PORT = 8000
_TOO_MANY_OCTETS = 300_000
_ONLY_PERMANENT_LEASES = 725


def know_permanent_leases_only(device: Device) -> None:
    """Like many a device of before 2010."""

    def refuse(given: dict[str, str]) -> bytes | None:
        ends = given["NewLeaseDuration"] != "0"
        return fault(_ONLY_PERMANENT_LEASES, "OnlyPermanentLeasesSupported") if ends else None

    device.answers["AddPortMapping"] = refuse


def stand_behind(address: str) -> Callable[[Device], None]:
    """Another NAT gives it its address."""

    def change(device: Device) -> None:
        device.answers["GetExternalIPAddress"] = soap("GetExternalIPAddress", NewExternalIPAddress=address)

    return change


def describe_itself_by(octets: bytes) -> Callable[[Device], None]:
    """Send that in place of its description."""

    def change(device: Device) -> None:
        device.pages["/root.xml"] = octets

    return change


def lead_elsewhere(device: Device) -> None:
    """To another machine on the LAN."""
    device.location = f"http://{OTHER}:{ELSEWHERE_PORT}/root.xml"


def redirect_elsewhere(device: Device) -> None:
    """As before, in another way."""

    def redirect(request: Any) -> bytes:
        request.setResponseCode(302)
        request.setHeader("location", f"http://{OTHER}:{ELSEWHERE_PORT}/root.xml")
        return b""

    device.pages["/root.xml"] = redirect


KINDS: dict[str, Callable[[Device], None]] = {
    "permanent": know_permanent_leases_only,
    "cgnat": stand_behind("100.64.7.7"),
    "double-nat": stand_behind("192.168.1.2"),
    "elsewhere": lead_elsewhere,
    "redirect": redirect_elsewhere,
    "entities": describe_itself_by(b'<!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><root>&b;</root>'),
    "too-large": describe_itself_by(b"<a>" + b"x" * _TOO_MANY_OCTETS + b"</a>"),
    "nonsense": describe_itself_by(b"\0\xff<html><not xml"),
}


class StrangeDevice:
    """One kind of device, running on a lab's router."""

    def __init__(self, lab: Lab, kind: str) -> None:
        self._log = lab.directory / f"device-{kind}.log"
        with self._log.open("wb") as log:
            self.process = lab.popen(
                "router",
                [sys.executable, "-m", "tests.nat_lab.device", kind],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=clean_environment(),
                start_new_session=True,
            )
        wait_for(self.said, f"the device {kind}", PATIENCE_SECONDS)

    def said(self) -> list[dict[str, Any]]:
        """What it has printed, the last line being how it is now."""
        return [
            json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def ports(self) -> list[str]:
        """The external ports in its table."""
        found: list[str] = self.said()[-1]["ports"]
        return found


def main() -> None:
    from twisted.internet import reactor  # noqa: TID251

    class Telling(Device):
        def render(self, request: Any) -> Any:
            answer = super().render(request)
            self.tell()
            return answer

        def tell(self) -> None:
            ports = sorted(port for port, _ in self.table)
            print(json.dumps({"ports": ports, "leases": self.leases, "hits": self.hits}), flush=True)

    device = Telling()
    KINDS[sys.argv[1]](device)
    device.start(reactor, ROUTER, PORT)
    device.tell()
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
