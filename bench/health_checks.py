"""
What checks of many backends cost: C{python -m bench.health_checks [BACKENDS [SECONDS]]}.

The real process checks so many backends once in ten seconds each, a few servers of the loopback in turn.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SERVERS = 4
INTERVAL_SECONDS = 10
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
KINDS = {"none": "", "connect": "type = connect", "http": "type = http\npath = /healthz"}


def serve() -> int:
    """A server that answers every request. @return: its port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def run() -> None:
        while True:
            client, _ = listening.accept()
            with client:
                try:
                    client.settimeout(1)
                    if client.recv(4096):
                        client.sendall(ANSWER)
                except OSError:
                    continue

    threading.Thread(target=run, daemon=True).start()
    return int(listening.getsockname()[1])


def write_config(path: Path, backends: int, check: str, ports: list[int]) -> None:
    """A configuration of so many backends, all of them checked."""
    text = ["[pmmux]", "mux-only = true", "control-socket = off"]
    text += ["[listener front]", "bind = 127.0.0.1", "port = ?"]
    for number in range(backends):
        target = f"127.0.0.1:{ports[number % len(ports)]}"
        text += [f"[backend b{number}]", "protocol = pass", f"target = {target}"]
        text += [f"sni = b{number}.example.org"]
    if check:
        text += ["[health-check all]", "protocol = pass", check, f"interval = {INTERVAL_SECONDS}s"]
    path.write_text("\n".join(text) + "\n")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(check: str, backends: int, seconds: float, ports: list[int]) -> tuple[float, float]:
    """@return: the share of one core while checking, and the CPU seconds of starting."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pmmux.ini"
        write_config(path, backends, check, ports)
        twistd = Path(sys.executable).with_name("twistd")
        process = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "pmmux", "--config", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            # The first round is spread over the interval: then every second is like the last.
            time.sleep(INTERVAL_SECONDS + 3)
            started = cpu_seconds(process.pid)
            time.sleep(seconds)
            return (cpu_seconds(process.pid) - started) / seconds, started
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    """Measure each kind and print the table."""
    backends = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    ports = [serve() for _ in range(SERVERS)]
    for name, check in KINDS.items():
        share, started = measure(check, backends, seconds, ports)
        print(
            f"{backends} backends, {name}: {share:.1%} of one core ({started:.1f} s until then)", flush=True
        )


if __name__ == "__main__":
    main()
