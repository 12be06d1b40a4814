"""The other end of the control protocol: for C{pmmuxctl}, on plain sockets that wait."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pmmux.config.steering_options import listening_place
from pmmux.config.values import UNIX_PREFIX
from pmmux.control import protocol
from pmmux.control.places import running_sockets, searched
from pmmux.control.protocol import CommandError, Request
from pmmux.errors import PmmuxError

TOKEN_VARIABLE = "PMMUX_CONTROL_TOKEN"
CONNECT_SECONDS = 5.0
# A command may wait for connections to end; a dead process is noticed by its closed socket.
ANSWER_SECONDS = 30.0
_ITS_USER = "only the user it runs as, and root, may ask it"


class UnreachableError(PmmuxError):
    """No running pmmux answers, or the one that does may not be asked."""

    outcome = "unreachable"


def find_place(given: str | None, environment: Mapping[str, str]) -> str:
    """
    The control socket to use.

    @param given: what the user said; C{None} to look where pmmux puts it.
    @raises UnreachableError: there is none, or more than one.
    """
    if given:
        return given
    found = running_sockets(environment, os.geteuid())
    if not found:
        looked = ", ".join(searched(environment, os.geteuid()))
        raise UnreachableError(f"no running pmmux was found in {looked}; say where with --socket PLACE")
    if len(found) > 1:
        places = "\n".join(f"  --socket {path}" for path in found)
        raise UnreachableError(f"several are running; say which:\n{places}")
    return str(found[0])


class ControlClient:
    """One connection to a running pmmux, to be used with C{with}."""

    def __init__(self, place: str, token: str | None = None) -> None:
        """
        @param place: a path, also with C{unix:} before it, or C{HOST:PORT}.
        @param token: for C{HOST:PORT}.
        @raises UnreachableError: it cannot be connected to.
        """
        self._place = place
        self._identifiers = itertools.count(1)
        self._has_heard = False
        try:
            self._socket = _connect(place)
        except (OSError, ValueError) as error:
            raise UnreachableError(f"{place}: {_reason(error, place)}") from None
        self._answers = self._socket.makefile("rb")
        if self._socket.family != socket.AF_UNIX:
            self._authenticate(token)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; what runs for it is cancelled."""
        self._answers.close()
        self._socket.close()

    def fileno(self) -> int:
        """To wait for answers with."""
        return self._socket.fileno()

    def call(self, command: str, seconds: float = ANSWER_SECONDS, /, **arguments: Any) -> Any:
        """
        Ask for C{command}, and wait for its result.

        @param seconds: how long it may take.
        @raises CommandError: it was refused, and why.
        @raises UnreachableError: the connection was lost.
        """
        self._socket.settimeout(seconds)
        identifier = self._send(command, arguments)
        while True:
            answer = self._receive()
            if answer.get("id") == identifier:
                break
        return _result(answer)

    def stream(self, command: str, /, **arguments: Any) -> Iterator[Any]:
        """
        Ask for C{command}, and wait for each value that it tells.

        @raises CommandError: it was refused, and why.
        @raises UnreachableError: the connection was lost.
        """
        self._socket.settimeout(None)
        identifier = self._send(command, arguments)
        while True:
            answer = self._receive()
            if answer.get("id") != identifier:
                continue
            if "value" not in answer:
                _result(answer)
                return
            yield answer["value"]

    def _authenticate(self, token: str | None) -> None:
        try:
            self.call("authenticate", CONNECT_SECONDS, token=token or "")
        except CommandError:
            raise UnreachableError(f"{self._place}: the token in {TOKEN_VARIABLE} is not right") from None

    def _send(self, command: str, arguments: Mapping[str, Any]) -> int:
        identifier = next(self._identifiers)
        try:
            self._socket.sendall(protocol.request_line(Request(identifier, command, arguments)))
        except OSError:
            raise self._lost() from None
        return identifier

    def _lost(self) -> UnreachableError:
        hint = "" if self._has_heard else f" without an answer; {_ITS_USER}"
        return UnreachableError(f"{self._place}: pmmux closed the connection{hint}")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._answers.readline()
        except TimeoutError:
            message = f"{self._place}: no answer within {self._socket.gettimeout():g} s"
            raise UnreachableError(message) from None
        except OSError:
            line = b""
        if not line.endswith(protocol.NEWLINE):
            raise self._lost()
        self._has_heard = True
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise UnreachableError(f"{self._place}: what answers there is no pmmux")
        return answer


def _result(answer: Mapping[str, Any]) -> Any:
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    raise CommandError(error["code"], error["message"], tuple(error.get("details", ())))


def _connect(place: str) -> socket.socket:
    path = _path_of(place)
    if path is not None:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(CONNECT_SECONDS)
            opened.connect(str(path))
        except OSError:
            opened.close()
            raise
        return opened
    try:
        target = listening_place(place)
    except ValueError:
        target = None
    if target is None:
        raise ValueError("neither a socket's path nor HOST:PORT")
    return socket.create_connection((target.host, target.port), CONNECT_SECONDS)


def _path_of(place: str) -> Path | None:
    path = Path(place.removeprefix(UNIX_PREFIX))
    return path if place.startswith(UNIX_PREFIX) or "/" in place or path.exists() else None


def _reason(error: OSError | ValueError, place: str) -> str:
    path = _path_of(place)
    if isinstance(error, PermissionError):
        return f"not allowed: {_ITS_USER}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    if path is not None and isinstance(error, ConnectionRefusedError):
        return "nobody listens there any more" if path.is_socket() else "not a socket"
    if path is not None and isinstance(error, FileNotFoundError):
        return "there is no such socket"
    return getattr(error, "strerror", None) or str(error)
