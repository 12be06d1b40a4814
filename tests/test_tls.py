"""TLS, end to end: curl, openssl and Python as clients, on both data paths."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from pmmux.test.authority import Authority, Issued
from pmmux.test.hellos import client_hello
from pmmux.wire.proxyheader import Endpoint, ProxyHeader, read_proxy_header, write_v2
from pmmux.wire.reading import Incomplete
from tests.support.case import (
    SOCKET_SECONDS,
    OnFastPath,
    OnPortablePath,
    PmmuxCase,
    find_program,
    needs,
    read_all,
    read_exactly,
    reset,
)
from tests.support.peers import Peer, answer_with, echo
from tests.support.process import Pmmux, clean_environment, twistd
from tests.support.waiting import wait_for

AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example.org", "127.0.0.1")
WILD = AUTHORITY.issue("*.wild.example.org")
CLIENT = AUTHORITY.issue(common_name="a client")
STRANGERS = Authority("another root")
STRANGER = STRANGERS.issue(common_name="a stranger")
BIG = os.urandom(8 << 20)


class TLSCase(PmmuxCase):
    """Certificates in files, and clients that trust them."""

    def setUp(self) -> None:
        super().setUp()
        self.files = self.make_directory("files")
        self.root = AUTHORITY.root.write(self.files / "root.pem", AUTHORITY.root_pem)
        self.shop = SHOP.write(self.files / "shop.pem")
        self.wild = WILD.write(self.files / "wild.pem")
        self.client = CLIENT.write(self.files / "client.pem")
        self.stranger = STRANGER.write(self.files / "stranger.pem")

    def config(self, backends: str, listener: str = "", more: str = "") -> str:
        return f"""
[pmmux]
detect-timeout = 1s

[listener front]
bind = 127.0.0.1
port = ?
{listener}

[certificate shop]
path = {self.shop}

[certificate wild]
path = {self.wild}

