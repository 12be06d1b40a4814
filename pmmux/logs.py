"""
The log: events of L{twisted.logger} as text lines for people or JSON lines for programs.

twistd begins logging after it has made the service and before it starts it: it takes the
L{ILogObserver} component of the application if there is one. So the service's C{setServiceParent},
which is given the application, is where L{install} belongs.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from constantly import NamedConstant  # type: ignore[import-untyped]
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.access import EVENT_KEY, json_line, text_line
from pmmux.escape import one_line
from pmmux.log_output import (
    DEFAULT_FILE_NAME,
    DEFAULT_MAX_RETAINED,
    DEFAULT_MAX_SIZE_OCTETS,
    FileOutput,
    LineOutput,
    SyslogOutput,
    stream_output,
)
from pmmux.timestamps import utc_text

TEXT = "text"
JSON = "json"
FORMATS = (TEXT, JSON)
VERBOSITIES: Mapping[str, NamedConstant] = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "information": LogLevel.info,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "critical": LogLevel.critical,
}
CONTINUATION = "\n    "

_SYSTEM_NAMESPACE_PREFIX = "pmmux."
_TWISTD_DEFAULT_LOG = "twistd.log"
# What twisted.python.log adds to its events beside what was logged.
_ABOUT_A_PORT = re.compile(r"\S+ starting on \S+|\(\w+ Port \S+ Closed\)")
_LEGACY_KEYS = frozenset({"message", "time", "system", "isError", "format", "failure", "why", "printed"})
_JSON_KEYS = frozenset({"time", "level", "logger", "message", "failure"})


def parse_verbosity(text: str) -> NamedConstant:
    """
    The level of a verbosity name, C{trace} to C{critical}, in any case.

    @raises ValueError: there is no such name.
    """
    level = VERBOSITIES.get(text.strip().lower())
    if level is None:
        raise ValueError(f"{text!r} is not one of {', '.join(VERBOSITIES)}")
    return level


@lru_cache(maxsize=512)
def short_name(namespace: str) -> str:
    """C{pmmux.router.Router} as C{router}: without the package's name and the class's."""
    name = namespace.removeprefix(_SYSTEM_NAMESPACE_PREFIX)
    module, _, last = name.rpartition(".")
    return one_line(module if module and last.lstrip("_")[:1].isupper() else name)


def _traceback(failure: Failure) -> str:
    try:
        return failure.getTraceback().rstrip("\n")
    except Exception as error:  # a broken exception must not take its report along
        return f"no traceback: {type(error).__name__} while it was written"


def text_event(event: LogEvent, with_time: bool = True) -> str:
    """
    One event as C{time level logger: message}; the lines of a traceback follow indented.

    @return: without a line end; empty where the event says nothing.
    """
    message = one_line(formatEvent(event))
    failure = event.get("log_failure")
    if failure is not None:
        lines = [message, *(one_line(line) for line in _traceback(failure).split("\n"))]
        message = CONTINUATION.join(line for line in lines if line)
    if not message:
        return ""
    level = event.get("log_level") or LogLevel.info
    logger = short_name(event.get("log_namespace") or "-")
    head = f"{utc_text(event.get('log_time'))} " if with_time else ""
    return f"{head}{level.name} {logger}: {message}"


def json_event(event: LogEvent, with_time: bool = True) -> str:
    """
    One event as a JSON object on one line, in ASCII, its structured fields under their names.

    A field that has the name of one of the object's own gets C{_} after it.

    @return: without a line end; empty where the event says nothing.
    """
    message = formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return ""
    level = event.get("log_level") or LogLevel.info
    fields: dict[str, Any] = {
        "time": utc_text(event.get("log_time")),
        "level": level.name,
        "logger": short_name(event.get("log_namespace") or "-"),
        "message": message,
    }
    is_legacy = event.get("log_namespace") == "log_legacy"
    for key, value in event.items():
        if key.startswith("log_") or (is_legacy and key in _LEGACY_KEYS):
            continue
        fields[f"{key}_" if key in _JSON_KEYS else key] = value
    if failure is not None:
        fields["failure"] = _traceback(failure)
    try:
        return json.dumps(_jsonable(fields), ensure_ascii=True, separators=(",", ":"))
    except RecursionError:
        return json.dumps({key: _text(value) for key, value in fields.items()}, separators=(",", ":"))


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if type(value) is str:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_text(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8", "backslashreplace")
        if isinstance(value, enum.Enum):
            return str(value.value)
        return value.name if isinstance(value, NamedConstant) else str(value)
    except Exception as error:  # any object may stand in an event, and any may be broken
        return f"<{type(value).__name__}: {type(error).__name__} while it was written>"


@implementer(ILogObserver)
class LineObserver:
    """
    Writes each event of its level or above as a line.

    @ivar output: where the lines go.
    @ivar log_format: C{"text"} or C{"json"}.
    """

    def __init__(self, output: LineOutput, log_format: str = TEXT, verbosity: str = "information") -> None:
        """
        @param log_format: one of L{FORMATS}.
        @param verbosity: one of L{VERBOSITIES}.
        @raises ValueError: C{log_format} or C{verbosity} is none of these.
        """
        if log_format not in FORMATS:
            raise ValueError(f"{log_format!r} is not one of {', '.join(FORMATS)}")
        self.output = output
        self.log_format = log_format
        self._with_time = not output.has_timestamps
        self._render_event: Callable[[LogEvent, bool], str]
        self._render_event, self._render_record = (
            (json_event, json_line) if log_format == JSON else (text_event, text_line)
        )
        self._levels: frozenset[NamedConstant] = frozenset()
        self._level: NamedConstant = LogLevel.info
        self.set_level(verbosity)

    @property
    def level(self) -> str:
        """The name of the lowest level that is written."""
        return str(self._level.name)

    def set_level(self, verbosity: str) -> None:
        """
        Write events of C{verbosity} and above from now on.

        @raises ValueError: there is no such verbosity; nothing changes then.
        """
        lowest = parse_verbosity(verbosity)
        self._levels = frozenset(level for level in LogLevel.iterconstants() if level >= lowest)
        self._level = lowest

    def __call__(self, event: LogEvent) -> None:
        """As L{ILogObserver}."""
        level = event.get("log_level") or LogLevel.info
        if level not in self._levels:
            return
        record = event.get(EVENT_KEY)
        if record is not None:
            self.output.write_soon(self._render_record(record, self._with_time), level)
            return
        if level is LogLevel.info and _is_about_a_port(event):
            return
        line = self._render_event(event, self._with_time)
        if line:
            self.output.write(line.encode("utf-8", "backslashreplace"), level)


def _is_about_a_port(event: LogEvent) -> bool:
    # Twisted's word on each socket of its own, also of those that are not noisy; ours are told of elsewhere.
    if event.get("log_namespace") != "log_legacy":
        return False
    return any(_ABOUT_A_PORT.fullmatch(str(part)) for part in event.get("message") or ())


def choose_output(
    twistd: Mapping[str, Any],
    directory: str = "",
    max_size_octets: int = DEFAULT_MAX_SIZE_OCTETS,
    max_retained: int = DEFAULT_MAX_RETAINED,
) -> LineOutput | None:
    """
    The one place that log lines go to.

    First of: twistd's C{--logger}, C{--syslog}, C{--logfile}; then C{directory}; then, as twistd
    does it, standard output, or C{twistd.log} for a daemon.

    @param twistd: twistd's own options, C{options.parent} in C{makeService}; empty outside twistd.
    @return: C{None} where it is to be left to twistd: C{--logger} brings an observer of its own,
        and a daemon that is to log to standard output is refused.
    @raises OSError: the file cannot be opened.
    """
    if twistd.get("logger"):
        return None
    if twistd.get("syslog"):
        return SyslogOutput(twistd.get("prefix") or "pmmux")
    is_daemon = not (twistd.get("nodaemon", True) or twistd.get("debug"))
    path = twistd.get("logfile")
    if path == "-":
        return None if is_daemon else stream_output(sys.stdout)
    if not path:
        if directory:
            path = os.path.join(directory, DEFAULT_FILE_NAME)
        elif is_daemon:
            path = _TWISTD_DEFAULT_LOG
    return FileOutput(path, max_size_octets, max_retained) if path else stream_output(sys.stdout)


def make_observer(
    log_format: str = TEXT,
    verbosity: str = "information",
    directory: str = "",
    max_size_octets: int = DEFAULT_MAX_SIZE_OCTETS,
    max_retained: int = DEFAULT_MAX_RETAINED,
    twistd: Mapping[str, Any] | None = None,
) -> LineObserver | None:
    """
    The observer that the settings and twistd's options ask for.

    @param log_format: C{log-format}, one of L{FORMATS}.
    @param verbosity: C{verbosity}, one of L{VERBOSITIES}.
    @param directory: C{log-directory}, or empty.
    @param max_size_octets: C{log-file-max-size}.
    @param max_retained: C{log-file-max-retain}.
    @param twistd: as L{choose_output}.
    @return: C{None} where logging is to be left to twistd.
    @raises OSError: the file cannot be opened.
    @raises ValueError: a name is not known.
    """
    output = choose_output(twistd or {}, directory, max_size_octets, max_retained)
    return None if output is None else LineObserver(output, log_format, verbosity)


def install(parent: object, observer: LineObserver | None) -> bool:
    """
    Make C{observer} the one that twistd begins logging to.

    To be called at the start of the service's C{setServiceParent}, with its argument: later is too
    late, twistd then has begun. An observer that an application file has set itself stays.

    @param parent: what the service is put into; only an application takes an observer.
    @return: whether it was taken.
    """
    if observer is None or not isinstance(parent, Componentized):
        return False
    application: Any = parent  # Componentized is not typed
    if application.getComponent(ILogObserver, None) is not None:
        return False
    application.setComponent(ILogObserver, observer)
    return True
