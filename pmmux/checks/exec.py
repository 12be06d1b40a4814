"""C{exec}: runs a program; healthy where it exits with 0."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.checks.interfaces import IHealthCheck
from pmmux.config.options import Option
from pmmux.errors import Fault, UpstreamError
from pmmux.escape import printable
from pmmux.model import SectionValues

OUTPUT_LIMIT_OCTETS = 1024
SHOWN_CHARACTERS = 200
LAST_WORDS_SECONDS = 0.1
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def parse_command(text: str) -> tuple[str, ...]:
    """A program and its arguments, quoted as a shell would have them; no shell is run."""
    arguments = shlex.split(text)
    if not arguments:
        raise ValueError("empty")
    if not os.path.isabs(arguments[0]):
        raise ValueError("the program is to be written with its whole path")
    if shutil.which(arguments[0]) is None:
        raise ValueError("there is no program of that path that may be run")
    return tuple(arguments)


class _Program(ProcessProtocol):
    """Reads what the program says, no more than can be shown, and waits for its end."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self.ended: Deferred[Any] = Deferred()
        self.output = b""
        self._reactor = reactor
        self._closing: Any = None

    def connectionMade(self) -> None:
        """There is nothing for it to read."""
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the beginning."""
        if len(self.output) < OUTPUT_LIMIT_OCTETS:
            self.output += data[: OUTPUT_LIMIT_OCTETS - len(self.output)]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        """Read what it said last, but do not wait for those to whom it may have left its output."""
        self._closing = self._reactor.callLater(LAST_WORDS_SECONDS, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and its pipes are closed."""
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        if not self.ended.called:
            self.ended.callback(reason.value)


@implementer(IHealthCheck)
class ExecCheck:
    """
    See the module. The program gets no environment but this: C{PATH}; C{PMMUX_CHECK}, the section's
    name; C{PMMUX_TARGET}, as configured; C{PMMUX_HOST} and C{PMMUX_PORT}, or C{PMMUX_UNIX_PATH};
    C{PMMUX_TIMEOUT}, in seconds. Its standard input is empty. It is killed at the time-out.
    """

    name = "exec"
    options = (
        Option(
            "command",
            parse_command,
            "a program with its whole path, and arguments",
            description="Program to run, without a shell; it exits with 0 where the backend works.",
        ),
    )

    def validate(self, check: SectionValues) -> Sequence[Fault]:
        """There must be a program."""
        if check.get("command") is None:
            return (Fault(check.location, "command is missing", "command = /path/to/program arguments"),)
        return ()

    async def run(self, target: Any, check: SectionValues, services: Any) -> None:
        """Run it."""
        arguments: tuple[str, ...] = check.get("command")
        program = _Program(services.reactor)
        try:
            process = services.reactor.spawnProcess(
                program, arguments[0], arguments, env=environment_of(target, check)
            )
        except OSError as refused:
            why = refused.strerror or str(refused)
            raise UpstreamError(str(target), f"{arguments[0]} cannot be run: {why}") from None
        try:
            ended = await program.ended
        except CancelledError:
            await _kill(program, process)
            raise
        error = _explain(ended, program.output)
        if error:
            raise UpstreamError(str(target), error)


def environment_of(target: Any, check: SectionValues) -> dict[str, str]:
    """What the program may know; see L{ExecCheck}."""
    environment = {
        "PATH": DEFAULT_PATH,
        "PMMUX_CHECK": check.name,
        "PMMUX_TARGET": str(target),
        "PMMUX_TIMEOUT": f"{check.get('timeout') or 0:g}",
    }
    if getattr(target, "unix_path", None) is not None:
        environment["PMMUX_UNIX_PATH"] = target.unix_path
    elif hasattr(target, "port"):
        environment |= {"PMMUX_HOST": target.host, "PMMUX_PORT": str(target.port)}
    return environment


async def _kill(program: _Program, process: Any) -> None:
    gone: Deferred[Any] = Deferred()
    program.ended = gone
    try:
        process.signalProcess("KILL")
    except ProcessExitedAlready:
        process.loseConnection()
    await gone


def _explain(ended: Any, output: bytes) -> str:
    if not isinstance(ended, ProcessTerminated):
        return ""
    text = f"killed by signal {ended.signal}" if ended.signal is not None else f"exit code {ended.exitCode}"
    first_line = output.decode("utf-8", "replace").strip().partition("\n")[0]
    return f"{text}: {printable(first_line, SHOWN_CHARACTERS)}" if first_line else text


make_check = ExecCheck
