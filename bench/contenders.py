"""
Who is measured: how each is configured and started, all with the same routing.

A contender knows how to write its configuration and which command to run; it knows nothing of cores, loads
and rows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

TCP, UDP, TLS = "tcp", "udp", "tls"
VERSION_TIMEOUT_SECONDS = 20
CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"
"""What TLS is terminated with; the load generator offers nothing else."""


class AbsentError(Exception):
    """A contender is not installed; the text says what is missing."""


@frozen
class Routes:
    """
    What a proxy is to do in a row.

    @ivar names: how many backends there are, each with one exact server name of its own; over UDP there is
        one backend without a condition.
    @ivar transport: C{tcp}, C{udp}, or C{tls}: TCP, with TLS 1.3 terminated.
    """

    names: int = 2
    transport: str = TCP


def server_name(index: int) -> str:
    """The name of backend C{index}."""
    return f"s{index}.example"


@frozen
class Place:
    """
    Where a contender is to serve, and whom.

    @ivar routes: what to route.
    @ivar port: where to listen, on 127.0.0.1.
    @ivar upstream_ports: backend i is at the i-th of these, modulo their number.
    @ivar directory: for its files, and nobody else's.
    @ivar connections_limit: how many connections it is to be configured for, within what descriptors allow.
    @ivar certificate: a PEM file with a certificate and its key, where TLS is terminated.
    """

    routes: Routes
    port: int
    upstream_ports: Sequence[int]
    directory: Path
    connections_limit: int
    certificate: str = ""

    def targets(self) -> list[tuple[str, int]]:
        """Server name and upstream port of each backend."""
        ports = self.upstream_ports
        return [(server_name(i), ports[i % len(ports)]) for i in range(self.routes.names)]

    def write(self, name: str, text: str) -> str:
        """Write a file of the contender's; returns its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


class Contender(Protocol):
    """One that can be measured."""

    @property
    def name(self) -> str:
        """As options and tables name it."""

    @property
    def transports(self) -> frozenset[str]:
        """What it can route."""

    def version(self) -> str:
        """
        Which one this is.

        @raises AbsentError: it is not here.
        """

    def prepare(self, place: Place) -> Sequence[str]:
        """Write what it needs; returns the command that serves in the foreground."""


def _output_of(*argv: str, cwd: str | None = None) -> str:
    if shutil.which(argv[0]) is None:
        raise AbsentError(f"{argv[0]} is not installed")
    done = subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        timeout=VERSION_TIMEOUT_SECONDS,
        check=False,
    )
    return done.stdout


@frozen
class HAProxy:
    """
    HAProxy, by C{inspect-delay} and C{req.ssl_sni} through a map, which is its way to hold many names.

    @ivar tuned: large buffers and pipes, and splice where it was built with it.
    """

    tuned: bool = False
    transports: frozenset[str] = frozenset({TCP, TLS})

    @property
    def name(self) -> str:
        """See L{Contender}."""
        return "haproxy-tuned" if self.tuned else "haproxy"

    def version(self) -> str:
        """See L{Contender}."""
        return _output_of("haproxy", "-v").splitlines()[0].removeprefix("HAProxy version ").split(" - ")[0]

    def prepare(self, place: Place) -> Sequence[str]:
        """See L{Contender}."""
        lines = ["global", "    nbthread 1", f"    maxconn {place.connections_limit}"]
        if self.tuned:
            lines += ["    tune.bufsize 262144", "    tune.pipesize 1048576"]
        lines += ["defaults", "    mode tcp"]
        lines += [f"    timeout {what}" for what in ("connect 5s", "client 60s", "server 60s")]
        if self.tuned and "+LINUX_SPLICE" in _output_of("haproxy", "-vv"):
            lines += ["    option splice-auto"]
        names = place.write(
            "names.map", "".join(f"{name} b{i}\n" for i, (name, _) in enumerate(place.targets()))
        )
        if place.routes.transport == TLS:
            lines += [
                "frontend front",
                f"    bind 127.0.0.1:{place.port} ssl crt {place.certificate} ssl-min-ver TLSv1.3"
                f" ciphersuites {CIPHER_SUITE}",
                f"    use_backend %[ssl_fc_sni,lower,map({names})]",
            ]
        else:
            lines += [
                "frontend front",
                f"    bind 127.0.0.1:{place.port}",
                "    tcp-request inspect-delay 3s",
                "    tcp-request content accept if { req.ssl_hello_type 1 }",
                f"    use_backend %[req.ssl_sni,lower,map({names})]",
            ]
        for i, (_, port) in enumerate(place.targets()):
            lines += [f"backend b{i}", f"    server up 127.0.0.1:{port}"]
        return ["haproxy", "-db", "-f", place.write("haproxy.cfg", "\n".join(lines) + "\n")]