{more}
{backends}
"""

    def start_echo(self, listener: str = "", more: str = "") -> Pmmux:
        return self.start(self.config(backend("echo", Peer(self, echo).port), listener, more))

    def context(self, **more: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.root)
        if "certificate" in more:
            context.load_cert_chain(more["certificate"])
        if "alpn" in more:
            context.set_alpn_protocols(more["alpn"])
        if "version" in more:
            context.minimum_version = context.maximum_version = more["version"]
        return context

    def secure(self, where: Any, name: str = "shop.example.org", **more: Any) -> ssl.SSLSocket:
        context = more.pop("context", None) or self.context(**more)
        session = more.get("session")
        secured = context.wrap_socket(self.connect(where), server_hostname=name, session=session)
        self.addCleanup(secured.close)
        return secured

    def openssl(
        self, pmmux: Pmmux, *arguments: str, said: bytes = b"", name: str = "shop.example.org"
    ) -> str:
        command = [
            find_program("openssl"),
            "s_client",
            "-connect",
            f"127.0.0.1:{pmmux.port}",
            "-CAfile",
            self.root,
        ]
        done = subprocess.run(
            [*command, "-servername", name, *arguments],
            input=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
        return done.stdout.decode("latin-1")


def backend(name: str, port: int, *lines: str) -> str:
    return "\n".join((f"[backend {name}]", "protocol = pass", f"target = 127.0.0.1:{port}", *lines, ""))


class TerminationTests:
    def test_every_version(self) -> None:
        pmmux = self.start_echo()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            secured = self.secure(pmmux, version=version)
            secured.sendall(b"hello")
            self.assertEqual(read_exactly(secured, 5), b"hello")
            self.assertEqual(secured.version(), version.name.replace("TLSv1_", "TLSv1."))

    def test_old_versions_are_refused(self) -> None:
        pmmux = self.start_echo()
        found = self.openssl(pmmux, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertIn("protocol version", found)

    def test_certificate_by_name(self) -> None:
        pmmux = self.start_echo()
        for name, expected in (("shop.example.org", SHOP), ("any.wild.example.org", WILD)):
            secured = self.secure(pmmux, name)
            found = secured.getpeercert(True)
            self.assertEqual(ssl.DER_cert_to_PEM_cert(found).encode(), expected.certificate_pem)

    def test_content_routes_again(self) -> None:
        names = ("web", "ssh", "other")
        ports = {name: Peer(self, answer_with(name.encode())).port for name in names}
        pmmux = self.start(
            self.config(
                backend(
                    "web",
                    ports["web"],
                    "detect = http",
                    "host = shop\\.example\\.org",
                    "property[tls] = true",
                )
                + backend("ssh", ports["ssh"], "detect = ssh", "sni = shop.example.org")
                + backend(
                    "other",
                    ports["other"],
                    "property[tls.terminated] = true",
                    "property[tls.protocol] = TLSv1\\.3",
                )
            )
        )
        for said, expected in (
            (b"GET / HTTP/1.1\r\nHost: shop.example.org\r\n\r\n", b"web"),
            (b"SSH-2.0-x\r\n", b"ssh"),
            (b"anything", b"other"),
        ):
            secured = self.secure(pmmux)
            secured.sendall(said)
            self.assertEqual(read_all(secured), expected)
            secured.close()
        self.assertEqual({line["sni"] for line in pmmux.wait_finished(3)}, {"shop.example.org"})

    def test_pass_through_and_termination_on_one_port(self) -> None:
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.load_cert_chain(self.wild)

        def serve(sock: socket.socket) -> None:
            with other.wrap_socket(sock, server_side=True) as secured:
                secured.sendall(b"the upstream's own")

        config = self.config(
            backend(
                "passed",
                Peer(self, serve).port,
                "sni = pass.wild.example.org",
                "property[tls.terminated] = false",
            )
            + backend("plain", Peer(self, answer_with(b"plain")).port, "property[tls] = false")
            + backend("terminated", Peer(self, answer_with(b"terminated")).port),
            "tls-pass = pass.wild.example.org",
        )
        pmmux = self.start(config)

        def visit(number: int) -> None:
            if number % 3 == 0:
                self.assertEqual(read_all(self.secure(pmmux, "pass.wild.example.org")), b"the upstream's own")
                return
            client = self.secure(pmmux) if number % 3 == 1 else self.connect(pmmux)
            client.sendall(b"x")
            self.assertEqual(read_all(client), b"terminated" if number % 3 == 1 else b"plain")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(visit, range(30)))

    def test_require(self) -> None:
        pmmux = self.start_echo("tls = require")
        client = self.connect(pmmux)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assert_ended(client)
        self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "negotiation-failed")
        secured = self.secure(pmmux)
        secured.sendall(b"hello")
        self.assertEqual(read_exactly(secured, 5), b"hello")

    def test_silent_client_reaches_a_server_that_speaks_first(self) -> None:
        speaks = Peer(self, lambda sock: sock.sendall(b"220 ready\r\n"))
        pmmux = self.start(self.config(backend("smtp", speaks.port)))
        self.assertEqual(read_all(self.connect(pmmux)), b"220 ready\r\n")

    def test_default_and_unknown_names(self) -> None:
        pmmux = self.start_echo()
        client = self.connect(pmmux)
        hello = client_hello(b"unknown.example.org")
        client.sendall(hello)
        self.assertEqual(read_exactly(client, len(hello)), hello)
        default = AUTHORITY.issue("default.example.org").write(self.files / "default.pem")
        pmmux = self.start_echo(more=f"[certificate rest]\npath = {default}\ndefault = yes\n")
        context = self.context()
        context.check_hostname = False
        for name in ("unknown.example.org", None):
            secured = self.secure(pmmux, name, context=context)
            self.assertEqual(secured.getpeercert()["subject"], ((("commonName", "default.example.org"),),))

    def test_generated(self) -> None:
        pmmux = self.start_echo(more="[tls]\ngenerate-certificates = yes\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        found = [self.secure(pmmux, "new.example.org", context=context).getpeercert(True) for _ in range(2)]
        self.assertEqual(found[0], found[1])
        self.assertNotEqual(
            found[0], self.secure(pmmux, "other.example.org", context=context).getpeercert(True)
        )

    def test_alpn(self) -> None:
        pmmux = self.start_echo("alpn = h2, http/1.1")
        for offered, expected in ((["http/1.1", "h2"], "h2"), (["x", "http/1.1"], "http/1.1"), ([], None)):
            more = {"alpn": offered} if offered else {}
            self.assertEqual(self.secure(pmmux, **more).selected_alpn_protocol(), expected)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.secure(pmmux, alpn=["imap"])
        self.assertIn("no application protocol in common", pmmux.wait_finished(1)[0]["detail"])

    def test_client_certificates(self) -> None:
        listener = f"client-certificates = {{}}\nclient-ca = {self.root}"
        port = Peer(self, answer_with(b"known")).port
        known = backend(
            "known", port, "property[tls.client.name] = a client", "property[tls.client.verified] = true"
        )
        rest = backend("rest", Peer(self, answer_with(b"unknown")).port)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            pmmux = self.start(self.config(known + rest, listener.format("optional")))
            for more, expected in (({"certificate": self.client}, b"known"), ({}, b"unknown")):
                secured = self.secure(pmmux, version=version, **more)
                secured.sendall(b"x")
                self.assertEqual(read_all(secured), expected)
            required = self.start(self.config(known + rest, listener.format("require")))
            secured = self.secure(required, version=version, certificate=self.client)
            secured.sendall(b"x")
            self.assertEqual(read_all(secured), b"known")
            for started, more in (
                (required, {}),
                (required, {"certificate": self.stranger}),
                (pmmux, {"certificate": self.stranger}),
            ):
                with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                    read_exactly(self.secure(started, version=version, **more), 1) or self.fail(
                        "it ended well"
                    )

    def test_resumption(self) -> None:
        for certificates in ("", f"client-certificates = require\nclient-ca = {self.root}"):
            pmmux = self.start_echo(certificates)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = self.context(version=version, certificate=self.client)
                session = None
                for is_reused in (False, True, True):
                    secured = self.secure(pmmux, context=context, session=session)
                    secured.sendall(b"hello")
                    self.assertEqual(read_exactly(secured, 5), b"hello")
                    self.assertEqual(secured.session_reused, is_reused)
                    session = secured.session

    def test_resumption_across_rotations(self) -> None:
        """Tickets of the key before still count; those of the one before that do not."""
        pmmux = self.start_echo(more="[tls]\nticket-rotation = 1s\n")
        context = self.context(version=ssl.TLSVersion.TLSv1_2)
        session = self.secure(pmmux, context=context).session

        def is_reused() -> bool:
            with self.secure(pmmux, context=context, session=session) as secured:
                return secured.session_reused

        wait_for(lambda: not is_reused(), "the key being forgotten")
        session = self.secure(pmmux, context=context).session
        wait_for(is_reused, "the next key")

    def test_resumption_by_other_clients(self) -> None:
        """What OpenSSL keeps in a file resumes in another process."""
        pmmux = self.start(self.config("[backend web]\nprotocol = http-response\n"))
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for version in ("-tls1_2", "-tls1_3"):
            kept = str(self.files / f"session{version}")
            # To the end: in TLS 1.3 the tickets follow the handshake.
            usual = (version, "-ign_eof")
            found = self.openssl(pmmux, *usual, "-sess_out", kept, said=request)
            self.assertIn("New, TLSv1.", found)
            for _ in range(2):
                found = self.openssl(pmmux, *usual, "-sess_in", kept, "-sess_out", kept, said=request)
                self.assertIn("Reused, TLSv1.", found)
                self.assertIn("200 OK", found)

    def test_forms_of_files(self) -> None:
        """PKCS#12 and DER, and passwords from the environment and from files."""
        write = Issued.write
        pfx = write(SHOP, self.files / "shop.pfx", SHOP.pfx(b"secret"))
        der = write(WILD, self.files / "wild.der", WILD.certificate.public_bytes(Encoding.DER))
        key = write(WILD, self.files / "wild.key", WILD.key_pem(b"other"))
        password = write(WILD, self.files / "password", b"other\n")
        config = self.config(backend("echo", Peer(self, echo).port))
        config = config.replace(f"path = {self.shop}", f"path = {pfx}\npassword = {{{{env:SHOP_PASSWORD}}}}")
        config = config.replace(
            f"path = {self.wild}", f"path = {der}\nkey = {key}\npassword-file = {password}"
        )
        pmmux = self.start(config, environment={"SHOP_PASSWORD": "secret"})
        context = self.context()
        # In DER form there is no room for the chain.
        context.load_verify_locations(cadata=AUTHORITY.intermediate.certificate_pem.decode())
        for name in ("shop.example.org", "any.wild.example.org"):
            secured = self.secure(pmmux, name, context=context)
            secured.sendall(b"hello")
            self.assertEqual(read_exactly(secured, 5), b"hello")
        self.assertEqual(told(pmmux, "certificate wild: it comes without its chain"), 1)

    def test_announced_to_us_and_on(self) -> None:
        """A PROXY header and the hello in one segment; the upstream is told of the handshake."""
        listening = self.listen()
        more = ("send-proxy = v2", "send-proxy-tlv = authority, alpn, ssl, unique-id, crc32c")
        listener = "proxy-protocol = require\nproxy-protocol-from = 127.0.0.1\nalpn = http/1.1\n"
        listener += f"client-certificates = require\nclient-ca = {self.root}"
        pmmux = self.start(self.config(backend("up", listening.getsockname()[1], *more), listener))
        announced = ProxyHeader(
            2, False, "ipv4", "tcp", Endpoint("192.0.2.1", 5), Endpoint("198.51.100.2", 443)
        )
        client = self.connect(pmmux)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self.context(certificate=self.client, alpn=["http/1.1"])
        secured = context.wrap_bio(incoming, outgoing, server_hostname="shop.example.org")
        prelude = write_v2(announced, True)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                secured.do_handshake()
                break
            client.sendall(prelude + outgoing.read())
            prelude = b""
            incoming.write(client.recv(1 << 16))
        secured.write(b"hello")
        client.sendall(outgoing.read())
        upstream = self.accept(listening)
        octets = b""
        while isinstance(header := read_proxy_header(octets), Incomplete):
            octets += upstream.recv(1 << 16)
        self.assertEqual((header.source, header.destination), (announced.source, announced.destination))
        facts, told_ssl = header.facts, header.facts.ssl
        self.assertEqual((facts.authority, facts.alpn), ("shop.example.org", b"http/1.1"))
        self.assertEqual((told_ssl.verify, told_ssl.common_name), (0, "a client"))
        self.assertEqual((told_ssl.version, told_ssl.flags & 3), (secured.version(), 3))
        upstream.close()
        client.close()
        (line,) = pmmux.wait_finished(1)
        self.assertEqual((line["client"], line["sni"]), ("192.0.2.1:5", "shop.example.org"))
        self.assertTrue(line["peer"].startswith("127.0.0.1:"))

    def test_no_tickets(self) -> None:
        pmmux = self.start_echo(more="[tls]\ntickets = no\n")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version=version)
            secured = self.secure(pmmux, context=context)
            secured.sendall(b"hello")
            read_exactly(secured, 5)
            again = self.secure(pmmux, context=context, session=secured.session)
            self.assertFalse(again.session_reused)

    def test_stapling(self) -> None:
        (self.files / "ocsp.der").write_bytes(AUTHORITY.ocsp_response(WILD))
        pmmux = self.start_echo(
            more=f"[certificate stapled]\npath = {self.wild}\nhosts = stapled.example.org\n"
            + f"ocsp = {self.files}/ocsp.der\n",
        )
        self.assertIn(
            "OCSP Response Status: successful", self.openssl(pmmux, "-status", name="stapled.example.org")
        )
        self.assertIn("OCSP response: no response sent", self.openssl(pmmux, "-status"))

    def test_backend_that_answers_itself_ends_with_the_client(self) -> None:
        pmmux = self.start(self.config("[backend web]\nprotocol = http-response\n"))
        for is_polite in (True, False):
            secured = self.secure(pmmux)
            secured.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.org\r\n\r\n")
            self.assertIn(b"200 OK", secured.recv(1 << 16))
            if is_polite:
                HalfClosed(self, secured).read_all()
            else:
                bare(secured).shutdown(socket.SHUT_WR)
        pmmux.wait_finished(2)
        self.assertEqual(pmmux.outcomes(), {"closed": 2})

    def test_every_combination(self) -> None:
        """Versions, application protocols, client certificates and resumption, by openssl."""
        listener = f"alpn = h2, http/1.1\nclient-certificates = optional\nclient-ca = {self.root}"
        who = "property[tls.client.name] = a client"
        known = f"[backend known]\nprotocol = http-response\n{who}\nresponse.body = <known>\n"
        rest = "[backend rest]\nprotocol = http-response\nresponse.body = <unknown>\n"
        pmmux = self.start(self.config(known + rest, listener))
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        versions = (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"))
        protocols = ((), ("-alpn", "http/1.1"), ("-alpn", "x,http/1.1"))
        certificates = (
            ((), "unknown"),
            (("-cert", self.client, "-cert_chain", self.client), "known"),
        )
        kept = str(self.files / "session")
        for (version, spoken), protocol, (certificate, body) in product(versions, protocols, certificates):
            usual = (version, "-ign_eof", *protocol, *certificate)
            for resuming, kind in ((("-sess_out", kept), "New"), (("-sess_in", kept), "Reused")):
                found = self.openssl(pmmux, *usual, *resuming, said=request)
                told = " ".join((*usual, *resuming))
                self.assertIn(f"{kind}, {spoken}", found, told)
                self.assertIn("ALPN protocol: http/1.1" if protocol else "No ALPN negotiated", found, told)
                self.assertIn(f"<{body}>", found, told)

    @needs("curl")
    def test_curl(self) -> None:
        listener = f"alpn = http/1.1\nclient-certificates = optional\nclient-ca = {self.root}"
        web = "[backend web]\nprotocol = http-response\nresponse.body = {scheme} {host}\n"
        pmmux = self.start(self.config(web, listener))
        url = f"https://shop.example.org:{pmmux.port}/"
        usual = [
            "curl",
            "-sS",
            "-m",
            "10",
            "--cacert",
            self.root,
            "--resolve",
            f"shop.example.org:{pmmux.port}:127.0.0.1",
        ]
        for version in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]):
            for http in ("--http1.1", "--http2", "--no-alpn"):
                for certificate in ([], ["--cert", self.client]):
                    self.assertEqual(
                        self.run_command([*usual, *version, http, *certificate, url]),
                        "https shop.example.org",
                    )
                    if "--tlsv1.2" in version:
                        # There curl resumes by the session's number alone, and takes no tickets.
                        continue
                    # A second connection of the same client resumes.
                    twice = ["-v", "--stderr", "-", "-H", "Connection: close", url]
                    told = self.run_command([*usual, *version, http, *certificate, *twice, url])
                    self.assertEqual(told.count("https shop.example.org"), 2)
                    self.assertEqual(len(re.findall("SSL re-?using session", told)), 1, told)


