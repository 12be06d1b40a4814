"""Certificates and TLS of listeners, changed by a reload."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from pmmux.test.authority import Authority
from tests.support.case import OnFastPath, OnPortablePath, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import Pmmux
from tests.test_reload import REFUSED, ReloadCase, backend

AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example.org")
OTHER = AUTHORITY.issue("other.example.org")


class TLSReloadTests:
    def setUp(self) -> None:
        super().setUp()
        self.files = self.make_directory("files")
        self.root = AUTHORITY.root.write(self.files / "root.pem", AUTHORITY.root_pem)
        self.paths = {
            "shop": SHOP.write(self.files / "shop.pem"),
            "other": OTHER.write(self.files / "other.pem"),
        }
        self.upstream = backend("echo", Peer(self, echo).port)
        self.started: Pmmux

    def config(self, *certificates: str, listener: str = "", more: str = "") -> str:
        sections = "".join(f"[certificate {name}]\npath = {self.paths[name]}\n" for name in certificates)
        front = f"[listener front]\nbind = 127.0.0.1\nport = ?\n{listener}\n"
        return f"[pmmux]\nmux-only = true\ndetect-timeout = 500\n{front}{sections}{more}{self.upstream}"

    def begin(self, text: str) -> None:
        self.started = self.start(text, may_trouble=True)
        self.port = self.started.port

    def change(self, text: str, expected: str | None = None) -> None:
        """Reload; a listener that has changed takes over the port that the system chose."""
        text = text.replace("port = ?", f"port = {self.port}")
        if expected is None:
            self.reload(self.started, text)
        else:
            self.reload(self.started, text, expected)

    def secure(self, name: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.root)
        secured = context.wrap_socket(self.connect(self.port), server_hostname=name)
        self.addCleanup(secured.close)
        return secured

    def shown(self, name: str) -> str:
        """Whose certificate is shown to who asks for C{name}; empty where TLS is not terminated."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = self.connect(self.port)
        try:
            with context.wrap_socket(client, server_hostname=name) as secured:
                octets = secured.getpeercert(True)
        except (ssl.SSLError, ConnectionResetError):
            return ""
        certificates = {"shop": SHOP, "other": OTHER}
        known = {
            ssl.PEM_cert_to_DER_cert(each.certificate_pem.decode()): name
            for name, each in certificates.items()
        }
        return known.get(octets, "made up")

    def check_echo(self, client: socket.socket) -> None:
        client.sendall(b"hello")
        self.assertEqual(read_exactly(client, 5), b"hello")

    def test_certificates_come_and_go(self) -> None:
        self.begin(self.config("shop"))
        standing = self.secure("shop.example.org")
        self.check_echo(standing)
        self.change(self.config("shop", "other"))
        self.check_echo(self.secure("other.example.org"))
        self.check_echo(self.secure("shop.example.org"))
        self.change(self.config("other"))
        self.check_echo(self.secure("other.example.org"))
        self.assertNotEqual(self.shown("shop.example.org"), "shop")
        # Without any, TLS is not terminated any more: what comes back is what was said.
        self.change(self.config())
        self.assertEqual(self.shown("other.example.org"), "")
        client = self.connect(self.port)
        self.check_echo(client)
        self.change(self.config("shop"))
        self.check_echo(self.secure("shop.example.org"))
        # Who came before goes on as they began.
        self.check_echo(client)
        self.check_echo(standing)

    def test_another_file_of_the_same_name(self) -> None:
        self.begin(self.config("shop"))
        self.assertEqual(self.shown("shop.example.org"), "shop")
        self.paths["shop"] = self.paths["other"]
        self.change(self.config("shop"))
        self.assertEqual(self.shown("other.example.org"), "other")

    def test_a_file_that_was_replaced(self) -> None:
        # Told by the signal, not by looking at the file now and then.
        self.begin(self.config("shop"))
        Path(self.paths["shop"]).write_bytes(OTHER.pem)
        self.change(self.config("shop"))
        self.assertEqual(self.shown("other.example.org"), "other")

    def test_listener(self) -> None:
        self.begin(self.config("shop"))
        self.change(self.config("shop", listener="tls = require"))
        self.check_echo(self.secure("shop.example.org"))
        plain = self.connect(self.port)
        plain.sendall(b"hello")
        self.assert_ended(plain)
        self.change(self.config("shop", listener="tls = off"))
        self.assertEqual(self.shown("shop.example.org"), "")
        self.check_echo(self.connect(self.port))
        self.change(self.config("shop", "other", listener="tls-pass = shop.example.org"))
        self.assertEqual(self.shown("shop.example.org"), "")
        self.assertEqual(self.shown("other.example.org"), "other")

    def test_made_up_certificates(self) -> None:
        self.begin(self.config())
        self.change(self.config(more="[tls]\ngenerate-certificates = true\n"))
        self.assertEqual(self.shown("any.example.org"), "made up")
        self.change(self.config())
        self.assertEqual(self.shown("any.example.org"), "")

    def test_a_wrong_one_changes_nothing(self) -> None:
        self.begin(self.config("shop"))
        self.paths["other"] = str(self.files / "missing.pem")
        self.change(self.config("shop", "other"), REFUSED)
        self.assertIn("missing.pem", self.messages(self.started))
        self.check_echo(self.secure("shop.example.org"))
        self.assertEqual(self.started.stop(), 0)


class FastTLSReloadTests(TLSReloadTests, OnFastPath, ReloadCase):
    pass


class PortableTLSReloadTests(TLSReloadTests, OnPortablePath, ReloadCase):
    pass
