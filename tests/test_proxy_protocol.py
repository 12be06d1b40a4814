"""The PROXY protocol, end to end: nginx as a real receiver, HAProxy as a real sender, and hostile ones."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from pmmux.test.authority import Authority
from pmmux.wire.proxyheader import ProxyHeader, read_proxy_header, write_v2
from pmmux.wire.reading import Incomplete
from tests.support.case import (
    SOCKET_SECONDS,
    OnFastPath,
    OnPortablePath,
    PmmuxCase,
    find_program,
    read_all,
    read_exactly,
)
from tests.support.peers import Peer, answer_with, echo
from tests.support.process import Pmmux
from tests.support.waiting import wait_for

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
V2 = write_v2(read_proxy_header(V1))
REQUEST = b"GET /x HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"
NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} proxy_protocol {options};
        {more}
        location / {{
            return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port $request_uri";
        }}
    }}
}}
"""
HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend front
    bind fd@{descriptor}
    unique-id-format %{{+X}}o\\ %ci-%cp
    default_backend pmmux
backend pmmux
    server pmmux 127.0.0.1:{target} {options}
"""
HAPROXY_RECEIVER = """
global
    maxconn 100
defaults
    mode http
    timeout client 10s
frontend front
    bind fd@{descriptor} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%ci %cp"
"""


class Receivers(PmmuxCase):
    """
    Real programs that serve connections of sockets which are opened here: their ports are not
    anybody else's by the time they start.
    """

    def start_nginx(self, options: str = "", more: str = "") -> int:
        listening = self.listen()
        port: int = listening.getsockname()[1]
        directory = self.make_directory(f"nginx-{port}")
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, port=port, options=options, more=more))
        self.spawn(
            [find_program("nginx"), "-c", str(config), "-p", str(directory)],
            pass_fds=(listening.fileno(),),
            env={**os.environ, "NGINX": f"{listening.fileno()};"},
        )
        return port

    def start_haproxy(self, config: str, **more: Any) -> int:
        listening = self.listen()
        port: int = listening.getsockname()[1]
        path = self.directory / f"haproxy-{port}.cfg"
        path.write_text(config.format(descriptor=listening.fileno(), **more))
        self.spawn([find_program("haproxy"), "-db", "-f", str(path)], pass_fds=(listening.fileno(),))
        return port


def needs_program(name: str) -> Callable[[Any], Any]:
    def mark(decorated: Any) -> Any:
        if find_program(name) is None:
            decorated.skip = f"missing: {name}"
        return decorated

    return mark


def front(policy: str, trusted: str = "127.0.0.0/8") -> str:
    return f"""