class StreamTests:
    """The octets, their ends, and their breaks."""

    def relay(self, version: Any = None) -> tuple[Pmmux, ssl.SSLSocket, socket.socket]:
        listening = self.listen()
        pmmux = self.start(self.config(backend("up", listening.getsockname()[1])))
        secured = self.secure(pmmux, **({"version": version} if version else {}))
        secured.sendall(b"hello")
        upstream = self.accept(listening)
        self.assertEqual(read_exactly(upstream, 5), b"hello")
        return pmmux, secured, upstream

    def test_bulk_both_ways(self) -> None:
        _, secured, upstream = self.relay()
        with ThreadPoolExecutor(2) as pool:
            down = pool.submit(upstream.sendall, BIG[::-1])
            up = pool.submit(read_exactly, upstream, len(BIG))
            self.assertTrue(exchange(secured, BIG, len(BIG)) == BIG[::-1])
            self.assertTrue(up.result(20) == BIG)
            down.result(20)

    def test_slow_reader_stops_the_sender(self) -> None:
        _, secured, upstream = self.relay()
        upstream.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += upstream.send(BIG)
        self.assertLess(sent, 64 << 20)
        self.assertEqual(len(read_exactly(secured, sent)), sent)

    def test_upstream_ends_first(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            pmmux, secured, upstream = self.relay(version)
            upstream.sendall(b"bye")
            upstream.shutdown(socket.SHUT_WR)
            # close_notify: Python would raise at an end without.
            self.assertEqual(secured.recv(10), b"bye")
            self.assertEqual(secured.recv(10), b"")
            with ThreadPoolExecutor(1) as pool:
                sent = pool.submit(secured.sendall, BIG)
                self.assertEqual(read_exactly(upstream, len(BIG)), BIG)
                sent.result(20)
            secured.close()
            self.assertEqual(read_all(upstream), b"")
            self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "closed")

    def test_client_ends_first(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            pmmux, secured, upstream = self.relay(version)
            octets = HalfClosed(self, secured)
            self.assertEqual(upstream.recv(10), b"")
            with ThreadPoolExecutor(1) as pool:
                sent = pool.submit(upstream.sendall, BIG)
                sent.add_done_callback(lambda _, upstream=upstream: upstream.close())
                self.assertEqual(octets.read_all(), BIG)
            self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "closed")

    def test_end_without_close_notify(self) -> None:
        _, secured, upstream = self.relay()
        secured.sendall(b"last")
        raw = bare(secured)
        raw.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(upstream), b"last")
        upstream.close()
        raw.close()

    def test_reset_by_client(self) -> None:
        pmmux, secured, upstream = self.relay()
        reset(bare(secured))
        self.assert_reset(upstream)
        self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "reset-by-client")

    def test_reset_by_upstream(self) -> None:
        pmmux, secured, upstream = self.relay()
        reset(upstream)
        self.assert_reset(bare(secured))
        self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "reset-by-upstream")

    def test_forged_record(self) -> None:
        _, secured, upstream = self.relay()
        raw = bare(secured)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assert_reset(upstream)
        raw.close()

    def test_server_that_closes_at_once(self) -> None:
        answer = os.urandom(32 * 1024)
        pmmux = self.start(self.config(backend("up", Peer(self, answer_with(answer)).port)))

        def fetch(_: int) -> bool:
            with self.context().wrap_socket(
                self.connect(pmmux), server_hostname="shop.example.org"
            ) as secured:
                secured.sendall(b"give")
                return read_all(secured) == answer

        with ThreadPoolExecutor(20) as pool:
            self.assertEqual(list(pool.map(fetch, range(100))), [True] * 100)
        pmmux.wait_finished(100)
        self.assertEqual(pmmux.outcomes(), {"closed": 100})


