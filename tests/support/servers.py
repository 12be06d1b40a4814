"""Real servers, each on a free port of 127.0.0.1, in a directory of its own, ended with the test."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from attrs import frozen

from tests.support.case import PmmuxCase, find_program
from tests.support.waiting import accepts, free_port, wait_for

START_SECONDS = 30.0
# Debian's sshd wants it, and nothing makes it where the service was never started.
_SSHD_DIRECTORY = Path("/run/sshd")


def _program(name: str) -> str:
    found = find_program(name)
    assert found is not None, name
    return found


def _wait_listening(port: int, what: str) -> int:
    wait_for(lambda: accepts(port), f"{what} listening on {port}", START_SECONDS)
    return port


@frozen
class Nginx:
    """
    @ivar port: HTTP/1.1.
    @ivar http2_port: HTTP/2 with prior knowledge.
    """

    port: int
    http2_port: int


def start_nginx(case: PmmuxCase, files: dict[str, bytes]) -> Nginx:
    """Serve C{files}, by their names."""
    directory = case.make_directory("nginx")
    for name, content in files.items():
        (directory / name).write_bytes(content)
    server = Nginx(free_port(), free_port())
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(f"""
{user}
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 200; }}
http {{
    access_log {directory}/access.log combined;
    {temporary}
    sendfile on;
    server {{ listen 127.0.0.1:{server.port}; root {directory}; }}
    server {{ listen 127.0.0.1:{server.http2_port} http2; root {directory}; }}
}}
""")
    case.spawn([_program("nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"])
    _wait_listening(server.port, "nginx")
    _wait_listening(server.http2_port, "nginx")
    return server


@frozen
class TLSServer:
    """
    @ivar certificate: the path of what a client has to trust.
    """

    name: str
    port: int
    certificate: Path


def start_tls_server(case: PmmuxCase, name: str) -> TLSServer:
    """C{openssl s_server} with a certificate for C{name}, that sends each line back reversed."""
    directory = case.make_directory(name)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    openssl = _program("openssl")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    files = ("-keyout", str(key), "-out", str(certificate))
    case.run_command(
        [openssl, "req", "-x509", "-nodes", "-days", "2", *kind, *names, *files],
    )
    port = free_port()
    identity = ("-cert", str(certificate), "-key", str(key))
    case.spawn(
        [openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-rev", *identity],
    )
    _wait_listening(port, "openssl s_server")
    return TLSServer(name, port, certificate)


@frozen
class SSHServer:
    """
    @ivar key: the path of the key that may log in.
    """

    port: int
    key: Path

    def client_options(self) -> list[str]:
        """For C{ssh} and C{scp}: nothing of the user's own configuration."""
        settings = (
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        )
        options = ["-F", "/dev/null", "-i", str(self.key)]
        for setting in settings:
            options += ["-o", setting]
        return options


def start_sshd(case: PmmuxCase) -> SSHServer:
    """A real sshd, into which the user of the test may log in."""
    directory = case.make_directory("sshd")
    directory.chmod(0o700)
    if os.geteuid() == 0 and not _SSHD_DIRECTORY.exists():
        _SSHD_DIRECTORY.mkdir(0o755)
        case.addCleanup(_SSHD_DIRECTORY.rmdir)
    host_key, key = directory / "host", directory / "user"
    for path in (host_key, key):
        case.run_command([_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)])
    port = free_port()
    config = directory / "sshd_config"
    config.write_text(f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
PidFile {directory}/pid
AuthorizedKeysFile {key}.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
""")
    case.spawn([_program("sshd"), "-D", "-e", "-f", str(config)])
    return SSHServer(_wait_listening(port, "sshd"), key)


def _as_user(name: str) -> tuple[list[str], int | None]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return [], None
    user = pwd.getpwnam(name)
    return [
        _program("setpriv"),
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
    ], user.pw_uid


def start_postgresql(case: PmmuxCase) -> int:
    """A real PostgreSQL with the user C{tester}. @return: its port."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    directory = case.make_directory("postgresql")
    prefix, uid = _as_user("postgres")
    if uid is not None:
        os.chown(directory, uid, -1)
    data = directory / "data"
    initdb = [*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"]
    case.run_command([*initdb, "--no-instructions", "--encoding=UTF8", "--locale=C"], cwd="/")
    port = free_port()
    places = ("-D", str(data), "-k", str(directory), "-h", "127.0.0.1", "-p", str(port))
    case.spawn([*prefix, str(binaries / "postgres"), "-F", *places], cwd="/")
    ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    wait_for(lambda: os.spawnv(os.P_WAIT, ready[0], ready) == 0, "PostgreSQL", START_SECONDS)
    return port


def start_redis(case: PmmuxCase) -> int:
    """A real Redis. @return: its port."""
    port = free_port()
    place = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(case.make_directory("redis")))
    case.spawn([_program("redis-server"), "--save", "", "--appendonly", "no", *place])
    return _wait_listening(port, "redis-server")


def start_exim(case: PmmuxCase) -> tuple[int, Path]:
    """A real SMTP server that keeps what it accepts. @return: its port, and where it keeps the messages."""
    directory = case.make_directory("exim")
    port = free_port()
    user = pwd.getpwuid(os.geteuid()).pw_name
    config = directory / "exim.conf"
    config.write_text(f"""
exim_user = {user}
exim_group = {user}
primary_hostname = mail.example.org
spool_directory = {directory}/spool
log_file_path = {directory}/%s.log
pid_file_path = {directory}/pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
acl_smtp_rcpt = accept
queue_only
begin routers
all:
  driver = accept
  transport = discard
begin transports
discard:
  driver = appendfile
  file = /dev/null
""")
    config.chmod(0o644)
    case.spawn([_program("exim4"), "-C", str(config), "-bdf"])
    return _wait_listening(port, "exim"), directory / "spool" / "input"
