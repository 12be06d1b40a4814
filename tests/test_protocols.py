"""Real clients of many protocols reach their real servers, all by one port and at the same time."""

from __future__ import annotations

import hashlib
import os
import random
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, find_program, needs
from tests.support.process import Pmmux
from tests.support.servers import (
    start_exim,
    start_nginx,
    start_postgresql,
    start_redis,
    start_sshd,
    start_tls_server,
)
from tests.support.waiting import wait_for

COPY_OCTETS = 200 << 20
PAGE = b"<h1>It works</h1>\n"
BIG_PAGE = random.Random(7).randbytes(8 << 20)
PACKAGES = (
    "curl",
    "exim4-daemon-light",
    "nginx-light",
    "openssh-client",
    "openssh-server",
    "openssl",
    "postgresql",
    "postgresql-client",
    "redis-server",
    "redis-tools",
)


def digest_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()


class ProtocolTests:
    """One configuration with everything; each client as its users run it."""

    def start_all(self) -> Pmmux:
        with ThreadPoolExecutor(7) as pool:
            nginx = pool.submit(start_nginx, self, {"index.html": PAGE, "big": BIG_PAGE})
            tls = [
                pool.submit(start_tls_server, self, name) for name in ("one.example.org", "two.example.org")
            ]
            sshd = pool.submit(start_sshd, self)
            postgresql = pool.submit(start_postgresql, self)
            redis = pool.submit(start_redis, self)
            exim = pool.submit(start_exim, self)
        self.nginx = nginx.result()
        self.tls_servers = [each.result() for each in tls]
        self.sshd = sshd.result()
        self.exim_port, self.kept_mail = exim.result()
        tls_backends = "\n".join(
            f"[backend {server.name}]\nprotocol = pass\n"
            f"target = 127.0.0.1:{server.port}\nsni = {server.name}\n"
            for server in self.tls_servers
        )
        return self.start(f"""
[pmmux]
detect-timeout = 700

[listener front]
bind = 127.0.0.1
port = ?

{tls_backends}

[backend ssh]
protocol = pass
target = 127.0.0.1:{self.sshd.port}
detect = ssh

[backend http2]
protocol = pass
target = localhost:{self.nginx.http2_port}
detect = http2

[backend http]
protocol = pass
target = 127.0.0.1:{self.nginx.port}
detect = http

[backend postgresql]
protocol = pass
target = 127.0.0.1:{postgresql.result()}
detect = postgresql

[backend redis]
protocol = pass
target = 127.0.0.1:{redis.result()}
detect = redis

[backend mail]
protocol = pass
target = 127.0.0.1:{self.exim_port}
""")

    @needs(*PACKAGES)
    def test_all_at_the_same_time(self) -> None:
        pmmux = self.start_all()
        clients: list[Callable[[Pmmux], None]] = [
            self.fetch_page,
            self.fetch_page_by_http2,
            self.fetch_big_page,
            self.talk_by_tls,
            self.copy_by_ssh,
            self.log_in_by_ssh,
            self.query_postgresql,
            self.use_redis,
            self.send_mail,
            self.be_refused_by_unknown_name,
        ]
        with ThreadPoolExecutor(len(clients)) as pool:
            for running in [pool.submit(client, pmmux) for client in clients]:
                running.result(120)
        pmmux.wait_finished(12)
        backends = {line["backend"] for line in pmmux.finished()}
        self.assertEqual(
            backends,
            {"http", "http2", "ssh", "postgresql", "redis", "mail", "one.example.org", "two.example.org"},
        )
        self.assertEqual(pmmux.stop(), 0)
        # Some clients close before they have read what the server said last.
        self.assertLessEqual(set(pmmux.outcomes()), {"closed", "reset-by-client"})

    def curl(self, pmmux: Pmmux, *arguments: str) -> bytes:
        program = find_program("curl")
        assert program is not None
        return subprocess.run(
            [program, "-sS", "--fail", "--max-time", "60", *arguments, f"http://127.0.0.1:{pmmux.port}/"],
            stdout=subprocess.PIPE,
            check=True,
            timeout=90,
        ).stdout

    def fetch_page(self, pmmux: Pmmux) -> None:
        self.assertEqual(self.curl(pmmux, "--http1.1"), PAGE)

    def fetch_page_by_http2(self, pmmux: Pmmux) -> None:
        said = self.curl(pmmux, "--http2-prior-knowledge", "-w", "%{http_version}")
        self.assertEqual(said, PAGE + b"2")

    def fetch_big_page(self, pmmux: Pmmux) -> None:
        got = self.directory / "big"
        self.curl(pmmux, "-o", str(got), f"http://127.0.0.1:{pmmux.port}/big", "-o", "/dev/null")
        self.assertTrue(got.read_bytes() == BIG_PAGE)

    def talk_by_tls(self, pmmux: Pmmux) -> None:
        # The client trusts each server's own certificate: nothing stands between them.
        for server in self.tls_servers:
            connect = ("-connect", f"127.0.0.1:{pmmux.port}", "-quiet")
            trust = (
                "-CAfile",
                str(server.certificate),
                "-verify_return_error",
                "-verify_hostname",
                server.name,
            )
            said = self.run_command(
                [find_program("openssl"), "s_client", *connect, *trust, "-servername", server.name],
                input=b"drawer\nCLOSE\n",
            )
            self.assertIn("reward", said)
            self.assertIn(f"CN = {server.name}", said)

    def be_refused_by_unknown_name(self, pmmux: Pmmux) -> None:
        # It must not fall to a backend for another name; the last, which takes all, gets it.
        context = ssl.create_default_context(cafile=self.tls_servers[0].certificate)
        with self.connect(pmmux) as client, self.assertRaises(ssl.SSLError):
            context.wrap_socket(client, server_hostname="three.example.org")

    def ssh(self, program: str, pmmux: Pmmux, *arguments: str) -> str:
        options = [find_program(program), *self.sshd.client_options()]
        port = ["-P" if program == "scp" else "-p", str(pmmux.port)]
        return self.run_command([*options, *port, *arguments], 120)

    def log_in_by_ssh(self, pmmux: Pmmux) -> None:
        self.assertEqual(self.ssh("ssh", pmmux, "127.0.0.1", "echo I am $((20 + 3))").strip(), "I am 23")

    def copy_by_ssh(self, pmmux: Pmmux) -> None:
        original, sent = self.directory / "original", self.directory / "sent"
        original.write_bytes(random.Random(3).randbytes(1 << 20) * (COPY_OCTETS >> 20))
        self.ssh("scp", pmmux, str(original), f"127.0.0.1:{sent}")
        self.assertEqual(digest_of(sent), digest_of(original))

    def query_postgresql(self, pmmux: Pmmux) -> None:
        command = [
            find_program("psql"),
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            str(pmmux.port),
            "-U",
            "tester",
        ]
        query = "select sum(n), md5(string_agg(n::text, ',')) from generate_series(1, 200000) n"
        wanted = hashlib.md5(",".join(map(str, range(1, 200001))).encode()).hexdigest()
        said = self.run_command(
            [*command, "-c", query, "postgres"], env={**os.environ, "PGSSLMODE": "prefer"}
        )
        self.assertEqual(said.strip(), f"20000100000|{wanted}")

    def use_redis(self, pmmux: Pmmux) -> None:
        command = [find_program("redis-cli"), "-h", "127.0.0.1", "-p", str(pmmux.port)]
        self.assertEqual(self.run_command([*command, "set", "key", "value of it"]).strip(), "OK")
        self.assertEqual(self.run_command([*command, "get", "key"]).strip(), "value of it")

    def send_mail(self, pmmux: Pmmux) -> None:
        # The client waits for the server's greeting, and is passed on when detecting timed out.
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Hello"
        message.set_content("first line\n" * 5000 + "last line\n")
        with smtplib.SMTP("127.0.0.1", pmmux.port, "client.example.org", timeout=30) as client:
            self.assertIn(b"mail.example.org", client.ehlo_resp or client.ehlo()[1])
            client.send_message(message)
        (kept,) = wait_for(lambda: list(self.kept_mail.rglob("*-D")), "the message kept")
        self.assertEqual(kept.read_text().partition("\n")[2].strip(), message.get_content().strip())


class FastProtocolTests(ProtocolTests, OnFastPath, PmmuxCase):
    pass


class PortableProtocolTests(ProtocolTests, OnPortablePath, PmmuxCase):
    pass