def bare(secured: ssl.SSLSocket) -> socket.socket:
    """What is below the TLS."""
    raw = socket.socket(fileno=secured.detach())
    raw.settimeout(SOCKET_SECONDS)
    return raw


def exchange(secured: ssl.SSLSocket, octets: bytes, count: int) -> bytes:
    """
    Send C{octets}, and read C{count} meanwhile.

    In one thread: OpenSSL's connections are not for two.
    """
    found = bytearray()
    sent = 0
    secured.setblocking(False)
    while sent < len(octets) or len(found) < count:
        is_idle = True
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if sent < len(octets):
                sent += secured.send(octets[sent : sent + (1 << 16)])
                is_idle = False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if len(found) < count:
                read = secured.recv(1 << 16)
                if not read:
                    break
                found += read
                is_idle = False
        if is_idle:
            select.select([secured], [secured] if sent < len(octets) else [], [], 1)
    secured.settimeout(SOCKET_SECONDS)
    return bytes(found)


class HalfClosed:
    """A client that has sent close_notify and reads on, which Python's sockets cannot."""

    def __init__(self, case: TLSCase, secured: ssl.SSLSocket) -> None:
        self.case = case
        self.secured = secured
        self.is_answered = False
        # Sends close_notify, and mostly fails for want of the answer.
        secured.settimeout(0)
        with contextlib.suppress(ssl.SSLError, OSError):
            secured.unwrap()
            self.is_answered = True
        secured.settimeout(20)

    def read_all(self) -> bytes:
        found = bytearray()
        while not self.is_answered:
            try:
                octets = self.secured.read(1 << 16)
            except ssl.SSLZeroReturnError:
                break
            if not octets:
                break
            found += octets
        return bytes(found)