[listener front]
bind = 127.0.0.1
port = ?
proxy-protocol = {policy}
{f"proxy-protocol-from = {trusted}" if trusted else ""}
"""


def backend(name: str, port: int, *lines: str) -> str:
    return "\n".join((f"[backend {name}]", "protocol = pass", f"target = 127.0.0.1:{port}", *lines, ""))


def read_header(sock: socket.socket) -> tuple[ProxyHeader, bytes]:
    """The header, and what came with it."""
    octets = b""
    while isinstance(found := read_proxy_header(octets), Incomplete):
        octets += sock.recv(65536)
    assert isinstance(found, ProxyHeader), found
    return found, octets[found.octets :]


class InboundTests:
    def start_echo(self, policy: str, trusted: str = "127.0.0.0/8", detect: str = "3s") -> Pmmux:
        return self.start(
            f"[pmmux]\ndetect-timeout = {detect}\n"
            + front(policy, trusted)
            + backend("echo", Peer(self, echo).port)
        )

    def say(self, pmmux: Pmmux, *chunks: bytes, pause: float = 0.0) -> socket.socket:
        client = self.connect(pmmux)
        for chunk in chunks:
            client.sendall(chunk)
            time.sleep(pause)
        return client

    def test_both_versions(self) -> None:
        pmmux = self.start_echo("require")
        for number, header in enumerate((V1, V2), 1):
            client = self.say(pmmux, header + b"hello")
            self.assertEqual(read_exactly(client, 5), b"hello")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(client), b"")
            peer = "{}:{}".format(*client.getsockname())
            line = pmmux.wait_finished(number)[-1]
            self.assertEqual(
                (line["client"], line["outcome"], line["peer"]), ("192.0.2.1:56324", "closed", peer)
            )

    def test_octet_by_octet(self) -> None:
        pmmux = self.start_echo("require")
        for header in (V1, V2):
            client = self.say(pmmux, *(bytes((octet,)) for octet in header), b"hello", pause=0.002)
            self.assertEqual(read_exactly(client, 5), b"hello")

    def test_header_and_end_at_once(self) -> None:
        pmmux = self.start_echo("use")
        client = self.say(pmmux, V2 + b"bye")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(client), b"bye")

    def test_without_header(self) -> None:
        self.assertEqual(read_exactly(self.say(self.start_echo("use"), b"hello"), 5), b"hello")
        refused = self.start_echo("require")
        self.assert_ended(self.say(refused, b"hello"))
        (line,) = refused.wait_finished(1)
        self.assertEqual(line["outcome"], "negotiation-failed")
        self.assertIn("required", line["detail"])

    def test_refused(self) -> None:
        for pmmux in (self.start_echo("use", "192.0.2.0/24"), self.start_echo("reject", "")):
            for octets in (V1 + b"x", V2 + b"x"):
                self.assert_ended(self.say(pmmux, octets))
            self.assertEqual(read_exactly(self.say(pmmux, b"hello"), 5), b"hello")
            pmmux.wait_finished(2)
            self.assertEqual(pmmux.outcomes(), {"negotiation-failed": 2})

    def test_broken(self) -> None:
        pmmux = self.start_echo("use")
        for octets in (
            V1[:-2] + b"\n",
            b"PROXY " + b"x" * 200,
            V2[:12] + b"\x21\x11\x00\x00",
            V2[:12] + b"\x30",
        ):
            self.assert_ended(self.say(pmmux, octets))
        pmmux.wait_finished(4)
        self.assertEqual(pmmux.outcomes(), {"negotiation-failed": 4})

    def test_stalled(self) -> None:
        pmmux = self.start_echo("use", detect="1s")
        started_at = time.monotonic()
        client = self.say(pmmux, V2[:20])
        self.assert_ended(client)
        self.assertTrue(0.5 < time.monotonic() - started_at < SOCKET_SECONDS / 2)

    def test_second_header_is_the_clients(self) -> None:
        client = self.say(self.start_echo("use"), V1 + V2 + b"x")
        self.assertEqual(read_exactly(client, len(V2) + 1), V2 + b"x")

    def test_ignored(self) -> None:
        self.assertEqual(read_exactly(self.say(self.start_echo("ignore", ""), V1), len(V1)), V1)

    def test_matching_by_announced_address(self) -> None:
        one, other = Peer(self, answer_with(b"one")), Peer(self, answer_with(b"other"))
        pmmux = self.start(
            front("use")
            + backend("one", one.port, "remote-ip = 192.0.2.1", "property[socket.peer-ip] = 127\\.0\\.0\\.1")
            + backend("other", other.port)
        )
        self.assertEqual(read_all(self.say(pmmux, V1 + b"x")), b"one")
        self.assertEqual(read_all(self.say(pmmux, b"x")), b"other")

    @needs_program("haproxy")
    def test_haproxy_sends(self) -> None:
        for options, known in (
            ("send-proxy", "proxy.version] = 1"),
            ("send-proxy-v2", "proxy.version] = 2"),
            ("send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", "proxy.unique-id] = [0-9A-F-]+"),
        ):
            peer = Peer(self, echo)
            pmmux = self.start(front("require") + backend("echo", peer.port, f"property[{known}"))
            client = self.connect(self.start_haproxy(HAPROXY, target=pmmux.port, options=options))
            client.sendall(b"hello")
            self.assertEqual(read_exactly(client, 5), b"hello")
            name = "{}:{}".format(*client.getsockname())
            client.close()
            (line,) = pmmux.wait_finished(1)
            self.assertEqual((line["client"], line["outcome"]), (name, "closed"))
            self.assertTrue(line["peer"].startswith("127.0.0.1:"))


class OutboundTests:
    def test_header_comes_first(self) -> None:
        for version in ("v1", "v2"):
            listening = self.listen()
            pmmux = self.start(
                front("ignore", "") + backend("up", listening.getsockname()[1], f"send-proxy = {version}")
            )
            client = self.connect(pmmux)
            client.sendall(b"hello")
            upstream = self.accept(listening)
            header, more = read_header(upstream)
            self.assertEqual((header.source.host, header.source.port), client.getsockname())
            self.assertEqual((header.destination.host, header.destination.port), client.getpeername())
            self.assertEqual(more + read_exactly(upstream, 5 - len(more)), b"hello")
            upstream.sendall(b"yes")
            self.assertEqual(read_exactly(client, 3), b"yes")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(upstream.recv(1), b"")

    def test_announced_client_is_told_on(self) -> None:
        listening = self.listen()
        more = ("send-proxy = v2", "send-proxy-tlv = unique-id, crc32c")
        pmmux = self.start(front("require") + backend("up", listening.getsockname()[1], *more))
        self.connect(pmmux).sendall(V1 + b"x")
        header, _ = read_header(self.accept(listening))
        self.assertEqual((header.source.host, header.source.port), ("192.0.2.1", 56324))
        self.assertTrue(header.facts.unique_id)

    @needs_program("nginx")
    def test_nginx_receives(self) -> None:
        port = self.start_nginx()
        for lines in (
            ("send-proxy = v1",),
            ("send-proxy = v2",),
            ("send-proxy = v2", "send-proxy-tlv = authority, alpn, ssl, unique-id, crc32c"),
        ):
            pmmux = self.start(front("ignore", "") + backend("nginx", port, *lines))
            for _ in range(3):
                client = self.connect(pmmux)
                client.sendall(REQUEST)
                body = read_all(client).partition(b"\r\n\r\n")[2].decode()
                address, client_port = client.getsockname()
                self.assertEqual(body, f"{address} {client_port} {pmmux.port} /x")


class CheckTests:
    """Health checks of servers that expect a header: up with it, down without."""

    checks = (
        "type = http",
        "type = tcp\nsend = GET / HTTP/1.0\\r\\n\\r\\n\nexpect = re:^HTTP/1[.][01] 200",
    )

    def check(self, port: int, check: str, *more: str) -> None:
        config = front("ignore", "") + f"[health-check all]\n{check}\ninterval = 100\nfailure-threshold = 1\n"
        expected = {"v1": "healthy", "v2": "healthy", "none": "unhealthy", "off": "unhealthy"}
        for name in ("v1", "v2", "none"):
            lines = () if name == "none" else (f"send-proxy = {name}",)
            config += backend(name, port, *lines, *more)
        config += backend("off", port, "send-proxy = v2", *more)
        config += f"[health-check off]\nbackend = off\n{check}\nsend-proxy = no\nfailure-threshold = 1\n"
        pmmux = self.start(config)

        def statuses() -> dict[str, str]:
            changes = (event for event in pmmux.events() if "before" in event)
            return {event["backend"]: event["status"] for event in changes}

        wait_for(lambda: len(statuses()) == len(expected), "each backend checked")
        self.assertEqual(statuses(), expected)

    @needs_program("nginx")
    def test_nginx(self) -> None:
        port = self.start_nginx()
        for check in self.checks:
            self.check(port, check)

    @needs_program("haproxy")
    def test_haproxy(self) -> None:
        port = self.start_haproxy(HAPROXY_RECEIVER)
        for check in self.checks:
            self.check(port, check)

    @needs_program("nginx")
    def test_through_tls(self) -> None:
        """The header, then TLS, then the check, all as the backend's traffic."""
        authority = Authority()
        files = self.make_directory("files")
        root = authority.root.write(files / "root.pem", authority.root_pem)
        shop = authority.issue("shop.example.org").write(files / "shop.pem")
        port = self.start_nginx("ssl", f"ssl_certificate {shop}; ssl_certificate_key {shop};")
        secured = ("upstream-tls = yes", f"upstream-tls-ca = {root}", "upstream-tls-name = shop.example.org")
        for check in (*self.checks, "type = tls"):
            self.check(port, check, *secured)


for _tests in (InboundTests, OutboundTests, CheckTests):
    for _path in (OnFastPath, OnPortablePath):
        _name = f"{_path.__name__[2:].removesuffix('Path')}{_tests.__name__}"
        globals()[_name] = type(_name, (_tests, _path, Receivers), {"__module__": __name__})
