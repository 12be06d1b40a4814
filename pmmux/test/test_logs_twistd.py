"""twistd begins logging where the settings and its own options say: real runs of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

from twisted.trial import unittest

import pmmux

RUN_LIMIT_SECONDS = 60
PLUGIN = textwrap.dedent("""
    import os

    from twisted.application.service import IServiceMaker, MultiService
    from twisted.logger import ILogObserver, Logger
    from twisted.plugin import IPlugin
    from twisted.python.usage import Options
    from zope.interface import implementer, provider

    from pmmux.access import AccessLog, AccessRecord
    from pmmux.logs import install, make_observer


    class Sample(MultiService):
        log = Logger(namespace="pmmux.sample.Sample")

        def __init__(self, observer):
            super().__init__()
            self.observer = observer

        def setServiceParent(self, parent):
            install(parent, self.observer)
            super().setServiceParent(parent)

        def startService(self):
            from twisted.internet import reactor

            super().startService()
            self.log.debug("not at this level")
            self.log.info("hello {name}", name="x\\ny")
            print("printed")
            if self.observer is not None:
                self.observer.output.start_buffering(reactor)
            record = AccessRecord(0.0, 1.0, "front", "tcp", "192.0.2.1:5", "closed", 7, sni="a\\nb c")
            AccessLog().write(record)
            reactor.callLater(0, reactor.stop)

        def stopService(self):
            if self.observer is not None:
                self.observer.output.stop_buffering()
            return super().stopService()


    class SampleOptions(Options):
        optParameters = [["log-format", None, "text", ""], ["log-directory", None, "", ""]]


    @provider(ILogObserver)
    def custom(event):
        os.write(1, b"custom: " + str(event.get("log_format")).encode() + b"\\n")


    def make_custom():
        return custom


    @implementer(IServiceMaker, IPlugin)
    class Maker:
        tapname = "logs-sample"
        description = "logs something and ends"
        options = SampleOptions

        def makeService(self, options):
            log_format, directory = options["log-format"], options["log-directory"]
            return Sample(make_observer(log_format, "info", directory, twistd=options.parent))


    maker = Maker()
""")
ACCESS = (
    "1970-01-01T00:00:00.000Z info access: connection closed client=192.0.2.1:5 listener=front transport=tcp "
    "backend=- upstream=- in=0 out=0 duration=1.000s outcome=closed id=7 protocol=- "
    'sni="a\\x0ab c" host=- detail=-'
)


class TwistdTests(unittest.SynchronousTestCase):
    """The real twistd, with a service that logs a little and ends."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        plugins = os.path.join(self.directory, "twisted", "plugins")
        os.makedirs(plugins)
        with open(os.path.join(plugins, "logs_sample_plugin.py"), "w") as file:
            file.write(PLUGIN)

    def run_twistd(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run it to its end: the pipe closes when the last process that has it, a daemon too, is gone.
        """
        source = os.path.dirname(os.path.dirname(os.path.abspath(pmmux.__file__)))
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        try:
            done = subprocess.run(
                [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments],
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([source, self.directory])},
                capture_output=True,
                timeout=RUN_LIMIT_SECONDS,
                pass_fds=(writing,),
                check=False,
            )
        finally:
            os.close(writing)
        os.read(reading, 1)
        return done

    def read(self, *path: str) -> list[str]:
        with open(os.path.join(self.directory, *path), encoding="utf-8") as file:
            return file.read().splitlines()

    def check_text(self, lines: list[str]) -> None:
        """All that a run logs stands there, in our form, in order."""
        position = -1
        for part in (
            "starting up.",
            " info twisted.plugins.logs_sample_plugin: hello x\\x0ay",
            " info stdout: printed",
            ACCESS,
            "Server Shut Down.",
        ):
            found = [number for number, line in enumerate(lines) if line.endswith(part)]
            self.assertEqual(len(found), 1, f"{part} in {lines}")
            self.assertGreater(found[0], position)
            position = found[0]
        self.assertEqual([line for line in lines if "not at this level" in line], [])

    def test_standard_output(self) -> None:
        done = self.run_twistd("--nodaemon", "logs-sample")
        self.check_text(done.stdout.decode().splitlines())
        self.assertEqual(done.stderr, b"")

    def test_json_to_a_directory(self) -> None:
        done = self.run_twistd("--nodaemon", "logs-sample", "--log-format=json", "--log-directory=logs")
        self.assertEqual(done.stdout, b"")
        objects = [json.loads(line) for line in self.read("logs", "pmmux.log")]
        self.assertEqual([found["sni"] for found in objects if found["logger"] == "access"], ["a\nb c"])
        self.assertIn("Server Shut Down.", [found["message"] for found in objects])

    def test_logfile(self) -> None:
        done = self.run_twistd("--nodaemon", "--logfile=own.log", "logs-sample", "--log-directory=logs")
        self.assertEqual(done.stdout, b"")
        self.check_text(self.read("own.log"))
        self.assertFalse(os.path.exists(os.path.join(self.directory, "logs")))

    def test_daemon(self) -> None:
        done = self.run_twistd("--rundir=/", f"--pidfile={self.directory}/pid", "logs-sample")
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.check_text(self.read("twistd.log"))

    def test_daemon_to_standard_output_is_refused(self) -> None:
        done = self.run_twistd("--logfile=-", "logs-sample")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"Daemons cannot log to stdout", done.stderr)

    def test_syslog(self) -> None:
        done = self.run_twistd("--nodaemon", "--syslog", "logs-sample")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_custom_logger(self) -> None:
        done = self.run_twistd(
            "--nodaemon", "--logger=twisted.plugins.logs_sample_plugin.make_custom", "logs-sample"
        )
        lines = done.stdout.decode().splitlines()
        self.assertIn("custom: hello {name}", lines)
        self.assertIn("custom: {access}", lines)
        self.assertEqual([line for line in lines if not line.startswith("custom: ")], [])