class HostileTests:
    def test_what_begins_as_tls_and_is_broken_is_closed(self) -> None:
        pmmux = self.start_echo()
        hello = client_hello(b"shop.example.org")
        broken = [hello[:20] + b"\xff" * 40, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(300)]
        for octets in broken:
            client = self.connect(pmmux)
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
            self.assert_ended(client)
        self.assertEqual({line["outcome"] for line in pmmux.wait_finished(2)}, {"malformed"})

    def test_stalled_hello(self) -> None:
        pmmux = self.start_echo(more="[tls]\nhello-timeout = 1s\n")
        hello = client_hello(b"shop.example.org")
        client = self.connect(pmmux)
        started_at = time.monotonic()
        for octet in hello[:20]:
            try:
                client.sendall(bytes((octet,)))
            except OSError:
                break
            time.sleep(0.1)
        self.assert_ended(client)
        self.assertLess(time.monotonic() - started_at, SOCKET_SECONDS / 2)

    def test_stalled_handshake(self) -> None:
        pmmux = self.start(
            self.config(backend("echo", 1)).replace("detect-timeout = 1s", "negotiation-timeout = 1s")
        )
        client = self.connect(pmmux)
        outgoing = ssl.MemoryBIO()
        secured = self.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="shop.example.org")
        with contextlib.suppress(ssl.SSLWantReadError):
            secured.do_handshake()
        client.sendall(outgoing.read())
        self.assertTrue(client.recv(1 << 16))
        self.assert_ended(client)
        self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "negotiation-failed")

    def test_one_octet_segments(self) -> None:
        pmmux = self.start_echo()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = self.context().wrap_bio(incoming, outgoing, server_hostname="shop.example.org")
        client = self.connect(pmmux)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                for octet in outgoing.read():
                    client.sendall(bytes((octet,)))
                incoming.write(client.recv(1 << 16))
        secured.write(b"hello")
        for octet in outgoing.read():
            client.sendall(bytes((octet,)))
        while True:
            try:
                self.assertEqual(secured.read(5), b"hello")
                break
            except ssl.SSLWantReadError:
                incoming.write(client.recv(1 << 16))

    def test_plaintext_in_the_handshake(self) -> None:
        pmmux = self.start_echo()
        client = self.connect(pmmux)
        client.sendall(client_hello(b"shop.example.org") + b"GET / HTTP/1.0\r\n\r\n")
        with self.assertRaises((ConnectionResetError, AssertionError)):
            self.assertNotIn(b"GET", read_all(client))
            raise AssertionError
        self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "negotiation-failed")

    def test_broken_files_refuse_to_start(self) -> None:
        """Each fault names the file, the section and the option."""
        wrong = self.files / "wrong.pem"
        wrong.write_bytes(SHOP.certificate_pem + WILD.key_pem())
        stale = self.files / "other.der"
        stale.write_bytes(AUTHORITY.ocsp_response(SHOP))
        required = "client-certificates = require\nclient-ca = "
        upstream = backend("up", 1, "upstream-tls = yes", "upstream-tls-ca = {}")
        for config, place, told in (
            (self.config("", "client-certificates = require"), "[listener front] client-certificates", ""),
            (self.config("", f"client-ca = {self.root}"), "[listener front] client-ca", ""),
            (self.config("", required + "/nowhere"), "[listener front] client-ca", "/nowhere"),
            (self.config("", required + "/dev/null"), "[listener front] client-ca", "/dev/null"),
            (
                self.config("", required + self.files.as_posix()),
                "[listener front] client-ca",
                str(self.files),
            ),
            (self.config("", f"{required}{self.root}\ntls = off"), "[listener front] client-cert", "tls"),
            (
                self.config("", more=f"[certificate wrong]\npath = {wrong}\n"),
                "[certificate wrong]",
                str(wrong),
            ),
            (
                self.config("", more=f"[certificate wild2]\npath = {self.wild}\nocsp = {stale}\n"),
                "[certificate wild2]",
                str(stale),
            ),
            (self.config(upstream.format("/nowhere")), "[backend up] upstream-tls-ca", "/nowhere"),
            (self.config(upstream.format("/dev/null")), "[backend up] upstream-tls-ca", "/dev/null"),
        ):
            path = self.directory / "broken.ini"
            path.write_text(config + backend("rest", 1))
            done = subprocess.run(
                [twistd(), "-n", "--pidfile=", "pmmux", "--config", str(path), "--check"],
                capture_output=True,
                check=False,
                timeout=30,
                env=clean_environment(),
            )
            self.assertEqual(done.returncode, 1, done.stdout)
            (line,) = (line for line in done.stderr.decode().splitlines() if "broken.ini:" in line)
            self.assertIn(place, line)
            self.assertIn(told, line)


