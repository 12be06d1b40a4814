"""L{pmmux.checks.exec}, with real programs."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor  # noqa: TID251  # only a real one starts programs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pmmux.checks.exec import DEFAULT_PATH, ExecCheck, environment_of, parse_command
from pmmux.config.values import Target
from pmmux.errors import UpstreamError
from pmmux.model import OptionKey, SectionValues
from pmmux.test.health_doubles import TARGET, StubServices


def check_of(*command: str) -> SectionValues:
    return SectionValues("health-check", "probe", {OptionKey("command"): command}, {"timeout": 5.0})


class ExecTests(TestCase):
    timeout = 20

    def run_script(self, script: str) -> Deferred[None]:
        return self.run_program("/bin/sh", "-c", script)

    def run_program(self, *command: str) -> Deferred[None]:
        services = StubServices(reactor=reactor)
        return Deferred.fromCoroutine(ExecCheck().run(TARGET, check_of(*command), services))

    async def reason(self, script: str) -> str:
        failed = await self.assertFailure(self.run_script(script), UpstreamError)
        return str(failed.reason)

    async def test_passes(self) -> None:
        await self.run_script("exit 0")

    async def test_fails_with_its_words(self) -> None:
        self.assertEqual(await self.reason("exit 3"), "exit code 3")
        said = await self.reason("echo 'disk \033[31mfull'; echo more; exit 1")
        self.assertEqual(said, r"exit code 1: disk \x1b[31mfull")

    async def test_killed(self) -> None:
        self.assertEqual(await self.reason("kill -9 $$"), "killed by signal 9")

    async def test_is_given_its_environment_and_no_other(self) -> None:
        script = (
            "import os, sys; found = {k: v for k, v in os.environ.items() if k != 'LC_CTYPE'}; "
            f"sys.exit(found != {environment_of(TARGET, check_of())!r})"
        )
        await self.run_program(sys.executable, "-c", script)

    async def test_standard_input_is_empty(self) -> None:
        await self.run_script('test -z "$(cat)"')

    async def test_whoever_keeps_its_output_is_not_waited_for(self) -> None:
        await self.run_script("sleep 3 & exit 0")

    async def test_cancelling_kills(self) -> None:
        running = self.run_script("exec sleep 60")
        running.cancel()
        await self.assertFailure(running, CancelledError)
        self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)

    async def test_much_output_is_thrown_away(self) -> None:
        said = await self.reason("head -c 1000000 /dev/zero | tr '\\0' x; exit 1")
        self.assertLess(len(said), 300)


class SynchronousTests(SynchronousTestCase):
    def test_cannot_be_started(self) -> None:
        class Exhausted:
            def spawnProcess(self, *arguments: Any, **keywords: Any) -> None:
                raise OSError(11, "Resource temporarily unavailable")

        services = StubServices(reactor=Exhausted())
        running = Deferred.fromCoroutine(ExecCheck().run(TARGET, check_of("/bin/true"), services))
        failed = self.failureResultOf(running, UpstreamError).value
        self.assertEqual(failed.reason, "/bin/true cannot be run: Resource temporarily unavailable")

    def test_cancelled_when_it_has_just_exited(self) -> None:
        class Exited:
            def spawnProcess(self, program: Any, *arguments: Any, **keywords: Any) -> Any:
                self.program = program
                return self

            def signalProcess(self, signal: str) -> None:
                raise ProcessExitedAlready()

            def loseConnection(self) -> None:
                self.program.processEnded(Failure(ProcessDone(0)))

        services = StubServices(reactor=Exited())
        running = Deferred.fromCoroutine(ExecCheck().run(TARGET, check_of("/bin/true"), services))
        running.cancel()
        self.failureResultOf(running, CancelledError)

    def test_environment(self) -> None:
        common = {"PATH": DEFAULT_PATH, "PMMUX_CHECK": "probe", "PMMUX_TIMEOUT": "5"}
        self.assertEqual(
            environment_of(TARGET, check_of()),
            common | {"PMMUX_TARGET": "192.0.2.1:80", "PMMUX_HOST": "192.0.2.1", "PMMUX_PORT": "80"},
        )
        self.assertEqual(
            environment_of(Target("", 0, "/run/x"), check_of()),
            common | {"PMMUX_TARGET": "unix:/run/x", "PMMUX_UNIX_PATH": "/run/x"},
        )

    def test_command(self) -> None:
        self.assertEqual(parse_command("/bin/sh -c 'exit 0'"), ("/bin/sh", "-c", "exit 0"))
        for text in ("", "sh", "/nonexistent/program", "/bin/sh 'unfinished", "/tmp"):
            self.assertRaises(ValueError, parse_command, text)
