"""TCP segments and IP fragments, put in order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.explain.fragments import INCOMPLETE_LIMIT, Fragments
from pmmux.explain.reassembly import SEQUENCE_NUMBERS, Reassembly, distance

WHOLE = bytes(range(256)) * 4
ALMOST_WRAPPED = SEQUENCE_NUMBERS - 5


def segments(size: int, first: int = 0) -> list[tuple[int, bytes]]:
    return [((first + at) % SEQUENCE_NUMBERS, WHOLE[at : at + size]) for at in range(0, len(WHOLE), size)]


class DistanceTests(SynchronousTestCase):
    def test_wraps(self) -> None:
        self.assertEqual(distance(SEQUENCE_NUMBERS - 1, 1), 2)
        self.assertEqual(distance(1, SEQUENCE_NUMBERS - 1), -2)


class ReassemblyTests(SynchronousTestCase):
    def feed(self, pieces: list[tuple[int, bytes]], first: int = 0) -> bytes:
        stream = Reassembly(first)
        return b"".join(octets for sequence, piece in pieces for octets in stream.take(sequence, piece))

    def test_in_order_keeps_boundaries(self) -> None:
        stream = Reassembly(0)
        passed = [octets for piece in segments(100) for octets in stream.take(*piece)]
        self.assertEqual(passed, [octets for _, octets in segments(100)])

    @given(st.integers(0, 1 << 32), st.integers(1, 300), st.sampled_from([0, ALMOST_WRAPPED]))
    @settings(max_examples=30, deadline=None)
    def test_any_order_and_repetition(self, seed: int, size: int, first: int) -> None:
        pieces = segments(size, first) * 2
        random.Random(seed).shuffle(pieces)
        self.assertEqual(self.feed(pieces, first), WHOLE)

    def test_repeated_cut_otherwise(self) -> None:
        self.assertEqual(self.feed(segments(100)[:3] + segments(70)), WHOLE)

    def test_overlapping_ahead_of_gap(self) -> None:
        pieces = [(50, WHOLE[50:100]), (20, WHOLE[20:80]), (0, WHOLE[:30]), (100, WHOLE[100:])]
        self.assertEqual(self.feed(pieces), WHOLE)

    def test_first_copy_counts(self) -> None:
        self.assertEqual(self.feed([(0, b"abc"), (0, b"xyz"), (1, b"ycd")]), b"abcd")

    def test_gap_is_not_made_up(self) -> None:
        stream = Reassembly(0)
        self.assertEqual(stream.take(10, b"later"), [])
        self.assertEqual(stream.octets_missing(), 10)

    def test_end_waits_for_what_is_before_it(self) -> None:
        stream = Reassembly(0)
        stream.end(3)
        self.assertFalse(stream.is_complete)
        stream.take(0, b"abc")
        self.assertTrue(stream.is_complete)

    def test_what_waits_is_bounded(self) -> None:
        stream = Reassembly(0)
        for at in range(1, 200):
            stream.take(at * 100_000, bytes(100_000))
        self.assertEqual(stream.octets_missing(), 100_000)


class FragmentsTests(SynchronousTestCase):
    pieces = [(0, WHOLE[:400], True), (400, WHOLE[400:800], True), (800, WHOLE[800:], False)]

    def test_any_order(self) -> None:
        for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 0, 2, 1)):
            fragments = Fragments()
            found = [fragments.take("key", *self.pieces[each]) for each in order]
            self.assertEqual([whole for whole in found if whole is not None], [WHOLE], order)

    def test_of_different_packets(self) -> None:
        fragments = Fragments()
        fragments.take("one", *self.pieces[0])
        self.assertIsNone(fragments.take("other", *self.pieces[2]))

    def test_incomplete_are_bounded(self) -> None:
        fragments = Fragments()
        for key in range(INCOMPLETE_LIMIT + 1):
            fragments.take(key, *self.pieces[0])
        fragments.take(0, *self.pieces[1])
        self.assertIsNone(fragments.take(0, *self.pieces[2]))
