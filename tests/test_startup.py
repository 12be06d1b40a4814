"""Starting and stopping as C{twistd} does it, and what is said when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from tests.support.case import PmmuxCase, one_upstream, read_exactly
from tests.support.peers import Peer, echo
from tests.support.process import clean_environment, twistd
from tests.support.waiting import accepts_on, free_port, wait_for


class StartupCase(PmmuxCase):
    """Runs C{twistd} to its end, or as a daemon."""

    def write(self, config: str) -> Path:
        path = self.directory / "pmmux.ini"
        path.write_text(config)
        return path

    def run_twistd(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [twistd(), *arguments],
            cwd=self.directory,
            env=clean_environment(RUNTIME_DIRECTORY=str(self.directory), **environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run_pmmux(self, config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = self.write(config)
        return self.run_twistd("-n", "--pidfile=", "pmmux", "--config", str(path), *arguments)


class FaultTests(StartupCase):
    """Status 1, every fault, and nothing started."""

    def test_every_fault_is_reported(self) -> None:
        port = free_port()
        done = self.run_pmmux(
            f"[pmmux]\nselection-timeuot = 5s\nconnect-retries = many\n\n"
            f"[listener front]\nbind = 127.0.0.1\nport = {port}\n\n"
            "[backend a]\nprotocol = pass\ntarget = nowhere\n\n"
            "[backend b]\nprotocol = pas\n\n[backend c]\nprotocol = pass\n\n[beckend d]\nprotocol = noop\n"
        )
        self.assertEqual(done.returncode, 1)
        faults = [line for line in done.stderr.splitlines() if "pmmux.ini:" in line]
        self.assertEqual(len(faults), 6, done.stderr)
        for place in (":2 ", ":3 ", ":11 ", ":14 ", ":16 ", ":19 "):
            self.assertTrue(any(place in fault for fault in faults), f"{place} in {done.stderr}")
        for nearest in ("'selection-timeout'", "'pass'", "'backend'"):
            self.assertIn(nearest, done.stderr)
        self.assertNotIn("Traceback", done.stderr + done.stdout)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)

    def test_no_such_file(self) -> None:
        done = self.run_twistd("-n", "--pidfile=", "pmmux", "--config", "missing.ini")
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing.ini", done.stderr)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_not_utf8(self) -> None:
        path = self.directory / "pmmux.ini"
        path.write_bytes(b"[pmmux]\n\xff\xfe = 1\n")
        done = self.run_twistd("-n", "--pidfile=", "pmmux", "--config", str(path))
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_port_in_use(self) -> None:
        taken, free = self.listen(), free_port()
        port = taken.getsockname()[1]
        done = self.run_pmmux(
            f"[listener first]\nbind = 127.0.0.1\nport = {free}\n"
            f"[listener second]\nbind = 127.0.0.1\nport = {port}\n"
            "[backend rest]\nprotocol = noop\n"
        )
        self.assertEqual(done.returncode, 1)
        (said,) = done.stderr.strip().splitlines()
        self.assertIn("listener second", said)
        self.assertIn(f"127.0.0.1:{port}", said)
        self.assertIn("in use", said)
        self.assertNotIn("Traceback", done.stdout)

    def test_address_of_another_machine(self) -> None:
        done = self.run_pmmux("[listener a]\nbind = 192.0.2.1\nport = ?\n[backend rest]\nprotocol = noop\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("192.0.2.1", done.stderr)

    def test_check(self) -> None:
        port = free_port()
        right = f"[listener front]\nbind = 127.0.0.1\nport = {port}\n[backend rest]\nprotocol = noop\n"
        taken = self.listen(where=("127.0.0.1", port))
        self.assertEqual(taken.getsockname()[1], port)
        done = self.run_pmmux(right, "--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("is right", done.stdout)
        wrong = self.run_pmmux(right + "protocool = x\n", "--check")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("did you mean 'protocol'", wrong.stderr)

    def test_precedence(self) -> None:
        # Command line before environment before file: only the last of these is wrong.
        path = self.write(one_upstream(1, "connect-retries = wrong"))
        check = ("-n", "--pidfile=", "pmmux", "--config", str(path), "--check")
        self.assertEqual(self.run_twistd(*check).returncode, 1)
        self.assertEqual(self.run_twistd(*check, PMMUX__CONNECT_RETRIES="2").returncode, 0)
        done = self.run_twistd(*check, "--connect-retries", "2", PMMUX__CONNECT_RETRIES="wrong too")
        self.assertEqual(done.returncode, 0, done.stderr)


class DaemonTests(StartupCase):
    """C{twistd pmmux} without C{-n}."""

    def start_daemon(self, config: str, *arguments: str) -> tuple[int, Path, Path]:
        """@return: its process, its pid file and its log."""
        pid_path, log_path = self.directory / "pmmux.pid", self.directory / "pmmux.log"
        path = self.write(config)
        done = self.run_twistd(
            f"--pidfile={pid_path}", f"--logfile={log_path}", *arguments, "pmmux", "--config", str(path)
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        wait_for(lambda: pid_path.exists() and pid_path.read_text().strip(), "the pid file")
        pid = int(pid_path.read_text())
        self.addCleanup(self.kill, pid)
        wait_for(lambda: log_path.exists() and " accepts on " in log_path.read_text(), "it accepting")
        return pid, pid_path, log_path

    def kill(self, pid: int) -> None:
        if Path(f"/proc/{pid}/cmdline").exists() and b"pmmux" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)

    def wait_gone(self, pid: int) -> None:
        wait_for(lambda: not _runs(pid), "the daemon gone")

    def test_serves_and_ends(self) -> None:
        peer = Peer(self, echo)
        for number in (signal.SIGTERM, signal.SIGINT):
            port = free_port()
            config = one_upstream(peer.port).replace("port = ?", f"port = {port}")
            pid, pid_path, log_path = self.start_daemon(config)
            client = self.connect(port)
            client.sendall(b"hello")
            self.assertEqual(read_exactly(client, 5), b"hello")
            client.close()
            wait_for(lambda path=log_path: "outcome=closed" in path.read_text(), "the line in the log")
            os.kill(pid, number)
            self.wait_gone(pid)
            self.assertFalse(pid_path.exists())
            self.assertNotIn("Traceback", log_path.read_text())
            log_path.unlink()

    def test_umask(self) -> None:
        place = self.directory / "front.sock"
        config = f"[listener front]\nbind = unix:{place}\n[backend rest]\nprotocol = noop\n"
        for umask, mode in (("007", 0o770), ("077", 0o700)):
            pid, _, log_path = self.start_daemon(config, f"--umask={umask}")
            self.assertTrue(accepts_on(place))
            self.assertEqual(stat.S_IMODE(place.stat().st_mode), mode)
            os.kill(pid, signal.SIGTERM)
            self.wait_gone(pid)
            self.assertFalse(place.exists())
            log_path.unlink()

    def test_fault_is_said_before_it_is_a_daemon(self) -> None:
        taken = self.listen()
        config = one_upstream(1).replace("port = ?", f"port = {taken.getsockname()[1]}")
        pid_path = self.directory / "pmmux.pid"
        done = self.run_twistd(f"--pidfile={pid_path}", "pmmux", "--config", str(self.write(config)))
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)
        self.assertFalse(pid_path.exists())

    def test_log_directory(self) -> None:
        logs = self.directory / "logs"
        pid_path = self.directory / "pmmux.pid"
        path = self.write(one_upstream(1, f"log-directory = {logs}"))
        done = self.run_twistd(f"--pidfile={pid_path}", "pmmux", "--config", str(path))
        self.assertEqual(done.returncode, 0, done.stderr)
        log_path = logs / "pmmux.log"
        wait_for(lambda: log_path.exists() and " accepts on " in log_path.read_text(), "it accepting")
        pid = int(pid_path.read_text())
        self.addCleanup(self.kill, pid)
        os.kill(pid, signal.SIGTERM)
        self.wait_gone(pid)


def _runs(pid: int) -> bool:
    # A zombie has ended; in a container nobody may fetch it.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_ACCEPTS = " accepts on "
# Runs twistd, with signals at moments that chance rarely hits.
SIGNALLED = """
import os, signal, sys
from twisted.internet import reactor

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

