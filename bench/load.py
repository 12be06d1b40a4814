"""
The load generator and its upstream: building them, what they are fed with, and what the former reports.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.processes import StartError

SOURCES = Path(__file__).parent
COMPILER = "cc -O2"
TOOLS: Mapping[str, Sequence[str]] = {"loadgen": ("-lssl -lcrypto", "-DWITHOUT_TLS"), "upstream": ("",)}
"""What is built, and with which options: the first that can."""

CERTIFICATE_COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=bench"
    " -addext subjectAltName=DNS:*.example"
)

LOSS_LIMIT_SHARE = 0.5
"""A run that loses more than this is no measurement."""


def make_hellos(names: Sequence[str]) -> bytes:
    """One ClientHello in one TLS record for each name, as this Python's OpenSSL makes them."""
    context = ssl.create_default_context()
    hellos = []
    for name in names:
        outgoing = ssl.MemoryBIO()
        client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hellos.append(outgoing.read())
    return b"".join(hellos)


def make_certificate(path: Path) -> None:
    """
    Write a certificate that signs itself, ECDSA on P-256, and its key.

    @raises StartError: there is no C{openssl}, or it refuses.
    """
    key = path.with_suffix(".key")
    command = [*shlex.split(CERTIFICATE_COMMAND), "-keyout", str(key), "-out", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StartError(f"no openssl for a certificate: {error}") from error
    if done.returncode:
        raise StartError(done.stderr)
    path.write_bytes(path.read_bytes() + key.read_bytes())


def build_tools(directory: Path) -> None:
    """
    Compile the load generator and the upstream, unless they are there; the former without TLS where there
    is no OpenSSL to build it with.

    @raises StartError: there is no C compiler, or it refuses.
    """
    for tool, ways in TOOLS.items():
        if not (directory / tool).exists():
            _build(directory, tool, ways)


def _build(directory: Path, tool: str, ways: Sequence[str]) -> None:
    for way in ways:
        command = [*shlex.split(COMPILER), "-o", str(directory / tool), str(SOURCES / f"{tool}.c")]
        try:
            done = subprocess.run([*command, *shlex.split(way)], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise StartError(f"no C compiler: {error}") from error
        if not done.returncode:
            return
    raise StartError(done.stderr)


class LoadError(Exception):
    """The load generator could not measure; the text says why."""


@frozen
class LoadResult:
    """
    What the load generator reports.

    @ivar units: connections, exchanges, octets or datagrams within the measured time.
    @ivar total: those of the warm-up too.
    @ivar seconds: the measured time.
    @ivar errors: flows that did not do what they were to.
    @ivar corrupt: times that octets were not those sent.
    @ivar load_cpu_seconds: the load generator's own CPU time.
    @ivar p50_us: median latency.
    @ivar p99_us: 99th percentile of latency.
    @ivar extra: what only one mode reports.
    """

    units: float
    total: float
    seconds: float
    errors: int
    corrupt: int
    load_cpu_seconds: float
    p50_us: float | None
    p99_us: float | None
    extra: Mapping[str, Any]

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.seconds if self.seconds else 0.0

    def fault(self) -> str:
        """Why this is no measurement, empty where it is one."""
        if self.corrupt:
            return f"CORRUPT: octets altered, {self.corrupt} times"
        if self.loss_share > LOSS_LIMIT_SHARE or not self.units:
            return f"failed: {self.errors} errors, {self.units:.0f} done"
        return ""

    @property
    def loss_share(self) -> float:
        """Share of units that failed."""
        return self.errors / (self.errors + self.total) if self.errors else 0.0


def read_result(text: str) -> LoadResult:
    """
    Read the load generator's line.

    @raises LoadError: it is not one.
    """
    try:
        fields = json.loads(text.strip().splitlines()[-1])
        own = {name: fields.pop(name) for name in ("units", "total", "seconds", "errors", "corrupt")}
        return LoadResult(
            load_cpu_seconds=fields.pop("load_cpu_seconds"),
            p50_us=fields.pop("p50_us", None),
            p99_us=fields.pop("p99_us", None),
            extra=fields,
            **own,
        )
    except (ValueError, KeyError, IndexError) as error:
        raise LoadError(f"the load generator said {text!r}") from error
