"""What the tests of NAT port mapping are made of."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.nat_lab.device import StrangeDevice
from tests.nat_lab.lab import CLIENT, PATIENCE_SECONDS, USUAL_PERMISSIONS, Lab, find_missing
from tests.nat_lab.process import NATProcess
from tests.nat_lab.twistd import PmmuxInLab
from tests.support.process import kill_group

MISSING = find_missing()
MISSING_UPNP = next(
    (
        f"the package {name} is missing (pip install pmmux[upnp])"
        for name in ("netifaces", "txupnp")
        if importlib.util.find_spec(name) is None
    ),
    "",
)
LOCAL_PORT, PUBLIC_PORT = 8080, 8443
# Just under what the lab allows: PCP and NAT-PMP look for the next port that is allowed, one by one.
DENIED_PORT = 1020
REMAP_SECONDS = 2.0
# On a machine that has much else to do, one restart may be seen late, but not one after the other.
_RESTARTS = 4
# To look at the router's rules takes two processes.
_LOOK_SECONDS = 0.1

# Python starts twice as fast without site-packages.
BARE = ("-I", "-S", "-c")
_CONNECT = """
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET
kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM
with socket.socket(family, kind) as client:
    client.settimeout(float(sys.argv[4]))
    client.connect((sys.argv[2], int(sys.argv[3])))
    if sys.argv[1] == 'udp':
        client.send(b'you')
    print(client.recv(100).decode().strip())
"""
_GET = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as client:
    client.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
    found = b''
    while octets := client.recv(4096):
        found += octets
print(found.decode().rpartition('\\r\\n\\r\\n')[2])
"""


def front(**fields: Any) -> dict[str, Any]:
    """The port that most tests want."""
    usual = {"name": "front", "transport": "tcp", "local_port": LOCAL_PORT, "public_port": PUBLIC_PORT}
    return {**usual, **fields}


def configure(
    port: object = LOCAL_PORT, public_port: object = PUBLIC_PORT, more: str = "", timeout: str = "4s"
) -> str:
    """
    A configuration with one listener, whose backend answers by itself.

    @param more: what follows in C{[nat]}.
    @param timeout: shorter for what does not answer.
    """
    wanted = "" if public_port is None else f"public-port = {public_port}"
    return f"""
[listener front]
bind = 0.0.0.0
port = {port}
{wanted}

[backend hello]
protocol = http-response
detect = http
response.body = hello

[nat]
timeout = {timeout}
{more}
"""


class NATLabCase(SynchronousTestCase):
    """Makes labs and processes in them, and takes them down."""

    protocols: tuple[str, ...] = ("pcp", "pmp", "upnp")

    def setUp(self) -> None:
        if MISSING:
            raise SkipTest(MISSING)
        if "upnp" in self.protocols and MISSING_UPNP:
            raise SkipTest(MISSING_UPNP)

    def make_lab(
        self, daemon: bool = True, permissions: Sequence[str] = USUAL_PERMISSIONS, **options: str
    ) -> Lab:
        """A network of the test's own, with a gateway."""
        lab = Lab(permissions, **options)
        self.addCleanup(lab.down)
        lab.up(daemon)
        return lab

    def start(
        self,
        lab: Lab,
        *wanted: dict[str, Any],
        place: str = "client",
        wants_none: bool = False,
        **settings: Any,
    ) -> NATProcess:
        """Start the NAT service alone, for the usual port where none is given."""
        usual = {"protocols": self.protocols, "timeout_seconds": 4.0}
        ports = [] if wants_none else list(wanted) or [front()]
        process = NATProcess(lab, place, ports, **{**usual, **settings})
        self.addCleanup(process.kill)
        return process

    def run_pmmux(self, lab: Lab, config: str = "", listeners: int = 1, **options: Any) -> PmmuxInLab:
        """Start C{twistd pmmux}, and wait until it accepts."""
        nat = f"protocol = {', '.join(self.protocols)}"
        started = PmmuxInLab(lab, config or configure(more=nat), **options)
        self.addCleanup(self._end, started)
        started.wait_until_ready(listeners)
        return started

    def _end(self, started: PmmuxInLab) -> None:
        kill_group(started.process)
        if not started.may_trouble:
            self.assertEqual(started.troubles(), [])

    def run_device(self, lab: Lab, kind: str) -> StrangeDevice:
        """Let the router be a device of one of L{tests.nat_lab.device.KINDS}."""
        device = StrangeDevice(lab, kind)
        self.addCleanup(kill_group, device.process)
        return device

    def greet(self, lab: Lab, address: str, port: int, transport: str = "tcp", timeout: float = 5) -> str:
        """What a client outside hears from the backend; empty where it does not get there."""
        command = (sys.executable, *BARE, _CONNECT, transport, address, str(port), str(timeout))
        return lab.run("outside", *command, check=False).strip()

    def get(self, lab: Lab, address: str, port: int, place: str = "outside") -> str:
        """What a client there is answered by HTTP; empty where it does not get there."""
        command = (sys.executable, *BARE, _GET, address, str(port))
        return lab.run(place, *command, check=False).strip()

    def wait_until(self, found: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
        """Wait for something that is not said, and say how long it took."""
        began = time.monotonic()
        while not found():
            if time.monotonic() - began > seconds:
                self.fail(f"not within {seconds:g} s: {what}")
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began

    def wait_until_mapped(self, lab: Lab, to: str = CLIENT, port: int = PUBLIC_PORT) -> None:
        """A mapping that is renewed, or asked for twice, is gone for a moment."""
        self.wait_until(
            lambda: f"dport {port} dnat ip to {to}:" in lab.list_mappings(), f"port {port} mapped to {to}"
        )

    def wait_until_count(self, lab: Lab, count: int) -> None:
        """Wait until the router has so many mappings."""
        self.wait_until(lambda: lab.list_mappings().count("dnat") == count, f"{count} mappings")

    def assert_nothing_mapped(self, lab: Lab) -> None:
        self.assertNotIn("dnat", lab.list_mappings())

    def assert_served_on_the_lan(self, lab: Lab) -> None:
        self.assertEqual(self.get(lab, CLIENT, LOCAL_PORT, "other"), "hello")

    def assert_mapped_again_soon(self, lab: Lab, number: int = signal.SIGKILL) -> None:
        """The daemon comes back without its mappings, and has them again within the bound."""
        took = []
        while not took or took[-1] >= REMAP_SECONDS:
            self.assertLess(len(took), _RESTARTS, took)
            lab.stop_daemon(number)
            lab.load_rules()
            lab.start_daemon()
            took.append(self.wait_until(lambda: "dnat" in lab.list_mappings(), "mapped again"))
