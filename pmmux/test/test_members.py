"""The index finds whom a scan of all members would find, without looking at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pmmux.candidates import Candidates
from pmmux.errors import RouteError
from pmmux.members import KNOWN_NAMES_LIMIT, Member, MemberIndex
from pmmux.model import BackendInfo, PriorityTier, RouteTrace, Status
from pmmux.test.doubles import FakeBackend, FakeProtocolBackend, make_condition, make_inspection, make_member
from pmmux.test.hellos import client_hello
from pmmux.test.rules import (
    PROBES,
    clients,
    cut_at,
    make_members,
    rule_lists,
    sayings,
    statuses,
)


class MemberTests(SynchronousTestCase):
    def test_info(self) -> None:
        member = Member(FakeBackend("web", tier=PriorityTier.VIP, weight=3))
        member.routed, member.active, member.status = 5, 2, Status.HEALTHY
        self.assertEqual(member.info(), BackendInfo("web", "fake", PriorityTier.VIP, Status.HEALTHY, 3, 5, 2))

    def test_what_is_known_beforehand(self) -> None:
        self.assertFalse(make_member("a").answers_itself)
        self.assertTrue(Member(FakeProtocolBackend("a")).answers_itself)


def names(members: Any) -> list[str]:
    return [member.name for member in members]


class IndexTests(SynchronousTestCase):
    def looked_at(self, rules: Sequence[dict[str, str]], *chunks: bytes, **rest: Any) -> list[str]:
        inspection = make_inspection(*chunks, probes=PROBES, **rest)
        return names(MemberIndex(make_members(rules)).in_order(inspection))

    def test_without_names_all_are_walked(self) -> None:
        self.assertEqual(self.looked_at([{"detect": "ssh"}, {}, {"sni!": "a.b"}], b"x"), ["0", "1", "2"])

    def test_only_those_with_the_name(self) -> None:
        rules = [{"sni": f"n{n}.example.org"} for n in range(5)]
        self.assertEqual(self.looked_at(rules, client_hello("n3.example.org")), ["3"])
        self.assertEqual(self.looked_at(rules, client_hello("N3.EXAMPLE.org")), ["3"])
        self.assertEqual(self.looked_at(rules, client_hello("other.example.org")), [])
        self.assertEqual(self.looked_at(rules, client_hello(None)), [])
        self.assertEqual(self.looked_at(rules, b"GET"), [])

    def test_order_is_kept_among_names_wildcards_and_the_rest(self) -> None:
        rules = [
            {"sni": "*.example.org"},
            {"sni": "other.example.org"},
            {"detect": "tls"},
            {"sni": "shop.example.org"},
            {},
            {"sni": "*.example.org, shop.example.org"},
        ]
        self.assertEqual(self.looked_at(rules, client_hello("shop.example.org")), ["0", "2", "3", "4", "5"])

    def test_case_counts_where_it_should(self) -> None:
        rules = [{"method": "GET"}, {"method": "get"}, {"path": "/Shop"}, {"property[my.own]": "Blue"}]
        request = b"GET /Shop HTTP/1.1\r\n\r\n"
        self.assertEqual(self.looked_at(rules, request, properties={"my.own": "Blue"}), ["0", "2", "3"])

    def test_lazily(self) -> None:
        """Nobody is asked for the name before somebody wants it."""
        inspection = make_inspection(probes=PROBES)
        walked = MemberIndex(make_members([{}, {"sni": "a.b"}])).in_order(inspection)
        self.assertEqual(next(walked).name, "0")
        self.assertIsNone(inspection.detected())
        self.assertEqual(next(walked).name, "1")

    def test_before_the_name_is_known_each_in_turn(self) -> None:
        rules = [{"sni": "a.b"}, {}, {"sni": "shop.example.org"}, {"sni": "c.d"}]
        hello = client_hello("shop.example.org")
        inspection = make_inspection(hello[:10], probes=PROBES)
        walked = MemberIndex(make_members(rules)).in_order(inspection)
        self.assertEqual(next(walked).name, "0")
        inspection.preview.feed(hello[10:])
        self.assertEqual(names(walked), ["1", "2"])

    def test_named(self) -> None:
        rules = [{"sni": "*.example.org"}, {"sni": "shop.example.org"}, {"property[tls.sni]": "s.*"}, {}]
        index = MemberIndex(make_members(rules))
        for name, expected in (
            ("shop.example.org", ["0", "1", "2"]),
            ("a.example.org", ["0"]),
            ("so", ["2"]),
        ):
            for _ in range(2):
                refused: list[Member] = []
                for member in index._members:
                    member.status = Status.STOPPED
                self.assertIsNone(index.first_named(name, refused))
                self.assertEqual(names(refused), expected)
                refused[-1].status = Status.HEALTHY
                self.assertEqual(index.first_named(name, []).name, expected[-1])

    def test_names_are_not_kept_without_bound(self) -> None:
        index = MemberIndex(make_members([{"sni": "*.example.org"}]))
        for number in range(KNOWN_NAMES_LIMIT + 2):
            self.assertEqual(index.first_named(f"n{number}.example.org", []).name, "0")
        self.assertEqual(len(index._known_names), 2)

    def test_two_ends_meet(self) -> None:
        rules = [{"host": r"a\.b"}, {"sni": "shop.example.org"}, {"host": "c"}, {"sni": "x.y"}]
        self.assertEqual(self.looked_at(rules, client_hello("shop.example.org")), ["1"])


class ScanComparisonTests(SynchronousTestCase):
    """What the index yields, against all members in order, to the same end."""

    def course_of(self, walked: Any, pieces: Sequence[bytes], client: Any, takes: int) -> list[str]:
        inspection = make_inspection(probes=PROBES, client=client, properties={"my.own": "Blue"})
        found: list[str] = []

        async def ask() -> None:
            candidates = Candidates(walked(inspection), inspection, RouteTrace(), frozenset())
            try:
                async for member in candidates:
                    found.append(member.name)
                    if len(found) == takes:
                        return
            except RouteError as refused:
                found.append(refused.outcome)
            found.append("end")

        asked = Deferred.fromCoroutine(ask())
        for piece in pieces:
            found.append("piece" if not asked.called else "late")
            inspection.preview.feed(piece)
        inspection.preview.end()
        result: list[Any] = []
        asked.addBoth(result.append)
        if result and isinstance(result[0], Failure):
            result[0].raiseException()
        self.assertEqual(result, [None])
        return found

    @settings(max_examples=400, deadline=None)
    @given(
        rule_lists,
        st.lists(statuses, min_size=7, max_size=7),
        sayings,
        st.lists(st.integers(0, 400), max_size=4),
        clients,
        st.integers(1, 4),
    )
    def test_same_candidates_at_the_same_time(
        self,
        rules: list[dict[str, str]],
        statuses: list[Status],
        saying: bytes,
        places: list[int],
        client: Any,
        takes: int,
    ) -> None:
        members = make_members(rules)
        for member, status in zip(members, statuses, strict=False):
            member.status = status
        pieces = cut_at(saying, places)
        index = MemberIndex(members)
        by_index = self.course_of(index.in_order, pieces, client, takes)
        by_scan = self.course_of(lambda inspection: iter(members), pieces, client, takes)
        self.assertEqual(by_index, by_scan)

    def test_foreign_conditions_are_walked(self) -> None:
        backend = FakeBackend("odd", make_condition({"sni": "a.b"}).conditions[0])
        walked = MemberIndex([Member(backend)]).in_order(make_inspection(b"x", probes=PROBES))
        self.assertEqual(names(walked), ["odd"])
