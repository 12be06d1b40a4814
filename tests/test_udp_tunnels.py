"""Tunnels over UDP with the real programs: WireGuard in namespaces, OpenVPN on loopback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.case import PmmuxCase, find_program
from tests.support.datagrams import DatagramServer, ask, datagram_client, start_server
from tests.support.namespaces import Namespace, needs_namespaces
from tests.support.waiting import wait_for
from tests.test_udp import backend, config

WIREGUARD_PORT = 51820
TUNNEL = {"server": "10.214.0.1", "client": "10.214.0.2"}
TUN_DEVICE = Path("/dev/net/tun")
DONE = "Initialization Sequence Completed"


@needs_namespaces("wg", "ping")
class WireGuardTests(PmmuxCase):
    """A pair of namespaces, with pmmux between them."""

    def add_device(self, space: Namespace, name: str) -> None:
        """The kernel's WireGuard where it has one, else the one in user space."""
        made = subprocess.run(
            space.command("ip", "link", "add", name, "type", "wireguard"), capture_output=True, check=False
        )
        if made.returncode == 0:
            return
        if find_program("wireguard-go") is None or not TUN_DEVICE.exists():
            self.skipTest("no WireGuard in the kernel, and no wireguard-go")
        self.spawn(
            space.command("wireguard-go", "--foreground", name),
            env={**os.environ, "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"},
        )

        def is_there() -> bool:
            shown = subprocess.run(space.command("wg", "show", name), capture_output=True, check=False)
            return shown.returncode == 0

        wait_for(is_there, "wireguard-go")

    def make_keys(self, name: str) -> tuple[Path, str]:
        """@return: the file of a private key, and the public one."""
        private = self.run_command(["wg", "genkey"]).strip()
        path = self.directory / f"{name}.key"
        path.write_text(private)
        return path, self.run_command(["wg", "pubkey"], input=private.encode()).strip()

    def test_ping_through(self) -> None:
        """The handshake and what follows pass, beside another rule on the port."""
        spaces = {"server": Namespace(self, 1), "client": Namespace(self, 2)}
        keys = {name: self.make_keys(name) for name in spaces}
        for name, space in spaces.items():
            # Interfaces of user space have a socket each by their name.
            device = f"pmw{os.getpid() % 100000}{name[0]}"
            self.add_device(space, device)
            other = "client" if name == "server" else "server"
            peer = ["peer", keys[other][1], "allowed-ips", "10.214.0.0/24"]
            if name == "client":
                started = self.start(
                    config(
                        backend("dns", 9, "detect = dns"),
                        backend("vpn", f"{spaces['server'].theirs}:{WIREGUARD_PORT}", "detect = wireguard"),
                        bind=space.ours,
                    )
                )
                peer += ["endpoint", f"{space.ours}:{started.port}"]
            space.run(
                "wg",
                "set",
                device,
                "listen-port",
                str(WIREGUARD_PORT),
                "private-key",
                str(keys[name][0]),
                *peer,
            )
            space.run("ip", "address", "add", f"{TUNNEL[name]}/24", "dev", device)
            space.run("ip", "link", "set", device, "up")
        written = spaces["client"].run("ping", "-c", "3", "-i", "0.2", "-W", "5", TUNNEL["server"])
        self.assertIn(" 0% packet loss", written)
        written = spaces["server"].run("ping", "-c", "3", "-i", "0.2", "-W", "5", TUNNEL["client"])
        self.assertIn(" 0% packet loss", written)


class WireGuardHandshakeTests(PmmuxCase):
    """The octets of a handshake, where there is no more than that."""

    def test_initiation(self) -> None:
        """148 octets of type 1; anything else is not it."""
        vpn = DatagramServer(self, lambda octets: b"vpn")
        rest = DatagramServer(self, lambda octets: b"rest")
        started = self.start(
            config(backend("vpn", vpn.port, "detect = wireguard"), backend("rest", rest.port))
        )
        initiation = b"\1\0\0\0" + os.urandom(112) + bytes(32)
        for octets, expected in (
            (initiation, b"vpn"),
            (initiation[:-1], b"rest"),
            (b"\2" + initiation[1:], b"rest"),
        ):
            self.assertEqual(ask(datagram_client(self, started.port), octets), expected)


