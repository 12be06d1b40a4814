"""The distribution in examples/extension, installed and used as anybody's would be."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.case import PmmuxCase
from tests.support.process import ROOT, Pmmux

EXAMPLE = ROOT / "examples" / "extension"


class ExtensionTests(PmmuxCase):
    """A probe, a backend protocol and a strategy of a third party."""

    def setUp(self) -> None:
        super().setUp()
        directory = self.make_directory("extension")
        self.directory = directory
        # A copy: building leaves folders in the source.
        source = self.directory / "source"
        shutil.copytree(EXAMPLE, source)
        self.installed = self.directory / "installed"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
                *("--target", str(self.installed), str(source)),
            ],
            check=True,
            capture_output=True,
        )
        self.config = (EXAMPLE / "greeter.ini").read_text()

    def start_with_extension(self, config: str) -> Pmmux:
        return self.start(config, environment={"PYTHONPATH": str(self.installed)})

    def test_greets(self) -> None:
        """The probe finds the name, the strategy chooses the last match, the backend answers."""
        pmmux = self.start_with_extension(self.config)
        with socket.create_connection(("127.0.0.1", pmmux.port), timeout=10) as client:
            client.sendall(b"HEL")
            client.sendall(b"LO Ada\n")
            self.assertEqual(client.makefile().read(), "Welcome, Ada!\n")
        (line,) = pmmux.wait_finished(1)
        self.assertEqual((line["protocol"], line["backend"]), ("hello", "greeter"))

    def check(self, config: str) -> subprocess.CompletedProcess[str]:
        path = Path(self.directory) / "checked.ini"
        path.write_text(config)
        script = Path(sys.executable).with_name("twistd")
        return subprocess.run(
            [str(script), "-n", "pmmux", "--config", str(path), "--check"],
            check=False,
            env={"PYTHONPATH": str(self.installed), "PATH": "/usr/bin:/bin"},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_missing_is_named(self) -> None:
        """An extension that is not there is named, with those that are."""
        done = self.check(self.config.replace("extensions = greeter", "extensions = waver"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("plugin waver: not installed; installed are greeter", done.stderr)

    def test_broken_is_named(self) -> None:
        """One that cannot be imported is named, with the reason."""
        (self.installed / "pmmux_greeter" / "probe.py").write_text("import nothing_of_this_name\n")
        done = self.check(self.config)
        self.assertEqual(done.returncode, 1)
        self.assertIn("plugin greeter", done.stderr)
        self.assertIn("nothing_of_this_name", done.stderr)