class Visits:
    """
    Clients that shake hands again and again, until L{stop}.

    @ivar seen: the certificates that they were shown, in DER form.
    """

    def __init__(self, case: TLSCase, port: int, threads: int = 2) -> None:
        self.seen: set[bytes] = set()
        self._context = case.context()
        self._port = port
        self._stopping = threading.Event()
        case.addCleanup(self._stopping.set)
        self._pool = ThreadPoolExecutor(threads)
        self._counts = [0] * threads
        self._visits = [self._pool.submit(self._visit, number) for number in range(threads)]

    def _visit(self, number: int) -> None:
        while not self._stopping.is_set():
            bare = socket.create_connection(("127.0.0.1", self._port), timeout=SOCKET_SECONDS)
            with self._context.wrap_socket(bare, server_hostname="shop.example.org") as secured:
                self.seen.add(secured.getpeercert(True))
                secured.sendall(b"hello")
                if read_exactly(secured, 5) != b"hello":
                    raise ConnectionError("no echo")
                self._counts[number] += 1

    def _wait(self, find: Callable[[], bool], what: str) -> None:
        wait_for(lambda: find() or any(each.done() for each in self._visits), what)

    def wait_for(self, issued: Issued) -> None:
        """Wait until they are shown C{issued}."""
        octets = issued.certificate.public_bytes(Encoding.DER)
        self._wait(lambda: octets in self.seen, "the new certificate")

    def stop(self, least: int = 20) -> None:
        """End when each has made C{least} handshakes; all that were made must have succeeded."""
        self._wait(lambda: min(self._counts) >= least, f"{least} handshakes of each")
        self._stopping.set()
        for each in self._visits:
            each.result(SOCKET_SECONDS)


