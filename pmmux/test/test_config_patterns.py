"""Patterns: linear in the text, refused where they cannot be, and literals known as such."""

from __future__ import annotations

import re
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.patterns import PATTERN_LIMIT_CHARACTERS, compile_pattern, literal_of

# With a backtracking engine these take longer than anybody waits.
EVIL = ("(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y")
LINEAR_SECONDS = 2.0


class CompileTests(SynchronousTestCase):
    def test_matches_the_whole(self) -> None:
        pattern = compile_pattern("a+b")
        self.assertTrue(pattern.matches("aab"))
        self.assertFalse(pattern.matches("aabc"))
        self.assertFalse(pattern.matches("xaab"))
        self.assertFalse(compile_pattern("a|ab").matches("abc"))
        self.assertTrue(compile_pattern("a|ab").matches("ab"))

    def test_name_with_plain_dots(self) -> None:
        pattern = compile_pattern("www.Example.org", ignore_case=True)
        for text, wanted in {
            "www.example.org": True,
            "wwwxexample.org": True,
            "WWW.EXAMPLE.ORG": True,
            "www.example.or": False,
            "www.example.org.": False,
        }.items():
            self.assertEqual(pattern.matches(text), wanted, text)

    def test_case(self) -> None:
        self.assertFalse(compile_pattern("Abc").matches("aBC"))
        self.assertTrue(compile_pattern("Abc", ignore_case=True).matches("aBC"))

    def test_dot_is_any_character(self) -> None:
        self.assertTrue(compile_pattern("a.b").matches("a\nb"))
        self.assertTrue(compile_pattern("a.b").matches("aäb"))

    def test_octets(self) -> None:
        pattern = compile_pattern(r"\x16\x03.\xff", octets=True)
        self.assertTrue(pattern.begins(b"\x16\x03\n\xff and more"))
        self.assertFalse(pattern.begins(b"x\x16\x03\n\xff"))

    def test_what_is_refused(self) -> None:
        for text in ("a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(", "a{2000}", "[", "*", r"\8"):
            with self.assertRaises(ValueError) as caught:
                compile_pattern(text)
            self.assertIn("not a valid regular expression", str(caught.exception))

    def test_length_is_bounded(self) -> None:
        compile_pattern("a" * PATTERN_LIMIT_CHARACTERS)
        with self.assertRaises(ValueError):
            compile_pattern("a" * (PATTERN_LIMIT_CHARACTERS + 1))

    def test_memory_is_bounded(self) -> None:
        with self.assertRaises(ValueError):
            compile_pattern("((a{100}){100}){100}")

    def test_evil_patterns_take_no_time(self) -> None:
        begun_at = process_time()
        for text in EVIL:
            pattern = compile_pattern(text)
            in_octets = compile_pattern(text, octets=True)
            for subject in ("a" * 20_000 + "!", "x" * 20_000, "ab" * 10_000):
                pattern.matches(subject)
                in_octets.begins(subject.encode())
        self.assertLess(process_time() - begun_at, LINEAR_SECONDS)


