"""One connection of the control protocol, on whatever stream."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pmmux.control import protocol
from pmmux.control.arguments import check_arguments
from pmmux.control.interfaces import ICommand
from pmmux.control.protocol import CommandError, Refusal, Request, RequestId

AUTHENTICATE = "authenticate"
CANCEL = "cancel"

SILENCE_SECONDS = 60.0
AUTHENTICATION_SECONDS = 5.0
# A peer that does not read what it asked for is dropped after this.
DEAF_SECONDS = 30.0
RUNNING_LIMIT = 8
LINES_PER_TURN = 16


@implementer(IPushProducer)
class ControlConnection(Protocol):
    """
    Reads requests, runs what they ask for, writes the answers.

    Nothing that a peer sends, or does not read, takes more than a bounded amount of memory or time:
    lines, requests at a time, unread answers and silence all have limits.
    """

    log = Logger()

    def __init__(
        self, service: Any, clock: Any, token: str | None, finished: Callable[[ControlConnection], None]
    ) -> None:
        """
        @param token: what a peer has to know; C{None} where the stream says who it is.
        @param finished: called once when the connection is gone.
        """
        self._service = service
        self._clock = clock
        self._token = token
        self._finished = finished
        self._buffer = b""
        self._running: dict[RequestId, Deferred[None]] = {}
        self._timer: Any = None
        self._resumption: Any = None
        self._is_deaf = False
        self._is_reading = True
        self._dropped: dict[RequestId, int] = {}

    # What the transport calls.

    def connectionMade(self) -> None:
        """As L{Protocol.connectionMade}."""
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._expect(SILENCE_SECONDS if self._token is None else AUTHENTICATION_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        """As L{Protocol.dataReceived}."""
        self._buffer += data
        if self._resumption is None:
            self._take_lines()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """As L{Protocol.connectionLost}."""
        self.connected = 0
        self._expect(None)
        if self._resumption is not None:
            self._resumption.cancel()
            self._resumption = None
        self._buffer = b""
        for running in tuple(self._running.values()):
            running.cancel()
        self._finished(self)

    def pauseProducing(self) -> None:
        """The peer does not read: answer no more for now."""
        self._is_deaf = True
        self._expect(DEAF_SECONDS)
        self._read_or_not()

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._is_deaf = False
        self._rest()
        self._read_or_not()

    def stopProducing(self) -> None:
        """The connection is lost."""

    def close(self) -> None:
        """End it, whatever it is doing."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    # Lines.

    def _take_lines(self) -> None:
        self._resumption = None
        for _ in range(LINES_PER_TURN):
            if self._is_deaf or len(self._running) >= RUNNING_LIMIT:
                break
            line, newline, rest = self._buffer.partition(protocol.NEWLINE)
            if len(line) > protocol.REQUEST_LIMIT_OCTETS:
                message = f"a request has at most {protocol.REQUEST_LIMIT_OCTETS} octets"
                self._end(protocol.error_line(None, CommandError(protocol.TOO_LARGE, message)))
                return
            if not newline:
                self._read_or_not()
                return
            self._buffer = rest
            if line.strip():
                self._take(line)
            if self.transport is None or self.transport.disconnecting:  # type: ignore[attr-defined]
                return
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read on only while what is there already is not enough to do."""
        can_take = not self._is_deaf and len(self._running) < RUNNING_LIMIT
        waiting = protocol.NEWLINE in self._buffer
        if can_take and waiting and self._resumption is None:
            self._resumption = self._clock.callLater(0, self._take_lines)
        wanted = can_take and not waiting
        if wanted is not self._is_reading:
            self._is_reading = wanted
            if wanted:
                self.transport.resumeProducing()  # type: ignore[union-attr]
            else:
                self.transport.pauseProducing()  # type: ignore[union-attr]

    def _take(self, line: bytes) -> None:
        request = protocol.parse_request(line)
        if self._token is not None:
            self._authenticate(request)
            return
        if isinstance(request, Refusal):
            self._write(protocol.error_line(request.id, request.error))
        elif request.command == CANCEL:
            self._cancel(request)
        elif request.id in self._running:
            error = CommandError(protocol.BAD_REQUEST, "a request with this id is running")
            self._write(protocol.error_line(request.id, error))
        else:
            self._begin(request)
        self._rest()

    def _authenticate(self, request: Request | Refusal) -> None:
        # Whoever does not begin with the token, a browser say, is told nothing more and closed.
        assert self._token is not None
        token = request.arguments.get("token") if isinstance(request, Request) else None
        is_right = (
            isinstance(request, Request)
            and request.command == AUTHENTICATE
            and isinstance(token, str)
            and hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())
        )
        if is_right:
            self._token = None
            self._write(protocol.result_line(request.id, None))
            self._rest()
            return
        self.log.warn("a control connection from {peer} was refused: no token", peer=self._peer())
        error = CommandError(protocol.NOT_ALLOWED, f"the first request is {AUTHENTICATE}, with the token")
        self._end(protocol.error_line(request.id, error))

    # Requests.

    def _begin(self, request: Request) -> None:
        running = Deferred.fromCoroutine(self._run(request))
        if not running.called:
            self._running[request.id] = running
            running.addBoth(self._ended, request.id)

    def _ended(self, _: object, identifier: RequestId) -> None:
        self._running.pop(identifier, None)
        self._dropped.pop(identifier, None)
        if self.connected:
            self._rest()
            self._read_or_not()

    async def _run(self, request: Request) -> None:
        try:
            command = self._service.registry.get(ICommand, request.command)
            if command is None:
                raise CommandError(protocol.UNKNOWN_COMMAND, f"there is no command {request.command[:100]!r}")
            arguments = check_arguments(command.arguments, request.arguments)
            if command.is_changing:
                self.log.info(
                    "control: {command} {arguments} by {peer}",
                    command=command.name,
                    arguments=_told(arguments),
                    peer=self._peer(),
                )
            result = await command.run(self._service, arguments, lambda value: self._tell(request.id, value))
            answer = protocol.result_line(request.id, result)
        except CommandError as error:
            answer = protocol.error_line(request.id, error)
        except CancelledError:
            cancelled = CommandError(protocol.CANCELLED, "it was cancelled")
            answer = protocol.error_line(request.id, cancelled)
        except Exception:  # a command may be an extension's: its bug ends neither connection nor service
            self.log.failure("control command {command} failed", command=request.command[:100])
            failed = CommandError(protocol.INTERNAL_ERROR, "it failed; the log of pmmux says why")
            answer = protocol.error_line(request.id, failed)
        self._write(answer)

    def _cancel(self, request: Request) -> None:
        wanted = request.arguments.get("id")
        running = self._running.get(wanted) if isinstance(wanted, (str, int)) else None
        if running is None:
            error = CommandError(protocol.NOT_FOUND, "no request with this id is running")
            self._write(protocol.error_line(request.id, error))
            return
        running.cancel()
        self._write(protocol.result_line(request.id, None))

    def _tell(self, identifier: RequestId, value: Any) -> None:
        if self._is_deaf:
            self._dropped[identifier] = self._dropped.get(identifier, 0) + 1
            return
        dropped = self._dropped.pop(identifier, 0)
        if dropped:
            self._write(protocol.value_line(identifier, {"dropped": dropped}))
        self._write(protocol.value_line(identifier, value))

    # Writing, and the time-out.

    def _write(self, line: bytes) -> None:
        if self.connected:
            self.transport.write(line)  # type: ignore[union-attr]

    def _end(self, line: bytes) -> None:
        self._buffer = b""
        self.dataReceived = self._ignore  # type: ignore[method-assign]
        self._write(line)
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]
        self._expect(AUTHENTICATION_SECONDS)

    def _ignore(self, data: bytes) -> None:
        """What still comes after the last answer."""

    def _rest(self) -> None:
        """Wait for the next request; while one runs, as long as it takes."""
        if self.connected and not self._is_deaf and self._token is None:
            self._expect(None if self._running else SILENCE_SECONDS)

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.callLater(seconds, self.close)

    def _peer(self) -> str:
        peer: Any = self.transport.getPeer()  # type: ignore[union-attr]
        host = getattr(peer, "host", None)
        return "the control socket" if host is None else f"{host}:{peer.port}"


def _told(arguments: Mapping[str, Any]) -> str:
    """The arguments as the log may have them: a backend's options can hold secrets."""
    return json.dumps(
        {name: value for name, value in arguments.items() if isinstance(value, (str, int, list))}
    )
