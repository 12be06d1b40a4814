"""
A LAN, a router and an outside in network namespaces: two machines inside, one outside, and miniupnpd
with real nftables rules between them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LAN = "192.168.77"
ROUTER = f"{LAN}.1"
CLIENT = f"{LAN}.2"
OTHER = f"{LAN}.3"
# Not a reserved network: miniupnpd would call itself behind another NAT.
WAN = "11.22.33"
OUTER = f"{WAN}.1"
OUTSIDE = f"{WAN}.2"
LAN_IPV6 = "2a00:2::"
OUTSIDE_IPV6 = "2a00:1::2"
USUAL_PERMISSIONS = (f"allow 1024-65535 {LAN}.0/24 0-65535", "deny 0-65535 0.0.0.0/0 0-65535")
SSDP_UUID = "7b1c0e0a-1111-2222-3333-0123456789ab"

PLACES = ("client", "other", "router", "outside")
TOOLS = {"ip": "iproute2", "nft": "nftables", "miniupnpd": "miniupnpd-nftables"}
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_numbers = itertools.count(1)
# For what comes within a second or two, on a machine that has far too much to do.
PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_ENDS_WITHIN_SECONDS = 1.5

RULES = """
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "br0" accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname "wan0" masquerade
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"""


def find_missing() -> str:
    """Say by name what this machine lacks for the lab; empty where it lacks nothing."""
    for tool, package in TOOLS.items():
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is missing (Debian package {package})"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"pmmux-try-{os.getpid()}"
    tried = subprocess.run(
        ["ip", "netns", "add", name], env={"PATH": _PATH}, capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"no permission for network namespaces: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], env={"PATH": _PATH}, check=False)
    return ""


class Lab:
    """
    One network of its own: nothing is shared with another, nor with another process's.

    @param options: lines of miniupnpd's configuration, added to the usual ones or replacing them.
    @param permissions: who may map what, in its own words.
    """

    def __init__(self, permissions: Sequence[str] = USUAL_PERMISSIONS, **options: str) -> None:
        self._permissions = permissions
        self.directory = Path(tempfile.mkdtemp(prefix="pmmux-nat-"))
        self._prefix = f"pm{os.getpid()}-{next(_numbers)}"
        self._daemon: subprocess.Popen[bytes] | None = None
        self.options = {
            "ext_ifname": "wan0",
            "listening_ip": "br0",
            "http_port": "5000",
            "enable_natpmp": "yes",
            "enable_upnp": "yes",
            "min_lifetime": "120",
            "max_lifetime": "86400",
            "secure_mode": "yes",
            "force_igd_desc_v1": "no",
            "notify_interval": "900",
            "system_uptime": "no",
            "upnp_table_name": "filter",
            "upnp_nat_table_name": "filter",
            "upnp_forward_chain": "miniupnpd",
            "upnp_nat_chain": "prerouting_miniupnpd",
            "upnp_nat_postrouting_chain": "postrouting_miniupnpd",
            "uuid": SSDP_UUID,
            **options,
        }

    def name(self, place: str) -> str:
        """The namespace of C{client}, C{other}, C{router} or C{outside}."""
        return f"{self._prefix}-{place}"

    def run(self, place: str, *command: str, check: bool = True) -> str:
        """Run a command in a namespace, to its end."""
        return self._call("ip", "netns", "exec", self.name(place), *command, check=check)

    def popen(self, place: str, command: list[str], **options: object) -> subprocess.Popen[str]:
        """Start a command in a namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name(place), *command],
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def up(self, daemon: bool = True) -> None:
        """Make the network, and start the daemon unless something else is to be the gateway."""
        names = {place: self.name(place) for place in PLACES}
        self._batch("", *(f"netns add {name}" for name in names.values()))
        for place in PLACES:
            # Link-local addresses are to be there at once, and not after a second of looking for others.
            script = "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done"
            if place == "router":
                for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                    script += f"; echo 1 > /proc/sys/net/{setting}"
            self.run(place, "sh", "-c", script)
        self._batch(
            "",
            f"link add eth0 netns {names['client']} type veth peer name v2 netns {names['router']}",
            f"link add eth0 netns {names['other']} type veth peer name v3 netns {names['router']}",
            f"link add wan0 netns {names['router']} type veth peer name eth0 netns {names['outside']}",
        )
        self._batch(
            "router",
            "link set lo up",
            "link add br0 type bridge",
            "link set v2 master br0 up",
            "link set v3 master br0 up",
            f"addr add {ROUTER}/24 dev br0",
            f"addr add {LAN_IPV6}1/64 dev br0 nodad",
            "link set br0 up",
            f"addr add {OUTER}/24 dev wan0",
            "addr add 2a00:1::1/64 dev wan0 nodad",
            "link set wan0 up",
        )
        # The LAN before the outside: by IPv6 miniupnpd announces itself on what has come up first.
        for number, place in ((2, "client"), (3, "other")):
            self._batch(
                place,
                "link set lo up",
                f"addr add {LAN}.{number}/24 dev eth0",
                f"addr add {LAN_IPV6}{number}/64 dev eth0 nodad",
                "link set eth0 up",
                f"route add default via {ROUTER}",
                f"route add default via {LAN_IPV6}1",
            )
        self._batch(
            "outside",
            "link set lo up",
            f"addr add {OUTSIDE}/24 dev eth0",
            f"addr add {OUTSIDE_IPV6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add {LAN_IPV6}/64 via 2a00:1::1",
        )
        self.load_rules()
        if daemon:
            self.start_daemon()

    def down(self) -> None:
        """Undo all of it."""
        self.stop_daemon(signal.SIGKILL)
        self._batch("", *(f"netns del {self.name(place)}" for place in PLACES), check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def load_rules(self) -> None:
        """Empty the router's tables, as a restart of the whole router does."""
        rules = self.directory / "rules.nft"
        rules.write_text(RULES)
        self.run("router", "nft", "-f", str(rules))

    def list_mappings(self) -> str:
        """The router's own rules for mapped ports."""
        return self.run("router", "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")

    def start_daemon(self) -> None:
        """Start miniupnpd and wait until it listens."""
        configuration = self.directory / "miniupnpd.conf"
        lines = [f"{key}={value}" for key, value in self.options.items()]
        lines += self._permissions
        configuration.write_text("\n".join(lines) + "\n")
        process_file = self.directory / "miniupnpd.pid"
        process_file.unlink(missing_ok=True)
        with (self.directory / "miniupnpd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["ip", "netns", "exec", self.name("router"), "miniupnpd", "-d", "-f", str(configuration),
                 "-P", str(process_file)],
                env={"PATH": _PATH}, stdout=log, stderr=log,
            )  # fmt: skip
        upnp = self.options["enable_upnp"] == "yes"
        table, port = ("tcp", int(self.options["http_port"])) if upnp else ("udp", 5351)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if f":{port:04X} " in self.run("router", "cat", f"/proc/net/{table}", f"/proc/net/{table}6"):
                return
            time.sleep(_LOOK_SECONDS)
        raise AssertionError("miniupnpd does not listen: " + (self.directory / "miniupnpd.log").read_text())

    def stop_daemon(self, number: int = signal.SIGTERM) -> None:
        """Stop miniupnpd, politely or not."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.send_signal(number)
            try:
                daemon.wait(timeout=_ENDS_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                # A signal just before it waits for packets is seen only with the next one.
                daemon.kill()
                daemon.wait()

    def _batch(self, place: str, *lines: str, check: bool = True) -> None:
        """Run many C{ip} commands at once, in a namespace or in none."""
        where = ("-netns", self.name(place)) if place else ()
        self._call("ip", *where, "-force", "-batch", "-", check=check, given="\n".join(lines) + "\n")

    def _call(self, *command: str, check: bool = True, given: str = "") -> str:
        done = subprocess.run(
            command, env={"PATH": _PATH}, input=given, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout
