"""
One line for each finished connection.

The fields come in an order that is part of the contract: what a client can word itself (its SNI,
its Host, the detail of its fault) stands last, so that a pattern read from the left has its client,
backend and outcome before the first of them. No value can hold C{name=}, a quote or a line end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher

from pmmux.escape import CUT_MARK, VALUE_LIMIT_CHARACTERS, field_value
from pmmux.model import AnnouncedClient, Client
from pmmux.timestamps import utc_text

EVENT_KEY = "access"
MESSAGE = "connection closed"

_LOGGER_NAME = "access"
_NAMESPACE = "pmmux.access"
_EVENT_FORMAT = "{access}"
# A line is written at first as if all its values were plain. What is left of it when every plain
# octet is deleted tells whether they were: 0.3 us for the line, against 0.2 us for each value.
_PRINTABLE = bytes(range(0x20, 0x7F))
_PLAIN_IN_TEXT = bytes(octet for octet in _PRINTABLE if octet not in b' ="\\')
_PLAIN_IN_JSON = bytes(octet for octet in _PRINTABLE if octet not in b'"\\')


class AccessRecord(NamedTuple):
    """
    What a finished connection, or datagram session, came to.

    A named tuple because there is one per connection: made in 0.4 us, a frozen attrs value in 1.6.

    @ivar time: when it ended, in seconds since 1970.
    @ivar duration_seconds: from its acceptance to its end.
    @ivar listener: the listener's name.
    @ivar transport: C{"tcp"} or C{"udp"}.
    @ivar client: the client's address, as L{pmmux.model.Address} writes it.
    @ivar outcome: a slug of L{pmmux.errors}.
    @ivar connection_id: unique while the process lives.
    @ivar backend: the backend's name; empty where none was chosen.
    @ivar upstream: the upstream's address; empty where none was reached.
    @ivar octets_from_client: octets taken from the client.
    @ivar octets_from_upstream: octets taken from the upstream, or from the backend itself.
    @ivar protocol: the protocol found; empty where none was.
    @ivar sni: the name in the TLS or QUIC hello, as sent; empty where there was none.
    @ivar host: the name in the HTTP request, as sent; empty where there was none.
    @ivar detail: the outcome in words; may be empty.
    @ivar peer: where a PROXY header announced C{client}: who is really connected; else empty.
    """

    time: float
    duration_seconds: float
    listener: str
    transport: str
    client: str
    outcome: str
    connection_id: int
    backend: str = ""
    upstream: str = ""
    octets_from_client: int = 0
    octets_from_upstream: int = 0
    protocol: str = ""
    sni: str = ""
    host: str = ""
    detail: str = ""
    peer: str = ""

    def __str__(self) -> str:
        return text_line(self, with_time=False, with_source=False).decode("ascii")


# All but the time, which events have under a name of Twisted's.
_FIELDS = AccessRecord._fields[1:]


class AccessLog:
    """
    Publishes an L{AccessRecord} as one log event, at info.

    The event has the record under L{EVENT_KEY} and its fields under their names, as the client sent
    them. It is composed here and not by L{Logger.info}, which costs four times as much; every
    observer gets it nevertheless, and those that do not know the key find a format as always.
    """

    def __init__(self, publisher: ILogObserver = globalLogPublisher) -> None:
        """
        @param publisher: where the events go.
        """
        self._publish = publisher
        self._event: dict[str, Any] = {
            "log_format": _EVENT_FORMAT,
            "log_level": LogLevel.info,
            "log_logger": Logger(namespace=_NAMESPACE, observer=publisher),
            "log_namespace": _NAMESPACE,
            "log_source": None,
        }

    def write(self, record: AccessRecord) -> None:
        """Publish C{record}."""
        event = self._event.copy()
        event["log_time"] = record[0]
        event[EVENT_KEY] = record
        event.update(zip(_FIELDS, record[1:], strict=True))
        self._publish(event)


def peer_of(client: Client) -> str:
    """For L{AccessRecord.peer}."""
    return str(client.peer) if isinstance(client, AnnouncedClient) else ""


def _compose_text(head: str, record: AccessRecord) -> bytes:
    (
        _,
        duration,
        listener,
        transport,
        client,
        outcome,
        number,
        backend,
        upstream,
        from_client,
        from_upstream,
        protocol,
        sni,
        host,
        detail,
        _,
    ) = record
    return (
        f"{head}{MESSAGE} client={client or '-'} listener={listener or '-'} transport={transport or '-'} "
        f"backend={backend or '-'} upstream={upstream or '-'} in={from_client} out={from_upstream} "
        f"duration={duration:.3f}s outcome={outcome or '-'} id={number} protocol={protocol or '-'} "
        f"sni={sni or '-'} host={host or '-'} detail={detail or '-'}"
    ).encode("utf-8", "backslashreplace")


def _compose_json(record: AccessRecord) -> bytes:
    (
        time,
        duration,
        listener,
        transport,
        client,
        outcome,
        number,
        backend,
        upstream,
        from_client,
        from_upstream,
        protocol,
        sni,
        host,
        detail,
        _,
    ) = record
    return (
        f'{{"time":"{utc_text(time)}","level":"info","logger":"{_LOGGER_NAME}","message":"{MESSAGE}",'
        f'"client":"{client}","listener":"{listener}","transport":"{transport}","backend":"{backend}",'
        f'"upstream":"{upstream}","octets_from_client":{from_client},"octets_from_upstream":{from_upstream},'
        f'"duration_seconds":{duration:.6f},"outcome":"{outcome}","connection_id":{number},'
        f'"protocol":"{protocol}","sni":"{sni}","host":"{host}","detail":"{detail}"}}'
    ).encode("utf-8", "backslashreplace")


def _with_values(record: AccessRecord, write: Callable[[str], str]) -> AccessRecord:
    return AccessRecord._make(write(value) if isinstance(value, str) else value for value in record)


def _json_value(text: str) -> str:
    if len(text) > VALUE_LIMIT_CHARACTERS:
        text = text[:VALUE_LIMIT_CHARACTERS] + CUT_MARK
    return json.dumps(text)[1:-1]


_SOURCE = f"info {_LOGGER_NAME}: "
_SHORTEST = AccessRecord(0.0, 0.0, "", "", "", "", 0)
_TEXT_SKELETON = _compose_text("", _SHORTEST).translate(None, _PLAIN_IN_TEXT)
_TEXT_SKELETON_WITH_SOURCE = b"  " + _TEXT_SKELETON
_TEXT_SKELETON_WITH_TIME = b"   " + _TEXT_SKELETON
_JSON_SKELETON = _compose_json(_SHORTEST).translate(None, _PLAIN_IN_JSON)
# In a line no longer than this no value can be too long.
_TEXT_LIMIT_OCTETS = len(_compose_text("", _SHORTEST)) + VALUE_LIMIT_CHARACTERS - 1
_JSON_LIMIT_OCTETS = len(_compose_json(_SHORTEST)) + VALUE_LIMIT_CHARACTERS


def text_line(record: AccessRecord, with_time: bool = True, with_source: bool = True) -> bytes:
    """
    C{record} as C{time info access: connection closed client=… … detail=…}, without a line end.

    All fields are always there, C{-} where they are empty, but for C{peer}, which stands at the end
    where it is not; values are written by L{pmmux.escape.field_value}.

    @param with_time: whether the time comes first.
    @param with_source: whether level and logger come before the message.
    """
    if with_time:
        head, skeleton = f"{utc_text(record.time)} {_SOURCE}", _TEXT_SKELETON_WITH_TIME
    elif with_source:
        head, skeleton = _SOURCE, _TEXT_SKELETON_WITH_SOURCE
    else:
        head, skeleton = "", _TEXT_SKELETON
    line = _compose_text(head, record)
    if len(line) > _TEXT_LIMIT_OCTETS or line.translate(None, _PLAIN_IN_TEXT) != skeleton:
        line = _compose_text(head, _with_values(record, field_value))
    if record.peer:
        line += f" peer={field_value(record.peer)}".encode()
    return line


def json_line(record: AccessRecord, with_time: bool = True) -> bytes:
    """
    C{record} as a JSON object on one line, in ASCII, without a line end.

    @param with_time: makes no difference: the object always has its time.
    """
    line = _compose_json(record)
    if len(line) > _JSON_LIMIT_OCTETS or line.translate(None, _PLAIN_IN_JSON) != _JSON_SKELETON:
        line = _compose_json(_with_values(record, _json_value))
    if record.peer:
        line = line[:-1] + f',"peer":"{_json_value(record.peer)}"}}'.encode()
    return line
