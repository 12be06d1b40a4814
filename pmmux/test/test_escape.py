"""Client text cannot forge, hide or reorder anything in a line."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from pmmux.escape import CUT_MARK, VALUE_LIMIT_CHARACTERS, field_value, one_line, printable

HOSTILE = {
    "line feed": ("a\nb", "a\\x0ab"),
    "carriage return": ("a\rb", "a\\x0db"),
    "tab": ("a\tb", "a\\x09b"),
    "NUL": ("a\0b", "a\\x00b"),
    "ANSI": ("\x1b[2J", "\\x1b[2J"),
    "C1 CSI": ("\x9b2J", "\\x9b2J"),
    "delete": ("\x7f", "\\x7f"),
    "next line": ("a\x85b", "a\\x85b"),
    "line separator": ("a\u2028b", "a\\u2028b"),
    "bidi override": ("a\u202eb", "a\\u202eb"),
    "bidi isolate": ("a\u2066b", "a\\u2066b"),
    "zero width": ("a\u200bb", "a\\u200bb"),
    "byte order mark": ("\ufeffa", "\\ufeffa"),
    "surrogate": ("a\udc80", "a\\udc80"),
    "tag character": ("\U000e0041", "\\U000e0041"),
    "invisible filler": ("\u3164", "\\u3164"),
}


def read_back(text: str) -> str:
    """Undo the escapes."""
    return re.sub(
        r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))",
        lambda found: chr(int(found[1] or found[2] or found[3], 16)),
        text,
    )


class PrintableTests(unittest.SynchronousTestCase):
    def test_plain_text_is_returned_itself(self) -> None:
        text = "shop.example.org"
        self.assertIs(printable(text), text)

    def test_hostile_characters_are_escaped(self) -> None:
        for name, (text, expected) in HOSTILE.items():
            self.assertEqual(printable(text), expected, name)

    def test_letters_that_look_alike_are_escaped(self) -> None:
        self.assertEqual(printable("ex\u0430mple"), "ex\\u0430mple")

    def test_quote_and_backslash_are_escaped(self) -> None:
        self.assertEqual(printable('a"b\\x0a'), "a\\x22b\\x5cx0a")

    def test_spaces_stay(self) -> None:
        self.assertEqual(printable("two words"), "two words")

    def test_long_text_is_cut(self) -> None:
        self.assertEqual(printable("abcdef", limit=4), "abcd" + CUT_MARK)
        self.assertEqual(printable("abcd", limit=4), "abcd")
        self.assertEqual(len(printable("a" * 100_000)), VALUE_LIMIT_CHARACTERS + len(CUT_MARK))

    def test_the_limit_counts_what_was_sent(self) -> None:
        self.assertEqual(printable("\n\n\n", limit=2), "\\x0a\\x0a" + CUT_MARK)

    @given(st.text(max_size=VALUE_LIMIT_CHARACTERS))
    def test_anything_can_be_read_back(self, text: str) -> None:
        safe = printable(text)
        self.assertTrue(safe.isascii() and safe.isprintable())
        self.assertNotIn('"', safe)
        self.assertEqual(read_back(safe), text)


class FieldValueTests(unittest.SynchronousTestCase):
    def test_plain_text_is_bare(self) -> None:
        self.assertEqual(field_value("[2001:db8::1]:443"), "[2001:db8::1]:443")

    def test_empty_text_is_a_dash(self) -> None:
        self.assertEqual(field_value(""), "-")

    def test_spaces_are_quoted(self) -> None:
        self.assertEqual(field_value("two words"), '"two words"')

    def test_no_value_passes_for_a_field(self) -> None:
        self.assertEqual(field_value("x outcome=closed"), '"x outcome\\x3dclosed"')
        self.assertEqual(field_value("a=b"), "a\\x3db")

    def test_no_value_leaves_its_quotes(self) -> None:
        self.assertEqual(field_value('x" y'), '"x\\x22 y"')

    @given(st.text())
    def test_any_value_stays_one_value(self, text: str) -> None:
        self.assertRegex(field_value(text), r'\A(?:[!#-<>-~]+|"[ !#-<>-~]+")\Z')


class OneLineTests(unittest.SynchronousTestCase):
    def test_plain_text_is_returned_itself(self) -> None:
        text = 'listener "front": \\ ready'
        self.assertIs(one_line(text), text)

    def test_letters_of_any_language_stay(self) -> None:
        self.assertEqual(one_line("Verbindung abgelehnt: für 東京"), "Verbindung abgelehnt: für 東京")

    def test_hostile_characters_are_escaped(self) -> None:
        for name, (text, expected) in HOSTILE.items():
            self.assertEqual(one_line(text), expected, name)

    @given(st.text())
    def test_nothing_controls(self, text: str) -> None:
        safe = one_line(text)
        self.assertEqual(len(safe.splitlines()), 1 if text else 0)
        for character in safe:
            self.assertNotIn(unicodedata.category(character), {"Cc", "Cs", "Zl", "Zp"}, ascii(character))

    def test_every_format_character_is_escaped(self) -> None:
        seen = {
            hex(code)
            for code in range(0x110000)
            if unicodedata.category(chr(code)) == "Cf" and one_line(chr(code)) == chr(code)
        }
        self.assertEqual(seen, set())
