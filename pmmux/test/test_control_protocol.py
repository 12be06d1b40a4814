from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from pmmux.control import protocol
from pmmux.control.arguments import BOOLEAN, INTEGER, LIST, MAPPING, Argument, check_arguments
from pmmux.control.protocol import CommandError, Refusal, Request, parse_request, request_line

ARGUMENTS = (
    Argument("name", is_required=True),
    Argument("level", choices=("low", "high")),
    Argument("limit", INTEGER, default=20, minimum=1, maximum=100),
    Argument("all", BOOLEAN, default=False),
    Argument("ids", LIST),
    Argument("options", MAPPING),
)


class RequestTests(SynchronousTestCase):
    def test_what_is_written_is_read(self) -> None:
        request = Request("a", "backends.add", {"name": "web", "options": {"target": "127.0.0.1:80"}})
        line = request_line(request)
        self.assertTrue(line.endswith(b"\n"))
        self.assertEqual(parse_request(line), request)

    def test_arguments_and_id_may_be_absent(self) -> None:
        self.assertEqual(parse_request(b'{"version":1,"command":"status"}'), Request(None, "status", {}))

    @given(some.binary(max_size=64))
    def test_octets_never_raise(self, octets: bytes) -> None:
        self.assertIsInstance(parse_request(octets), (Request, Refusal))

    @given(
        some.recursive(
            some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
            lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
        )
    )
    def test_json_never_raises(self, value: object) -> None:
        self.assertIsInstance(parse_request(json.dumps(value).encode()), (Request, Refusal))

    def test_refusals(self) -> None:
        for line, code in (
            (b"", protocol.BAD_REQUEST),
            (b"[]", protocol.BAD_REQUEST),
            (b"[" * 60_000, protocol.BAD_REQUEST),
            (b'{"version":1,"id":[],"command":"x"}', protocol.BAD_REQUEST),
            (b'{"version":1,"id":true,"command":"x"}', protocol.BAD_REQUEST),
            (b'{"version":1,"command":5}', protocol.BAD_REQUEST),
            (b'{"version":1,"command":"x","arguments":[]}', protocol.BAD_REQUEST),
            (b'{"version":1,"command":"x","extra":1}', protocol.BAD_REQUEST),
            (b'{"version":1,"command":"x","arguments":{"a":NaN}}', protocol.BAD_REQUEST),
            (b'{"version":' + b"9" * 5000 + b"}", protocol.BAD_REQUEST),
            (b'{"version":2,"command":"x"}', protocol.UNSUPPORTED_VERSION),
            (b'{"version":true,"command":"x"}', protocol.UNSUPPORTED_VERSION),
            (b'{"command":"x"}', protocol.UNSUPPORTED_VERSION),
        ):
            refused = parse_request(line)
            assert isinstance(refused, Refusal), line
            self.assertEqual(refused.error.code, code, line)

    def test_the_id_of_a_refused_request_is_told(self) -> None:
        refused = parse_request(b'{"version":1,"id":"7","command":5}')
        self.assertEqual(refused.id, "7")

    def test_answers_are_one_line_of_ascii(self) -> None:
        line = protocol.result_line(1, "\x1b[31m\u202eevil\ud800\n")
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line.isascii())
        self.assertNotIn(b"\x1b", line)


class ArgumentTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        self.assertEqual(
            check_arguments(ARGUMENTS, {"name": "web"}),
            {"name": "web", "level": None, "limit": 20, "all": False, "ids": None, "options": None},
        )

    def test_refusals(self) -> None:
        for given_ in (
            {},
            {"name": 5},
            {"name": "x" * 20_000},
            {"name": "web", "level": "middle"},
            {"name": "web", "limit": 0},
            {"name": "web", "limit": True},
            {"name": "web", "limit": 1.5},
            {"name": "web", "all": 1},
            {"name": "web", "ids": "5"},
            {"name": "web", "ids": [5]},
            {"name": "web", "options": {"a": 5}},
        ):
            error = self.assertRaises(CommandError, check_arguments, ARGUMENTS, given_)
            self.assertEqual(error.code, protocol.BAD_ARGUMENTS)

    def test_the_nearest_name_is_told(self) -> None:
        error = self.assertRaises(CommandError, check_arguments, ARGUMENTS, {"nam": "web"})
        self.assertIn("did you mean name?", str(error))
