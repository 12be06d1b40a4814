"""Tests for the small grammars, and for numbers of variable length."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire.grammar import LINE_END, Found, Grammar, Group, Maybe, OneOf, Run
from pmmux.wire.reading import Incomplete, Number, read_varint

GRAMMAR = Grammar(
    OneOf(b"GO", Group(b"GOTO", b" ", Run(b"0-9", 1, 3, name="line")), name="verb"),
    Maybe(b" ", Run(b"a-z", 2, 4, name="note")),
    LINE_END,
)


class GrammarTests(SynchronousTestCase):
    def test_found(self) -> None:
        for text, fields in (
            (b"GO\n", {"verb": b"GO"}),
            (b"GO abc\r\n", {"verb": b"GO", "note": b"abc"}),
            (b"GOTO 12\n", {"verb": b"GOTO 12", "line": b"12"}),
            (b"GOTO 12 ab\n", {"verb": b"GOTO 12", "line": b"12", "note": b"ab"}),
        ):
            self.assertEqual(Found(fields, len(text)), GRAMMAR.read(text))
            self.assertEqual(Found(fields, len(text)), GRAMMAR.read(text + b"and more"))
            self.assertEqual(Found(fields, len(text) + 2), GRAMMAR.read(b"GO" + text, 2))
            for length in range(len(text)):
                self.assertEqual(Incomplete(length + 1), GRAMMAR.read(text[:length]), text[:length])

    def test_refused_at_the_first_octet_that_cannot_match(self) -> None:
        for text in (
            b"X",
            b"GOX",
            b"GO A",
            b"GO a\n",
            b"GO abcde",
            b"GOTO x",
            b"GOTO 1234",
            b"GO\rx",
            b"GO  ",
        ):
            self.assertIsNone(GRAMMAR.read(text), text)
            self.assertIsNone(GRAMMAR.read(text + b"\n"), text)
            self.assertEqual(Incomplete(len(text)), GRAMMAR.read(text[:-1]), text)

    def test_octets_that_expressions_take_otherwise(self) -> None:
        grammar = Grammar(b"(.*\n)", Run(rb"\x00-\xff", 1, 2), b"]")
        self.assertEqual(Found({}, 8), grammar.read(b"(.*\n)\n\xff]"))
        self.assertIsNone(grammar.read(b"(ab"))


class VarintTests(SynchronousTestCase):
    def test_values(self) -> None:
        for octets, value in (
            (b"\x00", 0),
            (b"\x7f", 127),
            (b"\x80\x01", 128),
            (b"\xff\xff\xff\x7f", 268435455),
        ):
            self.assertEqual(Number(value, len(octets) + 1), read_varint(b"x" + octets, 1, 4))
            for length in range(len(octets)):
                self.assertEqual(Incomplete(length + 2), read_varint(b"x" + octets[:length], 1, 4))

    def test_too_long(self) -> None:
        for octets in (b"\x80\x00", b"\x80\x80\x80\x80", b"\xff\xff\xff\xff\x01"):
            self.assertIsNone(read_varint(octets, 0, 4))
