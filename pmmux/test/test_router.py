"""The router: the same backend however the octets were cut, and backends that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pmmux.errors import OUTCOME_CLIENT_GONE, OUTCOME_MALFORMED, OUTCOME_NO_BACKEND, RouteError
from pmmux.interfaces import IDatagramBackend
from pmmux.model import Address, Client, PriorityTier, RouteTrace, Status
from pmmux.router import Router
from pmmux.strategies.first_available import FirstAvailable
from pmmux.strategies.least_requests import LeastRequests
from pmmux.test.doubles import (
    FakeBackend,
    FakeReporter,
    FirstStrategy,
    make_condition,
    make_inspection,
    run_now,
)
from pmmux.test.rules import (
    BROKEN_HELLO,
    HELLO,
    PROBE_NAMES,
    PROBES,
    REQUEST,
    SAYINGS,
    clients,
    cut_at,
    rule_lists,
    sayings,
)
from pmmux.wire.tls import ClientHello, read_client_hello

Rules = Sequence[dict[str, str]]

#: Lists of backends as people write them.
REALISTIC: dict[str, Rules] = {
    "by name, then protocol": [
        {"detect": "ssh"},
        {"sni": "shop.example.org"},
        {"sni": "*.example.org"},
        {"detect": "http", "host": r"shop\.example\.org"},
        {"detect": "http"},
        {},
    ],
    "tls but for one name": [{"detect": "tls", "sni!": "shop.example.org"}, {"detect": "tls"}],
    "strict": [{"detect": "tls", "sni": "shop.example.org", "alpn": "h2", "remote-ip": "198.51.100.0/24"}],
    "by preview": [{"preview": "hex:1603"}, {"preview": "(GET|POST) "}, {"preview": r"SSH-\d"}, {}],
    "by what looks ahead": [{"preview": r"GET\b"}, {"preview": "SSH-1.99-x$"}, {"preview!": "EHLO$"}, {}],
    "by request": [
        {"method": "POST"},
        {"path": "/Shop", "header[x-kind]": "One"},
        {"host!": r"shop\.example\.org"},
        {"method": "GET"},
    ],
    "by property": [
        {"property[protocol]": "tls"},
        {"property[protocol]": "http; ssh"},
        {"property[tls]": "false"},
    ],
    "nothing but names": [{"sni": name} for name in ("a.example.org", "shop.example.org", "*.example.net")],
    "guarded names before a default": [
        {"sni": "shop.example.org", "remote-ip": "10.0.0.0/8"},
        {"preview": "hex:160301ffff", "sni": "a.b"},
        {},
    ],
}


def make_router(rules: Rules, strategy: Any = None) -> Router:
    router = Router(strategy or FirstAvailable(), FakeReporter())
    for place, rule in enumerate(rules):
        run_now(router.add(FakeBackend(str(place), make_condition(rule, PROBE_NAMES))))
    return router


class _StandIn:
    """A backend that says nothing of what it takes."""

    def __init__(self, name: str) -> None:
        self.name, self.tier, self.weight = name, PriorityTier.NORMAL, 1
        self.spec = FakeBackend(name).spec
        self.condition = make_condition({})

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


@implementer(IDatagramBackend)
class _DatagramsOnly(_StandIn):
    """One that takes no connections."""


class SplitCase(SynchronousTestCase):
    def choice(self, router: Router, pieces: Sequence[bytes], client: Any = None) -> str:
        """The backend chosen, or the outcome, when all has been said; decided as the pieces come."""
        inspection = make_inspection(probes=PROBES, client=client, properties={"my.own": "Blue"})
        result: list[Any] = []
        chosen = Deferred.fromCoroutine(router.select(inspection, RouteTrace()))
        chosen.addBoth(result.append)
        for piece in pieces:
            inspection.preview.feed(piece)
        inspection.preview.end()
        if isinstance(result[0], Failure):
            refused = result[0].value
            assert isinstance(refused, RouteError), result[0]
            return refused.outcome
        return str(result[0].name)

    def choice_of_whole(self, router: Router, octets: bytes, client: Any = None) -> str:
        """The same for all octets at once, by the express lane where that has an answer."""
        inspection = make_inspection(
            octets,
            b"",
            probes=PROBES,
            client=client,
            properties={"my.own": "Blue"},
        )
        if not octets:
            return self.choice(router, [], client)
        now = router.select_now(inspection, [])
        try:
            later: str = run_now(router.select(inspection, RouteTrace())).name
        except RouteError as refused:
            later = refused.outcome
        if now is not None:
            self.assertEqual(now.name, later)
        hello = read_client_hello(octets)
        if isinstance(hello, ClientHello) and hello.server_name and router.asks_names_first():
            named = router.select_named(hello.server_name, [])
            if named is not None:
                self.assertEqual(named.name, later)
        return later


class SplitTests(SplitCase):
    """Any split of the same octets gives the same backend."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(sorted(REALISTIC)),
        sayings,
        st.lists(st.integers(0, 400), max_size=8),
        clients,
        st.booleans(),
    )
    def test_realistic_rules(
        self, rules: str, saying: bytes, places: list[int], client: Any, looks_at_all: bool
    ) -> None:
        router = make_router(REALISTIC[rules], LeastRequests() if looks_at_all else None)
        whole = self.choice(router, [saying] if saying else [], client)
        self.assertEqual(self.choice(router, cut_at(saying, places), client), whole)
        self.assertEqual(self.choice_of_whole(router, saying, client), whole)

    @settings(max_examples=400, deadline=None)
    @given(rule_lists, sayings, st.lists(st.integers(0, 400), max_size=8), clients, st.booleans())
    def test_random_rules(
        self, rules: Rules, saying: bytes, places: list[int], client: Any, looks_at_all: bool
    ) -> None:
        router = make_router(rules, LeastRequests() if looks_at_all else None)
        whole = self.choice(router, [saying] if saying else [], client)
        self.assertEqual(self.choice(router, cut_at(saying, places), client), whole)
        self.assertEqual(self.choice_of_whole(router, saying, client), whole)

    def test_octet_by_octet(self) -> None:
        for name, rules in REALISTIC.items():
            router = make_router(rules)
            for saying in SAYINGS:
                single = [saying[at : at + 1] for at in range(len(saying))]
                whole = self.choice(router, [saying] if saying else [])
                self.assertEqual(self.choice(router, single), whole, (name, saying))

    def test_what_is_expected(self) -> None:
        """So that the others do not compare one mistake with itself."""
        for name, saying, expected in (
            ("by name, then protocol", HELLO, "1"),
            ("by name, then protocol", REQUEST, "3"),
            ("by name, then protocol", b"SSH-2.0-x\r\n", "0"),
            ("by name, then protocol", b"EHLO\r\n", "5"),
            ("by name, then protocol", BROKEN_HELLO, OUTCOME_MALFORMED),
            ("by name, then protocol", b"", "5"),
            ("nothing but names", b"", OUTCOME_CLIENT_GONE),
            ("tls but for one name", HELLO, "1"),
            ("by preview", HELLO, "0"),
            ("by request", REQUEST, "1"),
            ("by property", b"EHLO\r\n", "2"),
            ("nothing but names", HELLO, "1"),
            ("nothing but names", REQUEST, OUTCOME_NO_BACKEND),
        ):
            router = make_router(REALISTIC[name])
            self.assertEqual(self.choice(router, [saying] if saying else []), expected, (name, saying))


