"""A finished connection is one line, one event, and nobody's to forge."""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, LogPublisher, eventAsText
from twisted.trial import unittest

import pmmux
from pmmux import access, errors
from pmmux.access import EVENT_KEY, AccessLog, AccessRecord, json_line, peer_of, text_line
from pmmux.escape import VALUE_LIMIT_CHARACTERS, field_value
from pmmux.log_output import FLUSH_SECONDS, StreamOutput
from pmmux.logs import LineObserver
from pmmux.model import Address, AnnouncedClient, Client

ROUTED = AccessRecord(
    time=1767268800.25,
    duration_seconds=1.2344,
    listener="front",
    transport="tcp",
    client="192.0.2.1:5555",
    outcome="closed",
    connection_id=42,
    backend="web",
    upstream="127.0.0.1:9443",
    octets_from_client=517,
    octets_from_upstream=12345,
    protocol="tls",
    sni="shop.example.org",
)
REFUSED = AccessRecord(
    time=1767268800.25,
    duration_seconds=0.003,
    listener="front",
    transport="tcp",
    client="[2001:db8::1]:40000",
    outcome="no-backend",
    connection_id=43,
    octets_from_client=18,
    protocol="http",
    host="bad\nname",
    detail="no backend matches",
)
ANNOUNCED = ROUTED._replace(peer="10.0.0.5:41000")
ROUTED_TEXT = (
    "2026-01-01T12:00:00.250Z info access: connection closed client=192.0.2.1:5555 listener=front "
    "transport=tcp backend=web upstream=127.0.0.1:9443 in=517 out=12345 duration=1.234s outcome=closed "
    "id=42 protocol=tls sni=shop.example.org host=- detail=-"
)
REFUSED_TEXT = (
    "2026-01-01T12:00:00.250Z info access: connection closed client=[2001:db8::1]:40000 listener=front "
    "transport=tcp backend=- upstream=- in=18 out=0 duration=0.003s outcome=no-backend "
    'id=43 protocol=http sni=- host=bad\\x0aname detail="no backend matches"'
)
ROUTED_JSON = (
    '{"time":"2026-01-01T12:00:00.250Z","level":"info","logger":"access","message":"connection closed",'
    '"client":"192.0.2.1:5555","listener":"front","transport":"tcp","backend":"web",'
    '"upstream":"127.0.0.1:9443","octets_from_client":517,"octets_from_upstream":12345,'
    '"duration_seconds":1.234400,"outcome":"closed","connection_id":42,"protocol":"tls",'
    '"sni":"shop.example.org","host":"","detail":""}'
)
# What fail2ban puts in place of <HOST>, in short.
HOST_PATTERN = r"(?P<host>[0-9a-f.:]+?)"
HOSTILE = (
    "x outcome=no-backend y",
    'x" outcome=no-backend "',
    "x\n2026-01-01T12:00:00.250Z info access: connection closed client=198.51.100.9:1 outcome=malformed ",
    "\x1b[2K\x1b[1A",
    "\u202eevil\u2066",
    "\u200b",
    "\udc80",
    "a\\x0a",
    "=",
    " ",
    "-",
    "x" * (VALUE_LIMIT_CHARACTERS + 1),
)
VALUES = st.one_of(st.text(max_size=20), st.sampled_from(HOSTILE))
RECORDS = st.builds(
    AccessRecord,
    time=st.floats(0, 4e9),
    duration_seconds=st.floats(0, 1e6),
    listener=VALUES,
    transport=st.sampled_from(["tcp", "udp"]),
    client=VALUES,
    outcome=st.sampled_from(["closed", "malformed"]),
    connection_id=st.integers(0, 10**12),
    backend=VALUES,
    upstream=VALUES,
    octets_from_client=st.integers(0, 10**12),
    octets_from_upstream=st.integers(0, 10**12),
    protocol=VALUES,
    sni=VALUES,
    host=VALUES,
    detail=VALUES,
    peer=VALUES,
)
FIELD = re.compile(r'([a-z]+)=("[^"]*"|\S+)')
DOCUMENTATION = os.path.join(os.path.dirname(os.path.dirname(pmmux.__file__)), "docs", "logging.md")
STRINGS = [name for name, kind in AccessRecord.__annotations__.items() if kind == "str"]


