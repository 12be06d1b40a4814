"""Every strategy in L{pmmux.strategies}."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Address, Client, PriorityTier
from pmmux.strategies.first_available import FirstAvailable
from pmmux.strategies.least_connections import LeastConnections
from pmmux.strategies.least_requests import LeastRequests
from pmmux.strategies.random_two_choices import RandomTwoChoices
from pmmux.strategies.round_robin import RoundRobin
from pmmux.strategies.source_hash import SourceHash
from pmmux.test.health_doubles import member

ALL = (FirstAvailable, LeastRequests, LeastConnections, RoundRobin, RandomTwoChoices, SourceHash)
BY_TIER = ALL[1:]


def client(host: str = "198.51.100.7") -> Client:
    return Client("tcp", Address(host, 50000), Address("203.0.113.1", 443))


class StrategyCase(SynchronousTestCase):
    def choose(self, strategy: Any, members: Sequence[Member], host: str = "198.51.100.7") -> Member | None:
        self.asked: list[str] = []

        async def candidates() -> AsyncIterator[Member]:
            for each in members:
                self.asked.append(each.name)
                yield each

        chosen = strategy.choose(client(host), {}, candidates())
        result: Member | None = self.successResultOf(Deferred.fromCoroutine(chosen))
        return result

    def names(self, strategy: Any, members: Sequence[Member], times: int) -> list[str]:
        chosen = [self.choose(strategy, members) for _ in range(times)]
        return [each.name for each in chosen if each is not None]


class CommonTests(StrategyCase):
    def test_provide(self) -> None:
        for make in ALL:
            verifyObject(IRoutingStrategy, make())

    def test_none_of_none(self) -> None:
        for make in ALL:
            self.assertIs(self.choose(make(), ()), None)

    def test_one_of_one(self) -> None:
        one = member("one")
        for make in ALL:
            self.assertIs(self.choose(make(), [one]), one)

    def test_highest_tier_wins(self) -> None:
        standby = member("standby", tier=PriorityTier.STANDBY)
        normal = member("normal")
        fallback = member("fallback", tier=PriorityTier.FALLBACK)
        normal.routed = normal.active = 1000
        for make in BY_TIER:
            strategy = make()
            for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
                self.assertIs(self.choose(strategy, [standby, normal, fallback], host), normal)


class FirstAvailableTests(StrategyCase):
    def test_takes_the_first_and_asks_no_further(self) -> None:
        first = member("first", tier=PriorityTier.FALLBACK)
        self.assertIs(self.choose(FirstAvailable(), [first, member("vip", tier=PriorityTier.VIP)]), first)
        self.assertEqual(self.asked, ["first"])


class LeastRequestsTests(StrategyCase):
    def test_takes_the_fewest_routed(self) -> None:
        one, two, three = member("one"), member("two"), member("three")
        one.routed, two.routed, three.routed = 3, 1, 1
        self.assertIs(self.choose(LeastRequests(), [one, two, three]), two)

    def test_takes_the_first_fallback(self) -> None:
        one = member("one", tier=PriorityTier.FALLBACK)
        two = member("two", tier=PriorityTier.FALLBACK)
        one.routed = 9
        self.assertIs(self.choose(LeastRequests(), [one, two]), one)


class LeastConnectionsTests(StrategyCase):
    def test_takes_the_fewest_open(self) -> None:
        one, two = member("one"), member("two")
        one.active, two.active, two.routed = 2, 1, 1000
        self.assertIs(self.choose(LeastConnections(), [one, two]), two)

    def test_for_its_weight(self) -> None:
        small, large = member("small"), member("large", weight=3)
        strategy = LeastConnections()
        for _ in range(40):
            chosen = self.choose(strategy, [small, large])
            assert chosen is not None
            chosen.active += 1
        self.assertEqual((small.active, large.active), (10, 30))

    def test_equals_take_turns(self) -> None:
        members = [member("a"), member("b"), member("c")]
        self.assertEqual(Counter(self.names(LeastConnections(), members, 30)), {"a": 10, "b": 10, "c": 10})

    def test_weight_that_grows_counts(self) -> None:
        warm, cold = member("warm", weight=10), member("cold", weight=10)
        cold.weight = 1  # type: ignore[assignment]
        warm.active = 5
        self.assertIs(self.choose(LeastConnections(), [warm, cold]), warm)


class RoundRobinTests(StrategyCase):
    def test_turns(self) -> None:
        members = [member("a"), member("b"), member("c")]
        self.assertEqual("".join(self.names(RoundRobin(), members, 7)), "abcabca")

    def test_weights_smoothly(self) -> None:
        members = [member("a", weight=2), member("b"), member("c")]
        self.assertEqual("".join(self.names(RoundRobin(), members, 8)), "abcaabca")

    def test_groups_do_not_disturb_each_other(self) -> None:
        strategy = RoundRobin()
        a, b, c, d = (member(name) for name in "abcd")
        turns = []
        for _ in range(6):
            self.names(strategy, [a, b], 10)
            turns += self.names(strategy, [c, d], 1)
        self.assertEqual("".join(turns), "cdcdcd")

    def test_one_that_comes_back_gets_its_share_and_no_more(self) -> None:
        strategy = RoundRobin()
        a, b, c = (member(name) for name in "abc")
        self.names(strategy, [a, b, c], 100)
        self.names(strategy, [a, b], 1000)
        counts = Counter(self.names(strategy, [a, b, c], 30))
        self.assertTrue(all(9 <= count <= 11 for count in counts.values()), counts)

    def test_keeps_nothing_of_members_that_are_gone(self) -> None:
        strategy = RoundRobin()
        for number in range(50):
            self.choose(strategy, [member(f"a{number}"), member(f"b{number}")])
        gc.collect()
        self.assertLessEqual(len(strategy._credits), 2)

    def test_each_has_its_own_turns(self) -> None:
        members = [member("a"), member("b")]
        self.assertEqual(self.names(RoundRobin(), members, 1), self.names(RoundRobin(), members, 1))


class RandomTwoChoicesTests(StrategyCase):
    def test_takes_the_less_loaded_of_two(self) -> None:
        busy, idle = member("busy"), member("idle")
        busy.active = 5
        self.assertEqual(set(self.names(RandomTwoChoices(Random(1)), [busy, idle], 50)), {"idle"})

    def test_never_takes_the_most_loaded(self) -> None:
        members = [member(name) for name in "abcd"]
        for active, each in enumerate(members):
            each.active = active
        chosen = Counter(self.names(RandomTwoChoices(Random(1)), members, 600))
        self.assertEqual(set(chosen), {"a", "b", "c"})
        self.assertGreater(chosen["a"], chosen["b"])
        self.assertGreater(chosen["b"], chosen["c"])

    def test_draws_by_weight(self) -> None:
        members = [member("a", weight=8), member("b"), member("c")]
        chosen = Counter(self.names(RandomTwoChoices(Random(1)), members, 500))
        self.assertGreater(chosen["a"], 450)

    def test_all_is_well_spread(self) -> None:
        members = [member(f"m{number}") for number in range(10)]
        strategy = RandomTwoChoices(Random(1))
        for _ in range(1000):
            chosen = self.choose(strategy, members)
            assert chosen is not None
            chosen.active += 1
        counts = [each.active for each in members]
        self.assertLessEqual(max(counts) - min(counts), 5)


class SourceHashTests(StrategyCase):
    HOSTS = [f"10.{number >> 8}.{number & 255}.1" for number in range(2000)]

    def assigned(self, members: Sequence[Member]) -> dict[str, str]:
        strategy = SourceHash()
        found = {}
        for host in self.HOSTS:
            chosen = self.choose(strategy, members, host)
            assert chosen is not None
            found[host] = chosen.name
        return found

    def test_is_the_same_in_any_process_and_order(self) -> None:
        members = [member(name) for name in "abcde"]
        again = [member(name) for name in "edcba"]
        self.assertEqual(self.assigned(members), self.assigned(again))

    def test_does_not_depend_on_the_process_at_all(self) -> None:
        chosen = self.choose(SourceHash(), [member(name) for name in "abcde"], "192.0.2.1")
        assert chosen is not None
        self.assertEqual(chosen.name, "e")

    def test_one_that_goes_moves_only_its_own(self) -> None:
        members = [member(name) for name in "abcde"]
        before = self.assigned(members)
        after = self.assigned(members[:2] + members[3:])
        moved = {host for host in self.HOSTS if before[host] != after[host]}
        self.assertEqual(moved, {host for host in self.HOSTS if before[host] == "c"})
        self.assertGreater(min(Counter(after[host] for host in moved).values()), len(moved) / 8)

    def test_weights_are_shares(self) -> None:
        counts = Counter(self.assigned([member("a", weight=3), member("b")]).values())
        self.assertLess(abs(counts["a"] / len(self.HOSTS) - 0.75), 0.03)

    def test_one_that_warms_up_only_takes(self) -> None:
        members = [member("a", weight=10), member("b", weight=10)]
        full = self.assigned(members)
        members[1].weight = 2.5  # type: ignore[assignment]
        warming = self.assigned(members)
        self.assertTrue(all(full[host] == "b" for host in self.HOSTS if warming[host] == "b"))
        self.assertLess(abs(Counter(warming.values())["b"] / len(self.HOSTS) - 0.2), 0.03)

    def test_any_address_will_do(self) -> None:
        members = [member("a"), member("b")]
        for host in ("2001:db8::1", "fe80::1%eth0", "/run/client.sock", "\udcff", ""):
            self.assertIn(self.choose(SourceHash(), members, host), members)