class ReloadTests:
    def test_file_replaced_under_load(self) -> None:
        pmmux = self.start_echo()
        standing = self.secure(pmmux)
        visits = Visits(self, pmmux.port)
        path = Path(self.shop)
        visits.wait_for(SHOP)
        for turn in range(1, 4):
            issued = AUTHORITY.issue("shop.example.org")
            # Not at once, as a careless script would.
            path.write_bytes(issued.pem[: 300 * turn])
            wait_for(
                lambda turn=turn: told(pmmux, "certificate shop cannot be used") == turn, "the half file seen"
            )
            path.write_bytes(issued.pem)
            visits.wait_for(issued)
        visits.stop()
        standing.sendall(b"still")
        self.assertEqual(read_exactly(standing, 5), b"still")

    def test_replaced_under_load_by_signal(self) -> None:
        """Once in the same file, and once by another file."""
        pmmux = self.start_echo()
        standing = self.secure(pmmux)
        visits = Visits(self, pmmux.port)
        visits.wait_for(SHOP)
        for turn, path in enumerate((Path(self.shop), self.files / "new.pem"), 1):
            issued = AUTHORITY.issue("shop.example.org")
            path.write_bytes(issued.pem)
            config = pmmux.config_path.read_text()
            pmmux.config_path.write_text(config.replace(self.shop, str(path)))
            pmmux.send_signal(signal.SIGHUP)
            wait_for(lambda turn=turn: told(pmmux, "the configuration was reloaded") == turn, "reloaded")
            visits.wait_for(issued)
        visits.stop()
        standing.sendall(b"still")
        self.assertEqual(read_exactly(standing, 5), b"still")

    def test_client_authorities(self) -> None:
        path = AUTHORITY.root.write(self.files / "clients.pem", AUTHORITY.root_pem)
        pmmux = self.start_echo(f"client-certificates = require\nclient-ca = {path}")

        def is_let_in(certificate: str) -> bool:
            # Only what the server says tells in TLS 1.3.
            try:
                with self.secure(pmmux, certificate=certificate) as secured:
                    secured.sendall(b"hello")
                    return read_exactly(secured, 5) == b"hello"
            except (ssl.SSLError, ConnectionError):
                return False

        self.assertEqual([is_let_in(each) for each in (self.client, self.stranger)], [True, False])
        STRANGERS.root.write(Path(path), STRANGERS.root_pem)
        pmmux.send_signal(signal.SIGHUP)
        wait_for(lambda: is_let_in(self.stranger), "the stranger being believed")
        self.assertFalse(is_let_in(self.client))
        # Broken, or gone: nobody else is believed for that.
        Path(path).write_bytes(b"half")
        wait_for(lambda: is_let_in(self.stranger) and told(pmmux, "client-ca") >= 2, "the half file seen")
        self.assertFalse(is_let_in(self.client))

    def test_stale_staple(self) -> None:
        path = self.files / "ocsp.der"
        path.write_bytes(AUTHORITY.ocsp_response(SHOP, ends=timedelta(minutes=-1)))
        stapled = self.config(backend("echo", Peer(self, echo).port)).replace(
            f"path = {self.shop}", f"path = {self.shop}\nocsp = {path}"
        )
        pmmux = self.start(stapled)
        self.assertIn("OCSP response: no response sent", self.openssl(pmmux, "-status"))
        self.assertEqual(told(pmmux, "certificate shop: its OCSP response has expired"), 1)
        path.write_bytes(AUTHORITY.ocsp_response(SHOP))
        wait_for(
            lambda: "OCSP Response Status: successful" in self.openssl(pmmux, "-status"), "the new response"
        )


def told(pmmux: Pmmux, text: str) -> int:
    """How often C{text} stands in its log."""
    return sum(text in event["message"] for event in pmmux.events())


