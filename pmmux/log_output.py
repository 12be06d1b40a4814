"""Where log lines go: a stream, a file that rotates, syslog."""

from __future__ import annotations

import os
import signal
import syslog
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from constantly import NamedConstant  # type: ignore[import-untyped]
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogLevel
from twisted.python.logfile import LogFile

BUFFER_LIMIT_OCTETS = 64 * 1024
FLUSH_SECONDS = 0.25
DEFAULT_FILE_NAME = "pmmux.log"
DEFAULT_MAX_SIZE_OCTETS = 10 * 1024 * 1024
DEFAULT_MAX_RETAINED = 10


class LineOutput(Protocol):
    """
    Takes finished lines, without their line ends, in the order they are to appear.

    @ivar lines_lost: how many could not be written.
    @ivar has_timestamps: whether it dates each line itself.
    """

    lines_lost: int
    has_timestamps: bool

    def write(self, line: bytes, level: NamedConstant) -> None:
        """Write C{line} at once. Never raises: a full disk must not stop the traffic."""

    def write_soon(self, line: bytes, level: NamedConstant) -> None:
        """Write C{line} within L{FLUSH_SECONDS} while buffering, else at once."""

    def start_buffering(self, clock: IReactorTime) -> None:
        """From now on L{write_soon} may wait for other lines to be written together."""

    def stop_buffering(self) -> None:
        """Write what waits, and let nothing wait any more."""

    def request_rotation(self) -> None:
        """Change to a new file before the next line; safe in a signal handler."""


class StreamOutput:
    """
    A L{LineOutput} on a binary stream.

    Lines of events are written at once; those of finished connections, which come by the thousand,
    are collected and written together.
    """

    has_timestamps = False

    def __init__(self, write: Callable[[bytes], object], flush: Callable[[], object]) -> None:
        """
        @param write: writes octets.
        @param flush: makes sure that they have left the process.
        """
        self._write = write
        self._flush = flush
        self._waiting: list[bytes] = []
        self._waiting_octets = 0
        self._clock: IReactorTime | None = None
        self._delayed: IDelayedCall | None = None
        self.lines_lost = 0

    def write(self, line: bytes, level: NamedConstant) -> None:
        """As L{LineOutput.write}."""
        self._waiting.append(line)
        self.flush()

    def write_soon(self, line: bytes, level: NamedConstant) -> None:
        """As L{LineOutput.write_soon}."""
        self._waiting.append(line)
        self._waiting_octets += len(line)
        if self._clock is None or self._waiting_octets >= BUFFER_LIMIT_OCTETS:
            self.flush()
        elif self._delayed is None:
            self._delayed = self._clock.callLater(FLUSH_SECONDS, self._flush_waiting)

    def start_buffering(self, clock: IReactorTime) -> None:
        """As L{LineOutput.start_buffering}."""
        self._clock = clock

    def stop_buffering(self) -> None:
        """As L{LineOutput.stop_buffering}."""
        self._clock = None
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        lines, self._waiting, self._waiting_octets = self._waiting, [], 0
        lines.append(b"")
        try:
            self._write(b"\n".join(lines))
            self._flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.lines_lost += len(lines) - 1

    def request_rotation(self) -> None:
        """A stream does not rotate."""

    def _flush_waiting(self) -> None:
        self._delayed = None
        self.flush()


def stream_output(stream: Any) -> StreamOutput:
    """
    An output on a text stream such as C{sys.stdout}, in UTF-8 whatever the locale says.

    @param stream: it is kept; twistd puts its own in place of C{sys.stdout} later.
    """
    binary = getattr(stream, "buffer", None)
    if binary is None:
        return StreamOutput(lambda octets: stream.write(octets.decode("utf-8")), stream.flush)
    return StreamOutput(binary.write, stream.flush)


class FileOutput(StreamOutput):
    """A L{LineOutput} on a file that rotates by its size, and when asked to."""

    def __init__(
        self,
        path: str,
        max_size_octets: int = DEFAULT_MAX_SIZE_OCTETS,
        max_retained: int = DEFAULT_MAX_RETAINED,
    ) -> None:
        """
        Open C{path} for appending; its directory is made where there is none.

        @param path: taken from the current directory, now: a daemon changes it later.
        @param max_size_octets: the file rotates once it is as large; 0 for never.
        @param max_retained: how many rotated files (C{path.1}, the newest, and so on) are kept, at
            least 1.
        @raises OSError: it cannot be opened.
        """
        self.path = os.path.abspath(path)
        directory, name = os.path.split(self.path)
        os.makedirs(directory, exist_ok=True)
        self._file: Any = _RotatingFile(  # type: ignore[no-untyped-call]
            name, directory, rotateLength=max_size_octets or None, maxRotatedFiles=max(1, max_retained)
        )
        self._rotation_requested = False
        super().__init__(self._write_to_file, self._file.flush)

    def request_rotation(self) -> None:
        """As L{LineOutput.request_rotation}."""
        self._rotation_requested = True

    def close(self) -> None:
        """Write what waits and close the file; lines after that are lost."""
        self.stop_buffering()
        if not self._file.closed:
            self._file.close()

    def _write_to_file(self, octets: bytes) -> None:
        if self._rotation_requested:
            self._rotation_requested = False
            self._change_file()
        if self._file.closed:
            raise ValueError("the file is closed")
        self._file.write(octets)

    def _change_file(self) -> None:
        """Rotate; but where another program has moved the file away, only open the new one."""
        if self._file.is_in_place():
            self._file.rotate()
        elif os.access(self._file.directory, os.W_OK):
            self._file.reopen()


class _RotatingFile(LogFile):
    def is_in_place(self) -> bool:
        """Whether the open file is still the one that its path leads to."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


_PRIORITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}


class SyslogOutput:
    """A L{LineOutput} to the system's log, each line with the priority of its level."""

    has_timestamps = True

    def __init__(self, prefix: str, send: Callable[[int, str], object] | None = None) -> None:
        """
        @param prefix: what twistd calls C{--prefix}: the name the lines stand under.
        @param send: takes priority and text; the system's own by default.
        """
        if send is None:
            # Connected now: a chroot may follow.
            syslog.openlog(prefix, syslog.LOG_PID | syslog.LOG_NDELAY, syslog.LOG_USER)
            send = syslog.syslog
        self._send = send
        self.lines_lost = 0

    def write(self, line: bytes, level: NamedConstant) -> None:
        """As L{LineOutput.write}; the lines of a traceback are sent one by one."""
        priority = _PRIORITIES.get(level, syslog.LOG_INFO)
        try:
            for part in line.decode("utf-8").split("\n"):
                self._send(priority, part)
        except (OSError, ValueError):
            self.lines_lost += 1

    write_soon = write

    def start_buffering(self, clock: IReactorTime) -> None:
        """Syslog takes lines one by one."""

    def stop_buffering(self) -> None:
        """Nothing ever waits."""

    def request_rotation(self) -> None:
        """Syslog rotates its own files."""


def rotate_on_signal(output: LineOutput, number: int = signal.SIGUSR1) -> None:
    """
    Let C{number} ask C{output} to rotate, as twistd does with files it opens itself.

    A handler that somebody else has installed stays.
    """
    if signal.getsignal(number) not in {signal.SIG_DFL, None}:
        return

    def request(number: int, frame: FrameType | None) -> None:
        output.request_rotation()

    signal.signal(number, request)
