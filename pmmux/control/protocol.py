"""
The control protocol: one JSON object a line, both ways. Pure: octets to values and back.

A request is C{{"version": 1, "id": ..., "command": ..., "arguments": {...}}}; each answer carries
its C{id}, and C{value} (one of several), C{result} (the last) or C{error} (the last too).
C{docs/control-protocol.md} is the whole contract.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from pmmux.errors import PmmuxError

VERSION = 1
REQUEST_LIMIT_OCTETS = 64 * 1024
ID_LIMIT_CHARACTERS = 100
NEWLINE = b"\n"

# What an error's code may be; commands add none of their own.
BAD_REQUEST = "bad-request"
UNSUPPORTED_VERSION = "unsupported-version"
UNKNOWN_COMMAND = "unknown-command"
BAD_ARGUMENTS = "bad-arguments"
NOT_FOUND = "not-found"
CONFLICT = "conflict"
NOT_AVAILABLE = "not-available"
NOT_ALLOWED = "not-allowed"
REFUSED = "refused"
TOO_LARGE = "too-large"
CANCELLED = "cancelled"
INTERNAL_ERROR = "internal-error"

RequestId = str | int | None
_KEYS = frozenset({"version", "id", "command", "arguments"})


@frozen(auto_exc=True, slots=False)
class CommandError(PmmuxError):
    """
    A request that is answered with an error.

    @ivar code: one of the codes of this module.
    @ivar message: in words.
    @ivar details: more lines, each a fault of its own; may be empty.
    """

    code: str
    message: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join((self.message, *self.details))


@frozen(slots=True)
class Request:
    """One request of the right shape; the command and its arguments are not looked at yet."""

    id: RequestId
    command: str
    arguments: Mapping[str, Any]


@frozen(slots=True)
class Refusal:
    """
    What is no request.

    @ivar id: the one it had, where that could be read.
    """

    id: RequestId
    error: CommandError


def parse_request(line: bytes) -> Request | Refusal:
    """Read one line, whatever it is, without its end. Never raises."""
    try:
        found = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not JSON in UTF-8"
        return Refusal(None, CommandError(BAD_REQUEST, reason))
    if not isinstance(found, dict):
        return Refusal(None, CommandError(BAD_REQUEST, "not a JSON object"))
    identifier = found.get("id")
    if not _is_id(identifier):
        message = f"id is a number, a text of at most {ID_LIMIT_CHARACTERS} characters, or absent"
        return Refusal(None, CommandError(BAD_REQUEST, message))
    version, command, arguments = found.get("version"), found.get("command"), found.get("arguments", {})
    if version != VERSION or isinstance(version, bool):
        return Refusal(identifier, CommandError(UNSUPPORTED_VERSION, f"version is {VERSION}"))
    if not isinstance(command, str):
        return Refusal(identifier, CommandError(BAD_REQUEST, "command is a text"))
    if not isinstance(arguments, dict):
        return Refusal(identifier, CommandError(BAD_REQUEST, "arguments is an object"))
    if unknown := sorted(found.keys() - _KEYS):
        names = ", ".join(repr(name)[:ID_LIMIT_CHARACTERS] for name in unknown[:3])
        return Refusal(identifier, CommandError(BAD_REQUEST, f"unknown members: {names}"))
    return Request(identifier, command, arguments)


def request_line(request: Request) -> bytes:
    """C{request} on the wire."""
    return _line(
        {
            "version": VERSION,
            "id": request.id,
            "command": request.command,
            "arguments": dict(request.arguments),
        }
    )


def value_line(identifier: RequestId, value: Any) -> bytes:
    """One of several values of a stream."""
    return _line({"id": identifier, "value": value})


def result_line(identifier: RequestId, result: Any) -> bytes:
    """The last answer to a request that went well."""
    return _line({"id": identifier, "result": result})


def error_line(identifier: RequestId, error: CommandError) -> bytes:
    """The last answer to a request that did not."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        told["details"] = list(error.details)
    return _line({"id": identifier, "error": told})


def _line(value: Any) -> bytes:
    # ASCII: what a client worded cannot drive a terminal that shows the raw line.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + NEWLINE


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_LIMIT_CHARACTERS
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