class OpenVPNTests(PmmuxCase):
    """openvpn on both sides, without a device: its TLS handshake and its keys go through."""

    skip = None if find_program("openvpn") and find_program("openssl") else "missing: openvpn"

    def make_certificate(self, name: str) -> None:
        """A key, and a certificate that the authority of the test signed."""
        directory = str(self.directory)
        new_key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            f"/CN={name}",
        ]
        if name == "ca":
            self.run_command(
                ["openssl", "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"],
                cwd=directory,
            )
            return
        self.run_command(
            ["openssl", "req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"], cwd=directory
        )
        self.run_command(
            [
                "openssl",
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-out",
                f"{name}.pem",
                "-days",
                "2",
            ],
            cwd=directory,
        )

    def command(self, name: str, *more: str) -> list[str]:
        """What runs it; its log has its name."""
        options = {
            "dev": "null",
            "proto": "udp4",
            "ca": "ca.pem",
            "cert": f"{name}.pem",
            "key": f"{name}.key",
            "verb": "3",
            "data-ciphers": "AES-256-GCM",
            "cipher": "AES-256-GCM",
            "log": f"{name}.log",
        }
        written = [text for option, value in options.items() for text in (f"--{option}", value)]
        return [find_program("openvpn") or "", "--ifconfig-noexec", *written, *more]

    def shake_hands(self, *wrapping: str) -> str:
        """
        Let a client and a server meet through pmmux.

        @param wrapping: options of both; C{{}} stands for who it is.
        @return: what pmmux found.
        """
        where = str(self.directory)
        own = {name: [option.format(name) for option in wrapping] for name in ("server", "client")}
        server = ("--tls-server", "--dh", "none", *own["server"])
        upstream, _ = start_server(
            self, lambda port: self.command("server", *server, "--lport", str(port)), cwd=where
        )
        started = self.start(
            config(
                backend("vpn", upstream, "detect = openvpn"),
                backend("rest", 9),
                more="[pmmux]\nudp-idle-timeout = 1s\n",
            )
        )
        remote = ("--nobind", "--remote", "127.0.0.1", str(started.port))
        self.spawn(self.command("client", "--tls-client", *remote, *own["client"]), cwd=where)
        logs = [self.directory / f"{name}.log" for name in ("server", "client")]
        wait_for(
            lambda: all(log.exists() and DONE in log.read_text() for log in logs),
            "both sides connected",
            30,
        )
        protocol: str = started.wait_finished(1, 30)[0]["protocol"]
        return protocol

    def setUp(self) -> None:
        super().setUp()
        for name in ("ca", "server", "client"):
            self.make_certificate(name)
        self.run_command(
            [find_program("openvpn") or "", "--genkey", "secret", str(self.directory / "ta.key")]
        )

    def test_plain(self) -> None:
        """By itself."""
        self.assertEqual(self.shake_hands(), "openvpn")

    def test_tls_auth(self) -> None:
        """With a key of both that signs."""
        self.assertEqual(self.shake_hands("--tls-auth", "ta.key"), "openvpn")

    def test_tls_crypt(self) -> None:
        """With a key of both that encrypts."""
        self.assertEqual(self.shake_hands("--tls-crypt", "ta.key"), "openvpn")

    def test_tls_crypt_v2(self) -> None:
        """With a key of each client's own, which it sends along."""
        program, where = find_program("openvpn") or "", str(self.directory)
        self.run_command([program, "--genkey", "tls-crypt-v2-server", "v2-server.key"], cwd=where)
        wrapping = ["--tls-crypt-v2", "v2-server.key"]
        self.run_command([program, *wrapping, "--genkey", "tls-crypt-v2-client", "v2-client.key"], cwd=where)
        self.assertEqual(self.shake_hands("--tls-crypt-v2", "v2-{}.key"), "openvpn")
