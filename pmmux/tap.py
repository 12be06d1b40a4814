"""C{twistd pmmux}: options, and the service made from them. An entry point: it knows the reactor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.python import usage

from pmmux import __version__
from pmmux.config import values
from pmmux.config.global_options import PMMUX_SECTION
from pmmux.config.options import Option
from pmmux.config.settings import Settings
from pmmux.errors import ConfigurationError
from pmmux.loading import load_settings, read_settings
from pmmux.log_output import rotate_on_signal
from pmmux.logs import LineObserver, make_observer
from pmmux.registry import Registry
from pmmux.reload import ReloadError
from pmmux.service import PmmuxService
from pmmux.systemd import Notifier, read_initial_environment, take_sockets

_ENDING = (signal.SIGTERM, signal.SIGINT)
_RELOADING = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
DEFAULT_FILES = ("pmmux.ini", "pmmux.toml")
# The singular, with its letter, of each option of [pmmux] that is given once for each item.
_REPEATED = {
    "port-bindings": ("port-binding", "p"),
    "backends": ("backend", "b"),
    "health-checks": ("health-check", "z"),
    "extensions": ("extension", "x"),
    "negotiators": ("negotiator", ""),
}
_LETTERS = {
    "routing-strategy": "r",
    "selection-timeout": "s",
    "queue-length": "q",
    "gateway": "g",
    "network-interface": "i",
    "port-map-protocol": "m",
    "verbosity": "v",
    "log-directory": "d",
}


class Options(usage.Options):
    """The options of C{twistd pmmux}: those of C{[pmmux]}, and a few of the command line's own."""

    synopsis = "[options]"
    longdesc = (
        "Listens on ports, looks at what each client first says, and relays to the backend that fits. "
        "See the documentation for the configuration file; the options below take precedence over it, "
        "and over the environment (PMMUX__SELECTION_TIMEOUT=…)."
    )

    optFlags = [["check", None, "Check the configuration, report every fault, and exit."]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.overrides: list[tuple[str, str]] = []
        self.path: str | None = None

    def opt_config(self, path: str) -> None:
        """The configuration file; pmmux.ini or pmmux.toml in this folder where it is not given."""
        self.path = path

    opt_c = opt_config

    def opt_version(self) -> None:
        """Print the version, and exit."""
        print(f"pmmux {__version__}")
        raise SystemExit(0)


def _add_option(option: Option) -> None:
    name, letter = _REPEATED.get(option.name, (option.name, _LETTERS.get(option.name, "")))
    method: Callable[..., None]
    if option.parse is values.boolean:

        def set_flag(self: Options) -> None:
            self.overrides.append((option.name, "true"))

        method = set_flag
    else:

        def set_value(self: Options, value: str) -> None:
            self.overrides.append((option.name, value))

        method = set_value
    method.__doc__ = option.description or option.expected
    setattr(Options, f"opt_{name.replace('-', '_')}", method)
    if letter:
        setattr(Options, f"opt_{letter}", method)


for _option in PMMUX_SECTION.options:
    _add_option(_option)


def makeService(options: Options) -> PmmuxService:
    """
    Read and check the configuration and open the listening sockets: before twistd becomes a daemon
    and gives up privileges, so that what is wrong is said where the user sees it.

    @raises SystemExit: something is wrong; nothing was started.
    """
    from twisted.internet import reactor  # noqa: TID251

    parent: Any = options.parent if options.parent is not None else {}
    settings, registry = _load(options)
    path = _find_file(options)
    # As a daemon we are in another directory.
    path = os.path.abspath(path) if path is not None else None
    service = PmmuxService(reactor, settings, registry, _make_observer(settings, parent))
    service.read_again = lambda: read_settings(registry, options.overrides, os.environ, path)
    try:
        pool = take_sockets(os.environ, os.getpid(), read_initial_environment())
    except ValueError as error:
        _fail(f"sockets from the service manager: {error}")
    service.notifier = Notifier(reactor, os.environ, os.getpid())
    _act_on_signals(reactor, service)
    umask = parent.get("umask")
    before = os.umask(umask) if umask is not None else None
    try:
        faults = service.open(pool)
    finally:
        if before is not None:
            os.umask(before)
    if faults:
        _fail(*faults)
    for place in pool.left():
        PmmuxService.log.warn("the service manager opened {place}, and no listener wants it", place=place)
    pool.close()
    service.control.give_to(parent.get("uid"), parent.get("gid"))
    return service


def _find_file(options: Options) -> str | None:
    return options.path or next((name for name in DEFAULT_FILES if os.path.exists(name)), None)


def _load(options: Options) -> tuple[Settings, Registry]:
    path = _find_file(options)
    try:
        settings, registry = load_settings(options.overrides, os.environ, path)
    except ConfigurationError as error:
        _fail(*error.faults)
    if options["check"]:
        print(f"{path or 'the configuration'} is right")
        raise SystemExit(0)
    return settings, registry


def _make_observer(settings: Settings, parent: Any) -> LineObserver | None:
    option = settings.globals.get
    if option("log-file") and not parent.get("logfile"):
        parent = {**parent, "logfile": option("log-file")}
    try:
        observer = make_observer(
            option("log-format"),
            option("verbosity"),
            option("log-directory") or "",
            option("log-file-max-size"),
            option("log-file-max-retain"),
            parent,
        )
    except OSError as error:
        _fail(f"cannot open the log: {error}")
    if observer is not None:
        rotate_on_signal(observer.output)
    return observer


def _fail(*faults: object) -> Any:
    for fault in faults:
        print(fault, file=sys.stderr)
    raise SystemExit(1)


def _act_on_signals(reactor: Any, service: PmmuxService) -> None:
    """
    Stop and reload by signals, from before anybody can connect to the end of the process.

    The reactor's own handlers make twistd end by the signal it got; a clean stop is status 0.
    """
    stopping: list[bool] = []
    _take_signals(reactor, service, stopping)
    # When the reactor starts it sets its own; what comes just then is held back until it has ours again.
    reactor.addSystemEventTrigger("before", "startup", _hold_back, True)
    reactor.callWhenRunning(_take_signals, reactor, service, stopping)
    reactor.callWhenRunning(_hold_back, False)
    # Nothing is left to be stopped; the interpreter's end would let a late signal kill it.
    reactor.addSystemEventTrigger("after", "shutdown", _pass_over_signals)


def _hold_back(held: bool) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if held else signal.SIG_UNBLOCK, _ENDING)


def _pass_over_signals() -> None:
    for number in (*_ENDING, *_RELOADING):
        signal.signal(number, signal.SIG_IGN)


def _take_signals(reactor: Any, service: PmmuxService, stopping: list[bool]) -> None:
    def reload(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(reload_now)

    def reload_now() -> None:
        # Whatever is wrong stands in the log.
        service.reload().addErrback(_forget_refusal)

    def stop(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop_or_hurry)

    def stop_or_hurry() -> None:
        if stopping:
            service.hurry()
        else:
            stopping.append(True)
            reactor.stop()

    for number in _RELOADING:
        signal.signal(number, reload)
    for number in _ENDING:
        signal.signal(number, stop)


def _forget_refusal(failure: Any) -> None:
    if failure.check(ReloadError) is None:
        PmmuxService.log.failure("reloading failed", failure)