def documentation() -> str:
    """docs/logging.md, which is in the source tree only."""
    if not os.path.exists(DOCUMENTATION):
        raise unittest.SkipTest("not in a source tree")
    with open(DOCUMENTATION, encoding="utf-8") as file:
        return file.read()


class TextLineTests(unittest.SynchronousTestCase):
    def test_routed(self) -> None:
        self.assertEqual(text_line(ROUTED).decode(), ROUTED_TEXT)

    def test_refused(self) -> None:
        self.assertEqual(text_line(REFUSED).decode(), REFUSED_TEXT)

    def test_announced(self) -> None:
        self.assertEqual(text_line(ANNOUNCED).decode(), ROUTED_TEXT + " peer=10.0.0.5:41000")
        self.assertEqual(json_line(ANNOUNCED).decode(), ROUTED_JSON[:-1] + ',"peer":"10.0.0.5:41000"}')
        hostile = json.loads(json_line(ANNOUNCED._replace(peer='unix:/x"\n')))
        self.assertEqual(hostile["peer"], 'unix:/x"\n')

    def test_whose_peer_differs(self) -> None:
        remote, local, peer = Address("192.0.2.1", 5), Address("192.0.2.2", 6), Address("10.0.0.5", 7)
        self.assertEqual(peer_of(Client("tcp", remote, local)), "")
        self.assertEqual(peer_of(AnnouncedClient("tcp", remote, local, peer)), "10.0.0.5:7")

    def test_without_time(self) -> None:
        self.assertEqual(text_line(ROUTED, with_time=False).decode(), ROUTED_TEXT.partition(" ")[2])

    def test_without_source(self) -> None:
        self.assertEqual(str(ROUTED), ROUTED_TEXT[ROUTED_TEXT.index("connection closed") :])

    def test_plain_values_are_not_escaped_one_by_one(self) -> None:
        self.patch(access, "field_value", None)
        self.assertEqual(text_line(ROUTED).decode(), ROUTED_TEXT)
        text_line(ROUTED, with_time=False)
        str(ROUTED)

    def test_hostile_values_in_each_field(self) -> None:
        for name in STRINGS:
            for hostile in HOSTILE:
                line = text_line(ANNOUNCED._replace(**{name: hostile})).decode()
                self.assertEqual(len(line.splitlines()), 1)
                self.assertEqual(len(FIELD.findall(line)), len(AccessRecord._fields) - 1, line)
                self.assertNotIn("198.51.100.9:1 outcome=", line)

    @given(RECORDS)
    def test_fields_can_be_taken_apart(self, record: AccessRecord) -> None:
        line = text_line(record).decode("ascii")
        self.assertTrue(line.isprintable())
        found = dict(FIELD.findall(line))
        for name in ("listener", "backend", "upstream", "protocol", "sni", "host", "detail", "client"):
            self.assertEqual(found[name], field_value(getattr(record, name)), line)

    def test_every_length_about_the_limit(self) -> None:
        for length in range(VALUE_LIMIT_CHARACTERS - 2, VALUE_LIMIT_CHARACTERS + 3):
            for base in (ROUTED, AccessRecord(0.0, 0.0, "", "", "", "", 0)):
                name = "a" * length
                self.assertIn(f" sni={field_value(name)} ", text_line(base._replace(sni=name)).decode())
                found = json.loads(json_line(base._replace(sni=name)))
                self.assertEqual(found["sni"], field_value(name))


