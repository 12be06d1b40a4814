"""Lines reach a stream, a rotating file or syslog, in order, and never stop the traffic."""

from __future__ import annotations

import io
import os
import signal

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial import unittest

from pmmux.log_output import (
    BUFFER_LIMIT_OCTETS,
    FLUSH_SECONDS,
    FileOutput,
    StreamOutput,
    SyslogOutput,
    rotate_on_signal,
    stream_output,
)
from pmmux.logs import LineObserver


class StreamOutputTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = io.BytesIO()
        self.output = StreamOutput(self.stream.write, self.stream.flush)
        self.clock = Clock()

    def test_nothing_waits_without_a_clock(self) -> None:
        self.output.write_soon(b"a", LogLevel.info)
        self.assertEqual(self.stream.getvalue(), b"a\n")

    def test_lines_wait_and_are_written_together(self) -> None:
        self.output.start_buffering(self.clock)
        self.output.write_soon(b"a", LogLevel.info)
        self.output.write_soon(b"b", LogLevel.info)
        self.assertEqual(self.stream.getvalue(), b"")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.stream.getvalue(), b"a\nb\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_order_is_kept(self) -> None:
        self.output.start_buffering(self.clock)
        self.output.write_soon(b"a", LogLevel.info)
        self.output.write(b"b", LogLevel.info)
        self.assertEqual(self.stream.getvalue(), b"a\nb\n")

    def test_a_full_buffer_is_written(self) -> None:
        self.output.start_buffering(self.clock)
        line = b"a" * 1000
        for _ in range(BUFFER_LIMIT_OCTETS // len(line) + 1):
            self.output.write_soon(line, LogLevel.info)
        self.assertGreaterEqual(len(self.stream.getvalue()), BUFFER_LIMIT_OCTETS)

    def test_stopping_writes_what_waits(self) -> None:
        self.output.start_buffering(self.clock)
        self.output.write_soon(b"a", LogLevel.info)
        self.output.stop_buffering()
        self.output.write_soon(b"b", LogLevel.info)
        self.assertEqual(self.stream.getvalue(), b"a\nb\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_disk_stops_nothing(self) -> None:
        def refuse(octets: bytes) -> None:
            raise OSError("no space left on device")

        output = StreamOutput(refuse, self.stream.flush)
        output.write(b"a", LogLevel.info)
        output.start_buffering(self.clock)
        output.write_soon(b"b", LogLevel.info)
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(output.lines_lost, 2)

    def test_a_text_stream_gets_utf8(self) -> None:
        binary = io.BytesIO()
        text = io.TextIOWrapper(binary, "ascii")
        stream_output(text).write("ü".encode(), LogLevel.info)
        self.assertEqual(binary.getvalue().decode("utf-8"), "ü\n")

    def test_a_stream_of_text_only(self) -> None:
        stream = io.StringIO()
        stream_output(stream).write("ü".encode(), LogLevel.info)
        self.assertEqual(stream.getvalue(), "ü\n")


class FileOutputTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.path = os.path.join(self.directory, "pmmux.log")

    def open(self, **limits: int) -> FileOutput:
        output = FileOutput(self.path, **limits)
        self.addCleanup(output.close)
        return output

    def read(self, suffix: str = "") -> bytes:
        with open(self.path + suffix, "rb") as file:
            return file.read()

    def test_directory_is_made(self) -> None:
        self.open().write(b"a", LogLevel.info)
        self.assertEqual(self.read(), b"a\n")

    def test_an_existing_file_is_continued(self) -> None:
        self.open().write(b"a", LogLevel.info)
        self.open().write(b"b", LogLevel.info)
        self.assertEqual(self.read(), b"a\nb\n")

    def test_rotates_by_size_and_keeps_so_many(self) -> None:
        output = self.open(max_size_octets=4, max_retained=2)
        for line in (b"aaa", b"bbb", b"ccc", b"ddd", b"eee"):
            output.write(line, LogLevel.info)
        self.assertEqual(sorted(os.listdir(self.directory)), ["pmmux.log", "pmmux.log.1", "pmmux.log.2"])
        self.assertEqual([self.read(), self.read(".1"), self.read(".2")], [b"eee\n", b"ddd\n", b"ccc\n"])

    def test_never_rotates(self) -> None:
        output = self.open(max_size_octets=0)
        for _ in range(10):
            output.write(b"aaa", LogLevel.info)
        self.assertEqual(os.listdir(self.directory), ["pmmux.log"])

    def test_rotates_on_request(self) -> None:
        output = self.open()
        output.write(b"a", LogLevel.info)
        output.request_rotation()
        output.write(b"b", LogLevel.info)
        self.assertEqual([self.read(), self.read(".1")], [b"b\n", b"a\n"])

    def test_a_file_moved_away_is_opened_anew(self) -> None:
        output = self.open()
        output.write(b"a", LogLevel.info)
        os.rename(self.path, self.path + "-moved")
        output.request_rotation()
        output.write(b"b", LogLevel.info)
        self.assertEqual([self.read(), self.read("-moved")], [b"b\n", b"a\n"])

    def test_a_file_replaced_is_opened_anew(self) -> None:
        output = self.open()
        output.write(b"a", LogLevel.info)
        os.rename(self.path, self.path + "-moved")
        with open(self.path, "wb"):
            pass
        output.request_rotation()
        output.write(b"b", LogLevel.info)
        self.assertEqual([self.read(), self.read("-moved")], [b"b\n", b"a\n"])

    def test_closed(self) -> None:
        output = self.open()
        output.close()
        output.close()
        output.write(b"a", LogLevel.info)
        self.assertEqual(output.lines_lost, 1)

    def test_cannot_be_opened(self) -> None:
        os.makedirs(self.path)
        self.assertRaises(OSError, FileOutput, self.path)

    def test_signal_asks_to_rotate(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        output = self.open()
        output.write(b"a", LogLevel.info)
        rotate_on_signal(output)
        signal.raise_signal(signal.SIGUSR1)
        output.write(b"b", LogLevel.info)
        self.assertEqual(self.read(".1"), b"a\n")

    def test_another_handler_of_the_signal_stays(self) -> None:
        def other(number: int, frame: object) -> None:
            """Somebody else's."""

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, other)
        rotate_on_signal(self.open())
        self.assertIs(signal.getsignal(signal.SIGUSR1), other)


class SyslogOutputTests(unittest.SynchronousTestCase):
    def test_priority_and_lines(self) -> None:
        sent: list[tuple[int, str]] = []
        output = SyslogOutput("pmmux", lambda priority, text: sent.append((priority, text)))
        log = Logger(namespace="pmmux.router", observer=LineObserver(output))
        log.warn("careful")
        self.assertEqual(sent, [(4, "warn router: careful")])
        log.failure("failed", Failure(ValueError("first\nsecond")))
        self.assertEqual(sent[1], (2, "critical router: failed"))
        self.assertEqual([text for _, text in sent if "\n" in text], [])
