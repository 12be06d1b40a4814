"""The options of C{twistd pmmux}, and what is said where something is wrong."""

from __future__ import annotations

import contextlib
import gc
import io
import os
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from pmmux import __version__, tap
from pmmux.config.global_options import PMMUX_SECTION
from pmmux.tap import Options, makeService

CONFIGURATION = "[listener front]\nbind = 127.0.0.1\nport = {port}\n\n[backend rest]\nprotocol = noop\n"


class OptionsTests(SynchronousTestCase):
    def parse(self, *words: str) -> Options:
        options = Options()
        options.parseOptions(list(words))
        return options

    def test_every_option_of_the_section(self) -> None:
        text = Options().getUsage()
        for option in PMMUX_SECTION.options:
            name, _ = tap._REPEATED.get(option.name, (option.name, ""))
            self.assertIn(f"--{name}", text)

    def test_in_the_order_given(self) -> None:
        options = self.parse(
            "--routing-strategy=least-requests",
            "-p",
            "443:8443:tcp",
            "-b",
            "web:pass:target=127.0.0.1:80",
            "--port-binding",
            "80:8080:tcp",
            "-s",
            "9s",
        )
        self.assertEqual(
            options.overrides,
            [
                ("routing-strategy", "least-requests"),
                ("port-bindings", "443:8443:tcp"),
                ("backends", "web:pass:target=127.0.0.1:80"),
                ("port-bindings", "80:8080:tcp"),
                ("selection-timeout", "9s"),
            ],
        )

    def test_file(self) -> None:
        for words in (("-c", "x.ini"), ("--config", "x.ini"), ("--config=x.ini",)):
            self.assertEqual(self.parse(*words).path, "x.ini")

    def test_unknown(self) -> None:
        self.assertRaises(usage.UsageError, self.parse, "--nosuch")

    def test_letters_are_given_once(self) -> None:
        letters = [letter for _, letter in tap._REPEATED.values() if letter] + list(tap._LETTERS.values())
        self.assertEqual(len(letters), len(set(letters)))

    def test_version(self) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), self.assertRaises(SystemExit) as caught:
            self.parse("--version")
        self.assertEqual((said.getvalue(), caught.exception.code), (f"pmmux {__version__}\n", 0))


class MakeServiceTests(SynchronousTestCase):
    def run_with(self, text: str, *words: str) -> tuple[Any, str, str]:
        """@return: the exit code, what was said, and what was complained of."""
        path = Path(self.mktemp())
        path.mkdir()
        file = path / "pmmux.ini"
        file.write_text(text)
        options = Options()
        options.parseOptions(["--config", str(file), *words])
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            error = self.assertRaises(SystemExit, makeService, options)
        return error.code, said.getvalue(), complained.getvalue()

    def test_check(self) -> None:
        code, said, complained = self.run_with(CONFIGURATION.format(port=8443), "--check")
        self.assertEqual((code, complained), (0, ""))
        self.assertIn("pmmux.ini is right", said)

    def test_check_opens_nothing(self) -> None:
        # What earlier tests have left is not to go meanwhile.
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        self.run_with(CONFIGURATION.format(port=8443), "--check")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_all_faults(self) -> None:
        code, _, complained = self.run_with("[listener front]\nport = many\n[backend x]\nprotocol = nop\n")
        self.assertEqual(code, 1)
        self.assertIn("pmmux.ini:2 [listener front] port", complained)
        self.assertIn("did you mean 'noop'?", complained)
        self.assertNotIn("Traceback", complained)