class SelectTests(SynchronousTestCase):
    def test_trace(self) -> None:
        trace = RouteTrace()
        member = run_now(make_router([{}], FirstStrategy()).select(make_inspection(), trace))
        self.assertEqual((member.name, trace.chosen, trace.strategy), ("0", "0", "first"))

    def test_strategy_is_given_what_it_needs(self) -> None:
        given_to: list[Any] = []

        class Curious(FirstStrategy):
            async def choose(self, client: Any, properties: Any, candidates: Any) -> Any:
                given_to.extend((client, properties["my.own"]))
                return None

        inspection = make_inspection(properties={"my.own": "x"})
        refused = self.assertRaises(
            RouteError, run_now, make_router([{}], Curious()).select(inspection, RouteTrace())
        )
        self.assertEqual(refused.outcome, OUTCOME_NO_BACKEND)
        self.assertEqual(given_to, [inspection.client, "x"])

    def test_nobody(self) -> None:
        for chunks, outcome in (
            ((), OUTCOME_NO_BACKEND),
            ((b"x", b""), OUTCOME_NO_BACKEND),
            ((b"",), OUTCOME_CLIENT_GONE),
        ):
            selecting = make_router([]).select(make_inspection(*chunks), RouteTrace())
            self.assertEqual(self.assertRaises(RouteError, run_now, selecting).outcome, outcome)

    def test_excluded(self) -> None:
        router = make_router([{}, {}])
        selecting = router.select(make_inspection(), RouteTrace(), {"0"})
        self.assertEqual(run_now(selecting).name, "1")

    def test_express_lane_is_for_strategies_that_take_the_first(self) -> None:
        self.assertIsNone(make_router([{}], FirstStrategy()).select_now(make_inspection(), []))
        self.assertEqual(make_router([{}]).select_now(make_inspection(), []).name, "0")

    def test_express_lane_leaves_to_the_other_what_it_cannot_tell(self) -> None:
        router = make_router([{"detect": "ssh"}, {}])
        self.assertIsNone(router.select_now(make_inspection(b"SS", probes=PROBES), []))
        refused: list[Any] = []
        member = router.select_now(make_inspection(b"GE", probes=PROBES), refused)
        self.assertEqual(member.name, "1")
        self.assertEqual([each.name for each in refused], ["0"])

    def test_named(self) -> None:
        router = make_router([{"sni": "a.b"}, {"sni!": "c.d"}, {"detect": "ssh"}, {"sni": "c.d"}])
        self.assertTrue(router.asks_names_first())
        self.assertEqual(router.select_named("a.b", []).name, "0")
        self.assertEqual(router.select_named("x.y", []).name, "1")
        # Those behind one that asks for something else are not found by name.
        self.assertIsNone(router.select_named("c.d", []))
        refused: list[Any] = []
        router.disable("0")
        self.assertEqual(router.select_named("a.b", refused).name, "1")
        self.assertEqual([each.name for each in refused], ["0"])

    def test_names_do_not_decide_where_others_do(self) -> None:
        for rules in ([{"detect": "tls"}, {"sni": "a.b"}], [{"sni": "a.b", "remote-ip": "10.0.0.1"}], [{}]):
            self.assertFalse(make_router(rules).asks_names_first())
        self.assertFalse(make_router([{"sni": "a.b"}], FirstStrategy()).asks_names_first())

    def test_by_transport(self) -> None:
        """Each transport has the members that may take it; what says nothing of itself stands for any."""

        router = make_router([])
        run_now(router.add(_DatagramsOnly("udp")))
        run_now(router.add(FakeBackend("tcp", make_condition({}))))
        for transport in ("tcp", "udp", "tcp"):
            trace = RouteTrace()
            client = Client(transport, Address("192.0.2.1", 5), Address("192.0.2.2", 6))
            member = run_now(router.select(make_inspection(b"x", client=client), trace))
            self.assertEqual(member.name, transport)
            self.assertEqual([step.backend for step in trace.steps], [transport])
        run_now(router.remove("tcp"))
        inspection = make_inspection(b"x", client=Client("tcp", client.remote, client.local))
        with self.assertRaises(RouteError):
            run_now(router.select(inspection, RouteTrace()))
        run_now(router.add(_StandIn("anything"), "udp"))
        for transport in ("tcp", "udp"):
            inspection = make_inspection(b"x", client=Client(transport, client.remote, client.local))
            self.assertEqual(run_now(router.select(inspection, RouteTrace())).name, "anything")

    def test_must_hear_first(self) -> None:
        self.assertFalse(make_router([]).must_hear_first(PROBE_NAMES))
        self.assertFalse(make_router([{}, {"detect": "ssh"}]).must_hear_first(PROBE_NAMES))
        router = make_router([{"detect": "ssh"}, {}])
        self.assertTrue(router.must_hear_first(PROBE_NAMES))
        router.member("0").status = Status.UNHEALTHY
        self.assertFalse(router.must_hear_first(PROBE_NAMES))
        run_now(router.add(FakeBackend("2", condition=object()), "0"))
        self.assertFalse(router.must_hear_first(PROBE_NAMES))

    def test_what_only_datagrams_can_be_is_passed_over(self) -> None:
        # tls and http are known, as if ssh were a probe for datagrams.
        self.assertFalse(make_router([{"detect": "ssh"}, {}]).must_hear_first(("tls", "http")))
        router = make_router([{"detect": "ssh"}, {"detect": "http"}, {}])
        self.assertTrue(router.must_hear_first(("tls", "http")))
        self.assertFalse(make_router([{"detect!": "ssh"}]).must_hear_first(("tls", "http")))


class LifecycleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reporter = FakeReporter()
        self.router = Router(FirstAvailable(), self.reporter)

    def chosen(self) -> Any:
        return run_now(self.router.select(make_inspection(), RouteTrace()))

    def test_add(self) -> None:
        first, second = FakeBackend("a"), FakeBackend("b")
        run_now(self.router.add(first))
        run_now(self.router.add(second))
        self.assertEqual([info.name for info in self.router.backends()], ["a", "b"])
        self.assertEqual((first.started, self.chosen().name), (1, "a"))
        self.assertEqual(
            self.reporter.events,
            [("backend.added", {"backend": name, "protocol": "fake"}) for name in ("a", "b")],
        )

    def test_one_is_offered_when_it_has_started(self) -> None:
        backend = FakeBackend("a", starting=Deferred())
        adding = Deferred.fromCoroutine(self.router.add(backend))
        self.assertNoResult(adding)
        self.assertEqual(self.router.members(), ())
        backend.starting.callback(None)
        self.successResultOf(adding)
        self.assertEqual(self.chosen().name, "a")

    def test_names_are_unique(self) -> None:
        run_now(self.router.add(FakeBackend("a")))
        again = FakeBackend("a")
        self.assertRaises(ValueError, run_now, self.router.add(again))
        self.assertEqual(again.started, 0)

    def test_replace_keeps_the_place_and_drains_the_old(self) -> None:
        old, new = FakeBackend("a"), FakeBackend("a")
        member = run_now(self.router.add(old))
        run_now(self.router.add(FakeBackend("b")))
        self.router.opened(member)
        run_now(self.router.replace(new))
        self.assertEqual([info.name for info in self.router.backends()], ["a", "b"])
        self.assertIs(self.chosen().backend, new)
        self.assertEqual((member.status, old.stopped), (Status.DRAINING, 0))
        self.router.closed(member)
        self.assertEqual((member.status, old.stopped), (Status.STOPPED, 1))

    def test_remove_waits_for_its_connections(self) -> None:
        backend = FakeBackend("a")
        member = run_now(self.router.add(backend))
        self.router.opened(member)
        self.router.opened(member)
        removing = Deferred.fromCoroutine(self.router.remove("a"))
        self.assertEqual(self.router.backends(), ())
        self.assertFalse(member.is_offered)
        self.router.closed(member)
        self.assertNoResult(removing)
        self.router.closed(member)
        self.successResultOf(removing)
        self.assertEqual((backend.stopped, member.routed, member.active), (1, 2, 0))

    def test_remove_without_connections(self) -> None:
        backend = FakeBackend("a")
        run_now(self.router.add(backend))
        run_now(self.router.remove("a"))
        self.assertEqual(backend.stopped, 1)
        self.assertIsNone(self.router.member("a"))

    def test_unknown_names(self) -> None:
        self.assertRaises(KeyError, run_now, self.router.remove("a"))
        self.assertRaises(KeyError, run_now, self.router.replace(FakeBackend("a")))

    def test_the_same_name_may_come_back_while_the_old_drains(self) -> None:
        old, new = FakeBackend("a"), FakeBackend("a")
        member = run_now(self.router.add(old))
        self.router.opened(member)
        removing = Deferred.fromCoroutine(self.router.remove("a"))
        run_now(self.router.add(new))
        self.router.closed(member)
        self.successResultOf(removing)
        self.assertEqual((old.stopped, new.stopped), (1, 0))
        self.assertIs(self.chosen().backend, new)

    def test_stop(self) -> None:
        backends = [FakeBackend("a"), FakeBackend("b")]
        members = [run_now(self.router.add(backend)) for backend in backends]
        self.router.opened(members[0])
        run_now(self.router.stop())
        self.assertEqual([backend.stopped for backend in backends], [1, 1])
        self.assertEqual(self.router.backends(), ())
        self.router.closed(members[0])