@frozen
class Nginx:
    """
    nginx with its stream module: C{ssl_preread} and a map for TCP, its own TLS and the same map where that is
    terminated, plain C{proxy_pass} for UDP.
    """

    name: str = "nginx"
    transports: frozenset[str] = frozenset({TCP, UDP, TLS})

    def version(self) -> str:
        """See L{Contender}."""
        if self._module() is None:
            raise AbsentError("nginx has no stream module here (libnginx-mod-stream)")
        return _output_of("nginx", "-v").strip().rpartition("/")[2]

    def _module(self) -> str | None:
        for where in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"):
            path = Path(where, "ngx_stream_module.so")
            if path.exists():
                return f"load_module {path};"
        return "" if "--with-stream " in _output_of("nginx", "-V") + " " else None

    def prepare(self, place: Place) -> Sequence[str]:
        """See L{Contender}."""
        if place.routes.transport == UDP:
            server = f"listen 127.0.0.1:{place.port} udp; proxy_pass 127.0.0.1:{place.upstream_ports[0]};"
            names = ""
        else:
            has_tls = place.routes.transport == TLS
            listen = f"listen 127.0.0.1:{place.port} backlog=1024"
            server = f"{listen}{' ssl; ' + _nginx_tls(place) if has_tls else '; ssl_preread on;'}"
            server += " proxy_pass $upstream;"
            name = "ssl_server_name" if has_tls else "ssl_preread_server_name"
            rows = "".join(f"    {name} 127.0.0.1:{port};\n" for name, port in place.targets())
            names = (
                "  map_hash_max_size 65536;\n  map_hash_bucket_size 128;\n"
                f"  map ${name} $upstream {{\n{rows}  }}\n"
            )
        text = (
            f"{self._module() or ''}\ndaemon off;\nmaster_process off;\nerror_log stderr error;\n"
            f"pid {place.directory}/nginx.pid;\n"
            f"events {{ worker_connections {2 * place.connections_limit}; }}\n"
            f"stream {{\n{names}  server {{ {server} proxy_connect_timeout 5s; proxy_timeout 60s; }}\n}}\n"
        )
        return ["nginx", "-p", str(place.directory), "-c", place.write("nginx.conf", text)]


def _nginx_tls(place: Place) -> str:
    certificate = f"ssl_certificate {place.certificate}; ssl_certificate_key {place.certificate};"
    return f"{certificate} ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER_SUITE};"


@frozen
class Sslh:
    """
    sslh in one process: its C{select} or C{ev} flavour (the forking one cannot be told from its own noise).

    @ivar flavour: C{select} or C{ev}.
    """

    flavour: str
    transports: frozenset[str] = frozenset({TCP})

    @property
    def name(self) -> str:
        """See L{Contender}."""
        return f"sslh-{self.flavour}"

    def version(self) -> str:
        """See L{Contender}."""
        return _output_of(self.name, "-V").strip().split(" ")[-1].rpartition("-select-")[2]

    def prepare(self, place: Place) -> Sequence[str]:
        """See L{Contender}."""
        protocols = ",\n".join(
            f'  {{ name: "tls"; host: "127.0.0.1"; port: "{port}"; log_level: 0; '
            f'sni_hostnames: [ "{name}" ]; }}'
            for name, port in place.targets()
        )
        text = (
            "foreground: true;\ninetd: false;\nnumeric: true;\ntransparent: false;\ntimeout: 3;\n"
            f'listen: ( {{ host: "127.0.0.1"; port: "{place.port}"; }} );\nprotocols: (\n{protocols}\n);\n'
        )
        return [self.name, f"-F{place.write('sslh.cfg', text)}"]