class UpstreamTests:
    """TLS to the upstream."""

    def serve(self, certificate: str, **more: Any) -> Peer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if more.get("asks"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.root)

        def answer(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True) as secured:
                said = secured.recv(100)
                facts = f"{secured.selected_alpn_protocol()} {bool(secured.getpeercert())}".encode()
                secured.sendall(said + b" " + facts + b"\n")
                while octets := secured.recv(1 << 16):
                    secured.sendall(octets)

        return Peer(self, answer)

    def start_plain(self, *lines: str) -> Pmmux:
        port = self.serve(self.shop, asks=True).port if "asks" in lines else self.serve(self.shop).port
        lines = tuple(line for line in lines if line != "asks")
        front = "[listener front]\nbind = 127.0.0.1\nport = ?\n"
        return self.start(front + backend("up", port, "upstream-tls = yes", *lines))

    def ask(self, pmmux: Pmmux) -> bytes:
        client = self.connect(pmmux)
        client.sendall(b"hello")
        found = bytearray()
        while not found.endswith(b"\n") and (octets := client.recv(100)):
            found += octets
        return bytes(found)

    def test_verified(self) -> None:
        ca = f"upstream-tls-ca = {self.root}"
        self.assertEqual(self.ask(self.start_plain(ca)), b"hello None False\n")
        self.assertEqual(
            self.ask(self.start_plain(ca, "upstream-tls-name = shop.example.org")), b"hello None False\n"
        )
        self.assertEqual(
            self.ask(self.start_plain(ca, "upstream-tls-alpn = http/1.1")), b"hello http/1.1 False\n"
        )
        ours = f"upstream-tls-certificate = {self.client}"
        self.assertEqual(self.ask(self.start_plain(ca, ours, "asks")), b"hello None True\n")
        self.assertEqual(self.ask(self.start_plain("upstream-tls-verify = no")), b"hello None False\n")

    def test_refused(self) -> None:
        ca = f"upstream-tls-ca = {self.root}"
        for lines, reason in (
            ((), "not known"),
            ((ca, "upstream-tls-name = other.example.org"), "not for other.example.org"),
        ):
            pmmux = self.start_plain(*lines)
            self.assert_ended(self.say(pmmux))
            (line,) = pmmux.wait_finished(1)
            self.assertEqual(line["outcome"], "connect-failed")
            self.assertIn(reason, line["detail"])

    def say(self, pmmux: Pmmux) -> socket.socket:
        client = self.connect(pmmux)
        client.sendall(b"hello")
        return client

    def test_authorities_are_read_again(self) -> None:
        path = STRANGERS.root.write(self.files / "upstreams.pem", STRANGERS.root_pem)
        pmmux = self.start_plain(f"upstream-tls-ca = {path}")
        self.assert_ended(self.say(pmmux))
        AUTHORITY.root.write(Path(path), AUTHORITY.root_pem)

        def is_believed() -> bool:
            with contextlib.suppress(ConnectionError):
                return self.ask(pmmux) == b"hello None False\n"
            return False

        wait_for(is_believed, "the upstream being believed")

    def test_checks_speak_as_the_traffic(self) -> None:
        """Through TLS, with the backend's authorities and its certificate of ours."""
        lines = (
            f"upstream-tls-ca = {self.root}",
            f"upstream-tls-certificate = {self.client}",
            "upstream-tls-name = shop.example.org",
        )
        check = "type = tcp\nsend = hello\nexpect = {}\ninterval = 100\nfailure-threshold = 1\n"
        config = "[listener front]\nbind = 127.0.0.1\nport = ?\n"
        port = self.serve(self.shop, asks=True).port
        for name, more in (
            ("as-traffic", ""),
            ("plain", "tls = no"),
            ("other-name", "server-name = other.example.org"),
            ("unverified", "server-name = other.example.org\nverify = no"),
            ("other-authority", f"ca = {self.files}/other.pem"),
        ):
            config += backend(name, port, "upstream-tls = yes", *lines)
            config += f"[health-check {name}]\nbackend = {name}\n{check.format('None True')}{more}\n"
        STRANGERS.root.write(self.files / "other.pem", STRANGERS.root_pem)
        pmmux = self.start(config)

        def changes() -> dict[str, tuple[str, str]]:
            found = (event for event in pmmux.events() if "before" in event)
            return {event["backend"]: (event["status"], event["reason"]) for event in found}

        wait_for(lambda: len(changes()) == 5, "each backend checked")
        passed = ("healthy", "the check passed")
        found = changes()
        self.assertEqual((found["as-traffic"], found["unverified"]), (passed, passed))
        self.assertEqual(found["plain"][0], "unhealthy")
        self.assertIn("not for other.example.org", found["other-name"][1])
        self.assertIn("issuer is not known", found["other-authority"][1])

    def test_not_tls(self) -> None:
        front = "[pmmux]\nconnect-timeout = 1s\n[listener front]\nbind = 127.0.0.1\nport = ?\n"
        for serve in (
            echo,
            lambda sock: sock.sendall(b"220 hello\r\n") or sock.recv(1),
            read_all,
        ):
            port = Peer(self, serve).port
            pmmux = self.start(front + backend("up", port, "upstream-tls = yes", "upstream-tls-verify = no"))
            self.assert_ended(self.say(pmmux))
            self.assertEqual(pmmux.wait_finished(1)[0]["outcome"], "connect-failed")

    def test_both_sides(self) -> None:
        port = self.serve(self.shop).port
        config = self.config(
            backend("up", port, "upstream-tls = yes", f"upstream-tls-ca = {self.root}"), "alpn = h2, http/1.1"
        )
        secured = self.secure(self.start(config), alpn=["h2"])
        secured.sendall(b"hello")
        self.assertEqual(read_exactly(secured, 15), b"hello h2 False\n")
        self.assertTrue(exchange(secured, BIG, len(BIG)) == BIG)


for _tests in (TerminationTests, StreamTests, HostileTests, ReloadTests, UpstreamTests):
    for _path in (OnFastPath, OnPortablePath):
        _name = f"{_path.__name__[2:].removesuffix('Path')}{_tests.__name__}"
        globals()[_name] = type(_name, (_tests, _path, TLSCase), {"__module__": __name__})
