"""Probes are asked no more than necessary, and what they say becomes final when the preview does."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from pmmux.inspection import ProbeCatalogue
from pmmux.model import NO_MATCH, Address, Verdict, malformed, match, need
from pmmux.probes.probe import Probe
from pmmux.test.doubles import make_client, make_inspection


class CountingProbe:
    """A probe that remembers what it was shown."""

    transport = "tcp"

    def __init__(
        self, judge: Callable[[bytes], Verdict], name: str = "count", provides: tuple[str, ...] = ("count.",)
    ) -> None:
        self.name = name
        self.provides = provides
        self.judge = judge
        self.shown: list[bytes] = []

    def inspect(self, octets: bytes) -> Verdict:
        self.shown.append(octets)
        return self.judge(octets)


def whole(octets: bytes) -> Verdict:
    """A match at four octets."""
    return match({"count.first": octets[:1].decode()}) if len(octets) >= 4 else need(4)


class CatalogueTests(SynchronousTestCase):
    def test_providers(self) -> None:
        probes = [
            Probe("a", "tcp", whole, ("a", "a.")),
            Probe("b", "tcp", whole, ("b.x",)),
            Probe("c", "tcp", whole, ("a.z",)),
        ]
        catalogue = ProbeCatalogue(probes)
        self.assertEqual(catalogue.providers_of("a"), ("a",))
        self.assertEqual(catalogue.providers_of("a.z"), ("a", "c"))
        self.assertEqual(catalogue.providers_of("b.x"), ("b",))
        self.assertEqual(catalogue.providers_of("b.y"), ())
        self.assertEqual(catalogue.providers_of("protocol"), ("a", "b", "c"))
        self.assertEqual(catalogue.providers_of("a.z"), ("a", "c"))


class VerdictTests(SynchronousTestCase):
    def test_a_decided_probe_is_asked_once(self) -> None:
        probe = CountingProbe(whole)
        inspection = make_inspection(b"abcd", probes=[probe])
        first = inspection.verdict("count")
        inspection.preview.feed(b"e")
        self.assertIs(inspection.verdict("count"), first)
        self.assertEqual(probe.shown, [b"abcd"])

    def test_an_undecided_probe_is_asked_when_there_is_enough(self) -> None:
        probe = CountingProbe(whole)
        inspection = make_inspection(b"a", probes=[probe])
        for piece in (b"b", b"c"):
            self.assertEqual(inspection.verdict("count").octets_needed, 4)
            inspection.preview.feed(piece)
        self.assertEqual(probe.shown, [b"a"])
        inspection.preview.feed(b"d")
        self.assertTrue(inspection.verdict("count").matched)
        self.assertEqual(probe.shown, [b"a", b"abcd"])

    def test_undecided_at_the_end_is_a_refusal(self) -> None:
        for chunks in ((b"abc", b""), (b"",)):
            inspection = make_inspection(*chunks, probes=[CountingProbe(whole)])
            self.assertEqual(inspection.verdict("count"), NO_MATCH)

    def test_undecided_becomes_final_when_the_preview_does(self) -> None:
        inspection = make_inspection(b"abc", probes=[CountingProbe(whole)])
        self.assertIsNone(inspection.verdict("count").matched)
        inspection.preview.finish()
        self.assertIs(inspection.verdict("count").matched, False)

    def test_a_match_that_would_tell_more_is_one_at_the_end(self) -> None:
        probe = CountingProbe(lambda octets: match({"count.first": "x"}, len(octets) + 1))
        inspection = make_inspection(b"abc", probes=[probe])
        self.assertEqual(inspection.verdict("count").octets_needed, 4)
        inspection.preview.finish()
        self.assertEqual(inspection.verdict("count").octets_needed, 0)
        self.assertTrue(inspection.verdict("count").matched)

    def test_a_fault_is_kept(self) -> None:
        inspection = make_inspection(b"abc", probes=[CountingProbe(lambda octets: malformed("bad"))])
        self.assertIsNone(inspection.fault)
        inspection.verdict("count")
        self.assertEqual(inspection.fault, "count: bad")

    def test_a_fault_that_comes_with_the_end(self) -> None:
        inspection = make_inspection(b"abc", probes=[CountingProbe(lambda octets: need(9, "truncated"))])
        inspection.verdict("count")
        self.assertIsNone(inspection.fault)
        inspection.preview.end()
        inspection.verdict("count")
        self.assertEqual(inspection.fault, "count: truncated")

    def test_a_probe_of_another_transport_matches_nothing(self) -> None:
        """C{detect = quic} is right in a configuration, and no TCP connection is QUIC."""
        inspection = make_inspection(b"abc", probes=[CountingProbe(whole)])
        self.assertEqual(inspection.verdict("quic"), NO_MATCH)


class ValueTests(SynchronousTestCase):
    def test_one_that_is_there_asks_nobody(self) -> None:
        probe = CountingProbe(whole)
        inspection = make_inspection(b"abcd", probes=[probe], properties={"count.first": "set"})
        self.assertEqual(inspection.value("count.first"), "set")
        self.assertEqual(probe.shown, [])

    def test_one_that_nobody_finds(self) -> None:
        self.assertIsNone(make_inspection(b"a", probes=[CountingProbe(whole)]).value("other.name"))

    def test_found_by_asking(self) -> None:
        inspection = make_inspection(b"abcd", probes=[CountingProbe(whole)])
        self.assertEqual(inspection.value("count.first"), "a")
        self.assertIsNone(inspection.value("count.second"))
        self.assertEqual(inspection.properties["count.first"], "a")

    def test_undecided(self) -> None:
        inspection = make_inspection(b"ab", probes=[CountingProbe(whole)])
        value = inspection.value("count.first")
        self.assertIsInstance(value, Verdict)
        self.assertEqual(value.octets_needed, 4)
        inspection.preview.finish()
        self.assertIsNone(inspection.value("count.first"))

    def test_waits_for_what_needs_least(self) -> None:
        probes = [
            CountingProbe(lambda octets: need(8), "a", ("p.",)),
            CountingProbe(lambda octets: need(5), "b", ("p.",)),
        ]
        self.assertEqual(make_inspection(b"ab", probes=probes).value("p.x").octets_needed, 5)

    def test_a_match_that_would_tell_more_is_waited_for(self) -> None:
        probe = CountingProbe(lambda octets: match({"count.first": "x"}, len(octets) + 1))
        inspection = make_inspection(b"ab", probes=[probe])
        self.assertEqual(inspection.value("count.first"), "x")
        self.assertEqual(inspection.value("count.second").octets_needed, 3)

    def test_protocol(self) -> None:
        probes = [CountingProbe(lambda octets: NO_MATCH, "a"), CountingProbe(whole, "b")]
        inspection = make_inspection(b"abc", probes=probes)
        self.assertEqual(inspection.value("protocol").octets_needed, 4)
        inspection.preview.feed(b"d")
        self.assertEqual(inspection.value("protocol"), "b")
        self.assertEqual(inspection.detected(), "b")

    def test_no_protocol(self) -> None:
        inspection = make_inspection(b"abc", probes=[CountingProbe(lambda octets: NO_MATCH)])
        self.assertIsNone(inspection.value("protocol"))
        self.assertIsNone(inspection.detected())

    def test_protocol_waits_for_those_preferred(self) -> None:
        probes = [CountingProbe(whole, "a"), CountingProbe(lambda octets: match({}), "b")]
        inspection = make_inspection(b"abc", probes=probes)
        self.assertEqual(inspection.value("protocol").octets_needed, 4)
        inspection.preview.finish()
        self.assertEqual(inspection.value("protocol"), "b")

    def test_nothing_is_detected_unasked(self) -> None:
        self.assertIsNone(make_inspection(b"abcd", probes=[CountingProbe(whole)]).detected())


class AddressTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        inspection = make_inspection()
        self.assertEqual(inspection.remote_ip, ip_address("198.51.100.7"))
        self.assertEqual(inspection.local_ip, ip_address("203.0.113.1"))

    def test_unix_sockets_have_none(self) -> None:
        client = make_client(Address("", 0, "unix"), Address("/run/x", 0, "unix"))
        inspection = make_inspection(client=client)
        self.assertIsNone(inspection.remote_ip)
        self.assertIsNone(inspection.local_ip)