_EXTRA = re.compile(r"(?:(?P<section>pmmux|listener|backend):)?(?P<key>[^=\s]+)\s*=\s*(?P<value>.*)")


@frozen
class ExtraOption:
    """
    An option added to pmmux's configuration.

    @ivar section: C{pmmux}, C{listener} or C{backend}: in the latter, in each backend.
    @ivar line: as it stands in the file.
    """

    section: str
    line: str


def parse_extra(text: str) -> ExtraOption:
    """
    Read C{key=value}, C{listener:key=value} or C{backend:key=value}.

    @raises ValueError: it is none of these.
    """
    found = _EXTRA.fullmatch(text)
    if found is None:
        raise ValueError(f"not key=value, listener:key=value or backend:key=value: {text!r}")
    return ExtraOption(found["section"] or "pmmux", f"{found['key']} = {found['value']}")


@frozen
class Pmmux:
    """
    The installed service, as its users start it.

    @ivar python: the interpreter of the environment that it is installed in.
    @ivar extras: options beyond what the routing takes.
    """

    python: str
    extras: Sequence[ExtraOption] = field(factory=tuple)
    name: str = "pmmux"
    transports: frozenset[str] = frozenset({TCP, UDP, TLS})

    def version(self) -> str:
        """See L{Contender}."""
        told = _output_of(
            self.python,
            "-c",
            "import platform, twisted, pmmux, twisted.plugins.pmmux_plugin;"
            "print(pmmux.__version__, 'Twisted', twisted.__version__, 'Python', platform.python_version())",
            cwd="/",
        )
        if "Error" in told:
            raise AbsentError(f"pmmux is not installed for {self.python}: {told.strip().splitlines()[-1]}")
        return told.strip().splitlines()[-1]

    def _section(self, kind: str, name: str, lines: Sequence[str]) -> str:
        head = f"[{kind} {name}]" if name else f"[{kind}]"
        own = [extra.line for extra in self.extras if extra.section == kind]
        return "\n".join([head, *lines, *own]) + "\n"

    def prepare(self, place: Place) -> Sequence[str]:
        """See L{Contender}."""
        transport = place.routes.transport
        sections = [
            self._section("pmmux", "", ["log-format = json"]),
            self._section(
                "listener",
                "front",
                [
                    "bind = 127.0.0.1",
                    f"port = {place.port}",
                    f"protocol = {TCP if transport == TLS else transport}",
                ],
            ),
        ]
        if transport == TLS:
            sections += [
                self._section("tls", "", ["versions = 1.3", f"cipher-suites = {CIPHER_SUITE}"]),
                self._section("certificate", "own", [f"path = {place.certificate}", "default = yes"]),
            ]
        if transport == UDP:
            target = f"target = 127.0.0.1:{place.upstream_ports[0]}"
            sections.append(self._section("backend", "b0", ["protocol = pass", target]))
        else:
            sections += [
                self._section(
                    "backend", f"b{i}", ["protocol = pass", f"target = 127.0.0.1:{port}", f"sni = {name}"]
                )
                for i, (name, port) in enumerate(place.targets())
            ]
        config = place.write("pmmux.ini", "".join(sections))
        twistd = Path(self.python).parent / "twistd"
        start = (
            [self.python, str(twistd)]
            if twistd.exists()
            else [self.python, "-c", "from twisted.scripts.twistd import run; run()"]
        )
        return [*start, "-n", "--pidfile=", "pmmux", "--config", config]


PEERS: Sequence[Contender] = (HAProxy(), HAProxy(tuned=True), Nginx(), Sslh("select"), Sslh("ev"))
"""All that pmmux is measured against, the preferred reference first."""
