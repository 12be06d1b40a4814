"""The compact grammar: what it means, what it refuses, and that what is written is read again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from pmmux.config import grammar
from pmmux.config.grammar import Backend, GrammarError, HealthCheck, PortBinding, Property, Segment


def pairs(properties: tuple[Property, ...]) -> list[tuple[str, str]]:
    return [(each.key, each.value) for each in properties]


def properties_of(text: str) -> list[tuple[str, str]]:
    (segment,) = grammar.parse_segments(text)
    assert segment.properties is not None
    return pairs(segment.properties)


class SegmentTests(unittest.SynchronousTestCase):
    """Delimiters, quotes and escapes."""

    def test_texts(self) -> None:
        found = grammar.parse_segments('a: b :"c:d, e=f":')
        self.assertEqual([each.text for each in found], ["a", "b", "c:d, e=f", ""])
        self.assertEqual([each.properties for each in found], [None] * 4)
        self.assertEqual([each.column for each in found], [1, 3, 8, 8])

    def test_properties(self) -> None:
        self.assertEqual(
            properties_of('a=1, b = "x:y,z" ,flag,c="q\\"w\\\\",d=,e==f'),
            [("a", "1"), ("b", "x:y,z"), ("flag", ""), ("c", 'q"w\\'), ("d", ""), ("e", "=f")],
        )

    def test_negated(self) -> None:
        self.assertEqual(properties_of("remote-ip!=10.0.0.0/8"), [("remote-ip!", "10.0.0.0/8")])

    def test_backslashes_of_regular_expressions_are_literal(self) -> None:
        self.assertEqual(properties_of(r"a=shop\.example\.org\d"), [("a", r"shop\.example\.org\d")])
        self.assertEqual(properties_of(r'a="shop\.example\.org:\d"'), [("a", r"shop\.example\.org:\d")])

    def test_quoted_white_space_stays(self) -> None:
        self.assertEqual(properties_of('a= " x " '), [("a", " x ")])

    def test_refused(self) -> None:
        for text, column in {
            '"': 1,
            'a=b:c="x': 7,
            'a="x\\"': 3,
            'a="x\\': 5,
            "=x": 1,
            "a=1,,b=2": 1,
            "a=1,=2": 5,
            'a=1,"b=2"x,=': 12,
        }.items():
            error = self.assertRaises(GrammarError, grammar.parse_segments, text)
            self.assertEqual(error.column, column, text)
            self.assertTrue(error.reason)

    def test_refusals_hold_nothing_of_the_text(self) -> None:
        for text in ('web:pass:password=hunter2,x="', "web:pass:hunter2:hunter2", 'hunter2"'):
            error = self.assertRaises(GrammarError, grammar.parse_backend, text)
            self.assertNotIn("hunter2", str(error))


class FormTests(unittest.SynchronousTestCase):
    """Port bindings, backends and health checks."""

    def test_port_bindings(self) -> None:
        for text, expected in {
            "443:8443:tcp": ("443", "8443", "tcp", []),
            "443:8443": ("443", "8443", "", []),
            "!:?:udp:": ("!", "?", "udp", []),
            "?:53:udp:listen=false": ("?", "53", "udp", [("listen", "false")]),
            '443:8443:tcp:bind-address="::1"': ("443", "8443", "tcp", [("bind-address", "::1")]),
            "443:8443::listen=false": ("443", "8443", "", [("listen", "false")]),
            "443:8443:listen=false": ("443", "8443", "", [("listen", "false")]),
        }.items():
            found = grammar.parse_port_binding(text)
            self.assertIsInstance(found, PortBinding)
            self.assertEqual((found.public, found.local, found.protocol, pairs(found.properties)), expected)

    def test_backends(self) -> None:
        for text, expected in {
            "rest:noop": ("rest", "noop", []),
            "rest:noop:": ("rest", "noop", []),
            "rest:noop:flag": ("rest", "noop", [("flag", "")]),
            "web:pass:target.ip=127.0.0.1,target.port=3000": (
                "web",
                "pass",
                [("target.ip", "127.0.0.1"), ("target.port", "3000")],
            ),
        }.items():
            found = grammar.parse_backend(text)
            self.assertIsInstance(found, Backend)
            self.assertEqual((found.name, found.protocol, pairs(found.properties)), expected)

    def test_health_checks(self) -> None:
        for text, expected in {
            "pass:web:interval=5000": ("pass", "web", [("interval", "5000")]),
            "pass:interval=5000": ("pass", "", [("interval", "5000")]),
            "pass::interval=1": ("pass", "", [("interval", "1")]),
            "::interval=1": ("", "", [("interval", "1")]),
            "pass": ("pass", "", []),
            "pass:web": ("pass", "web", []),
        }.items():
            found = grammar.parse_health_check(text)
            self.assertIsInstance(found, HealthCheck)
            self.assertEqual((found.protocol, found.backend, pairs(found.properties)), expected)

    def test_refused(self) -> None:
        for parse, texts in {
            grammar.parse_port_binding: [
                "",
                "443",
                "443:",
                ":8443",
                "a=b",
                "1:2:tcp:x=1:y",
                "1:2:tcp:bind=::1",
            ],
            grammar.parse_backend: ["", "web", "web:", ":pass", "web:x=1", "web:pass:target=127.0.0.1:22"],
            grammar.parse_health_check: ["a:b:c:d", "pass:x=1:y=2"],
        }.items():
            for text in texts:
                self.assertRaises(GrammarError, parse, text)

    @given(st.text(alphabet='ab:=,"\\ !?[]\n\0é', max_size=30))
    def test_any_text_is_read_or_refused_with_its_column(self, text: str) -> None:
        for parse in (
            grammar.parse_segments,
            grammar.parse_port_binding,
            grammar.parse_backend,
            grammar.parse_health_check,
        ):
            try:
                parse(text)
            except GrammarError as error:
                self.assertTrue(0 <= error.column <= len(text) + 1)


TEXT = st.text(alphabet=st.one_of(st.sampled_from(':=,"\\ ab\t'), st.characters()), max_size=12)
PROPERTY = st.builds(Property, TEXT.filter(bool), TEXT)
SEGMENT = st.one_of(
    st.builds(Segment, TEXT, st.none(), st.just(0)),
    st.builds(Segment, st.just(""), st.lists(PROPERTY, min_size=1, max_size=4).map(tuple), st.just(0)),
)


class RoundTripTests(unittest.SynchronousTestCase):
    """What is written is read again."""

    @given(st.lists(SEGMENT, min_size=1, max_size=5))
    def test_segments(self, segments: list[Segment]) -> None:
        found = grammar.parse_segments(grammar.format_segments(segments))
        self.assertEqual(
            [
                (None if each.properties else each.text, each.properties and pairs(each.properties))
                for each in found
            ],
            [
                (None if each.properties else each.text, each.properties and pairs(each.properties))
                for each in segments
            ],
        )