if "starting" in sys.argv[1]:
    # After the reactor has set handlers of its own, before anybody else is told that it runs.
    reactor.addSystemEventTrigger("after", "startup", os.kill, os.getpid(), int(sys.argv[2]))
else:
    sys.late = Late()
sys.argv[:3] = ["twistd"]
from twisted.scripts.twistd import run
run()
"""


class SignalTests(PmmuxCase):
    def run_signalled(self, moment: str, number: int) -> subprocess.Popen[bytes]:
        path = self.directory / "pmmux.ini"
        path.write_text(one_upstream(1))
        command = [sys.executable, "-c", SIGNALLED, moment, str(int(number))]
        command += ["-n", "--pidfile=", "pmmux", "--config", str(path), "--log-format=json"]
        environment = clean_environment(RUNTIME_DIRECTORY=str(self.directory))
        return self.spawn(command, env=environment, cwd=self.directory)

    def test_while_the_reactor_starts(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.assertEqual(self.run_signalled("starting", number).wait(30), 0)

    def test_while_the_interpreter_ends(self) -> None:
        process = self.run_signalled("ending", signal.SIGTERM)
        output = self.directory / f"{Path(sys.executable).name}.output"
        wait_for(lambda: _ACCEPTS in output.read_text(), "it accepting")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)

    def test_status_is_nought(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.assertEqual(self.start(one_upstream(1)).stop(number), 0)

    def test_at_once_after_the_start(self) -> None:
        # Whenever the signal comes, it ends; cleanly as soon as it accepts.
        pmmux = self.start(one_upstream(1))
        pmmux.send_signal(signal.SIGTERM)
        pmmux.send_signal(signal.SIGTERM)
        started_at = time.monotonic()
        self.assertEqual(pmmux.wait(10), 0)
        self.assertLess(time.monotonic() - started_at, 5)