class DocumentationTests(unittest.SynchronousTestCase):
    def test_examples(self) -> None:
        lines = documentation().splitlines()
        for example in (ROUTED_TEXT, REFUSED_TEXT, ROUTED_JSON):
            self.assertIn(example, lines)

    def test_every_field(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", documentation(), re.MULTILINE)
        self.assertEqual(
            [text for text, _ in rows], [name for name, _ in FIELD.findall(text_line(ANNOUNCED).decode())]
        )
        self.assertEqual([name for _, name in rows], list(json.loads(json_line(ANNOUNCED)))[4:])
        self.assertEqual({name for _, name in rows}, set(AccessRecord._fields[1:]))

    def test_every_outcome(self) -> None:
        described = documentation().partition("\nOutcomes: ")[2].partition("\n\n")[0]
        slugs = {value for name, value in vars(errors).items() if name.startswith("OUTCOME_")}
        self.assertEqual(set(re.findall("`([a-z-]+)`", described)), slugs)


class Fail2banTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        found = re.search("^failregex = (.*)$", documentation(), re.MULTILINE)
        assert found is not None
        self.pattern = re.compile(found[1].replace("<HOST>", HOST_PATTERN))

    def test_refused_clients_are_found(self) -> None:
        found = self.pattern.search(REFUSED_TEXT)
        assert found is not None
        self.assertEqual(found["host"], "2001:db8::1")

    def test_routed_clients_are_not(self) -> None:
        self.assertIs(self.pattern.search(ROUTED_TEXT), None)

    def test_nobody_is_accused_by_what_a_client_sends(self) -> None:
        for name in ("sni", "host", "detail"):
            for hostile in HOSTILE:
                line = text_line(ROUTED._replace(**{name: hostile})).decode()
                self.assertIs(self.pattern.search(line), None, line)


class JSONLineTests(unittest.SynchronousTestCase):
    def test_routed(self) -> None:
        self.assertEqual(json_line(ROUTED).decode(), ROUTED_JSON)

    @given(RECORDS)
    def test_values_are_native_and_as_sent(self, record: AccessRecord) -> None:
        line = json_line(record).decode("ascii")
        self.assertTrue(line.isprintable())
        found = json.loads(line)
        self.assertEqual("peer" in found, bool(record.peer))
        for name in STRINGS:
            value = getattr(record, name)
            if len(value) <= VALUE_LIMIT_CHARACTERS:
                self.assertEqual(found.get(name, ""), value)
        self.assertEqual(found["octets_from_client"], record.octets_from_client)
        self.assertEqual(found["connection_id"], record.connection_id)
        self.assertAlmostEqual(found["duration_seconds"], record.duration_seconds, 5)


class AccessLogTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.stream = io.BytesIO()
        self.output = StreamOutput(self.stream.write, self.stream.flush)
        self.observer = LineObserver(self.output)
        self.log = AccessLog(LogPublisher(self.observer, self.events.append))

    def test_one_event_with_every_field(self) -> None:
        self.log.write(ROUTED)
        [event] = self.events
        self.assertIs(event[EVENT_KEY], ROUTED)
        self.assertIs(event["log_level"], LogLevel.info)
        self.assertEqual(event["log_time"], ROUTED.time)
        for name in AccessRecord._fields[1:]:
            self.assertEqual(event[name], getattr(ROUTED, name))

    def test_any_other_observer_can_format_it(self) -> None:
        self.log.write(REFUSED)
        text = eventAsText(self.events[0], includeTimestamp=False)
        self.assertEqual(text, "[pmmux.access#info] " + str(REFUSED))

    def test_the_line_is_written(self) -> None:
        self.log.write(ROUTED)
        self.assertEqual(self.stream.getvalue().decode(), ROUTED_TEXT + "\n")

    def test_as_json(self) -> None:
        AccessLog(LineObserver(self.output, "json")).write(ROUTED)
        self.assertEqual(self.stream.getvalue().decode(), ROUTED_JSON + "\n")

    def test_the_line_may_wait(self) -> None:
        clock = Clock()
        self.output.start_buffering(clock)
        self.log.write(ROUTED)
        self.assertEqual(self.stream.getvalue(), b"")
        clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.stream.getvalue().decode(), ROUTED_TEXT + "\n")
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_not_above_its_level(self) -> None:
        self.observer.set_level("warning")
        self.log.write(ROUTED)
        self.assertEqual(self.stream.getvalue(), b"")