class SettledTests(SynchronousTestCase):
    """Whether octets that may follow could make a match none."""

    def test_plain(self) -> None:
        pattern = compile_pattern("GET|POST", octets=True)
        self.assertTrue(pattern.begins_whatever_follows(b"GET"))
        self.assertFalse(pattern.begins_whatever_follows(b"GE"))

    def test_end_of_text(self) -> None:
        for text in ("GET$", r"GET\z", r"(?m)GET$", r"GET(?:$|x)"):
            pattern = compile_pattern(text, octets=True)
            self.assertTrue(pattern.begins(b"GET"), text)
            self.assertFalse(pattern.begins_whatever_follows(b"GET"), text)
        self.assertTrue(compile_pattern("(?m)GET$", octets=True).begins_whatever_follows(b"GET\n"))
        self.assertFalse(compile_pattern("GET$", octets=True).begins_whatever_follows(b"GET\n"))

    def test_word_boundary(self) -> None:
        pattern = compile_pattern(r"GET\b", octets=True)
        self.assertFalse(pattern.begins_whatever_follows(b"GET"))
        self.assertTrue(pattern.begins_whatever_follows(b"GET "))
        self.assertFalse(pattern.begins_whatever_follows(b"GETX"))
        inner = compile_pattern(r"GET\B", octets=True)
        self.assertFalse(inner.begins_whatever_follows(b"GET"))
        self.assertTrue(inner.begins_whatever_follows(b"GETX"))

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["a", "b", "[ab]", "a+", "b*", "(a|b)?", ".", "$", r"\b", r"\B", r"\z", "|", " "]
            ),
            min_size=1,
            max_size=6,
        ),
        st.text("ab \n", max_size=6),
        st.text("ab \n", max_size=3),
    )
    def test_no_continuation_takes_it_back(self, parts: list[str], text: str, more: str) -> None:
        try:
            pattern = compile_pattern("".join(parts), octets=True)
        except ValueError:
            return
        octets = text.encode()
        if pattern.begins_whatever_follows(octets):
            self.assertTrue(pattern.begins(octets))
            self.assertTrue(pattern.begins(octets + more.encode()))


class RangeTests(SynchronousTestCase):
    def test_none_where_anything_may_begin_it(self) -> None:
        self.assertIsNone(compile_pattern(".*x", octets=True).range(64))

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.sampled_from(["a", "B", "[a-c]", "x{2}", "(?:ab|cd)", "y?", "z+", r"\xff"]),
            min_size=1,
            max_size=5,
        ),
        st.booleans(),
        st.integers(1, 12),
        st.data(),
    )
    def test_holds_all_that_matches(
        self, parts: list[str], folded: bool, limit: int, data: st.DataObject
    ) -> None:
        text = "".join(parts)
        bounds = compile_pattern(text, ignore_case=folded, octets=True).range(limit)
        subject = data.draw(
            st.from_regex(
                re.compile(text.encode("latin-1").replace(b"\xff", b"\\xff"), re.IGNORECASE if folded else 0),
                fullmatch=True,
            )
        )
        pattern = compile_pattern(text, ignore_case=folded, octets=True)
        if bounds is None or not pattern.begins(subject):
            return
        low, high = bounds
        for length in range(len(subject) + 1):
            prefix = subject[:length]
            self.assertGreaterEqual(prefix, low[:length])
            self.assertLessEqual(prefix[: len(high)], high)


class LiteralTests(SynchronousTestCase):
    def test_literals(self) -> None:
        for text, literal in (
            ("shop", "shop"),
            (r"shop\.example\.org", "shop.example.org"),
            (r"a\-b\/c", "a-b/c"),
            (r"\[x\]", "[x]"),
            ("a b", "a b"),
            (r"\\", "\\"),
            ("", ""),
        ):
            self.assertEqual(literal_of(text), literal)
            self.assertEqual(compile_pattern(text).literal, literal)

    def test_not_literals(self) -> None:
        for text in (
            "a.b",
            "a*",
            "^a",
            "a$",
            "(a)",
            "a|b",
            "[a]",
            r"\d",
            r"\bx",
            r"\x41",
            r"\Qa.b\E",
            r"\pL",
            "a{2}",
        ):
            self.assertIsNone(literal_of(text), text)

    def test_lower_case_where_case_is_ignored(self) -> None:
        self.assertEqual(compile_pattern("Shop", ignore_case=True).literal, "shop")

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(codec="utf-8"), max_size=12))
    def test_a_literal_is_all_that_is_matched(self, text: str) -> None:
        literal = literal_of(text)
        if literal is None:
            return
        try:
            pattern = compile_pattern(text)
        except ValueError:
            return
        self.assertTrue(pattern.matches(literal))
        self.assertFalse(pattern.matches(literal + "x"))
