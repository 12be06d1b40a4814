"""Every standard option: what it takes, what it refuses, negated, with several values, and undecided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.conditions import ANYTHING
from pmmux.errors import ConfigurationError
from pmmux.interfaces import ICondition
from pmmux.matching import parse_network, parse_ports, standard_options
from pmmux.model import Address, Client, PriorityTier, Verdict
from pmmux.probes.http import probe as http
from pmmux.probes.ssh import probe as ssh
from pmmux.probes.tls import probe as tls
from pmmux.test.doubles import make_client, make_condition, make_inspection, read_options
from pmmux.test.hellos import client_hello
from pmmux.test.rules import BROKEN_HELLO

PROBES = (tls, http, ssh)
NAMES = tuple(probe.name for probe in PROBES)
REQUEST = b"GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example.org\r\nX-Kind: one\r\n\r\n"
BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"


def evaluate(
    written: Mapping[str, str], *chunks: bytes, client: Client | None = None, **rest: Any
) -> Verdict:
    condition = make_condition(written, NAMES)
    inspection = make_inspection(*chunks, probes=PROBES, client=client, **rest)
    verdict: Verdict = condition.evaluate(inspection)
    return verdict


class MatchingCase(SynchronousTestCase):
    def expect(
        self, matched: bool | None, written: Mapping[str, str], *chunks: bytes, **rest: Any
    ) -> Verdict:
        verdict = evaluate(written, *chunks, **rest)
        self.assertIs(verdict.matched, matched, f"{written} {chunks!r}")
        return verdict

    def expect_both(self, matched: bool, option: str, text: str, *chunks: bytes, **rest: Any) -> None:
        """C{option} says C{matched}, and negated the opposite."""
        self.expect(matched, {option: text}, *chunks, **rest)
        self.expect(not matched, {option + "!": text}, *chunks, **rest)


class AddressTests(MatchingCase):
    def from_address(self, host: str, family: str = "ipv4") -> Client:
        return make_client(Address(host, 50000, family), Address(host, 443, family))

    def test_networks(self) -> None:
        for option in ("remote-ip", "local-ip"):
            for text, host, matched in (
                ("198.51.100.7", "198.51.100.7", True),
                ("198.51.100.7", "198.51.100.8", False),
                ("198.51.100.0/24", "198.51.100.8", True),
                ("10.0.0.0/8, 198.51.100.0/24", "198.51.100.8", True),
                ("10.0.0.0/8; 198.51.100.0/24", "198.51.100.8", True),
                ("10.0.0.0/8", "198.51.100.8", False),
                ("::/0", "198.51.100.8", False),
                ("::ffff:198.51.100.8", "198.51.100.8", True),
                ("::ffff:198.51.100.0/120", "198.51.100.8", True),
            ):
                self.expect_both(matched, option, text, client=self.from_address(host))
        for text, matched in (("2001:db8::/32", True), ("0.0.0.0/0", False), ("2001:db9::/32", False)):
            self.expect_both(matched, "remote-ip", text, client=self.from_address("2001:db8::1", "ipv6"))

    def test_unix_sockets_lie_in_no_network(self) -> None:
        client = make_client(Address("", 0, "unix"), Address("/run/x", 0, "unix"))
        self.expect_both(False, "remote-ip", "0.0.0.0/0, ::/0", client=client)

    def test_mapped_networks_are_ipv4(self) -> None:
        self.assertEqual(str(parse_network("::ffff:10.0.0.0/104")), "10.0.0.0/8")
        self.assertEqual(str(parse_network("::/0")), "::/0")
        self.assertEqual(str(parse_network("10.1.2.3/8")), "10.0.0.0/8")
        for text in ("", "x", "10.0.0.0/33", "10.0.0"):
            self.assertRaises(ValueError, parse_network, text)


class PortTests(MatchingCase):
    def test_ports(self) -> None:
        client = make_client(Address("192.0.2.1", 1000), Address("192.0.2.2", 1000))
        for option in ("remote-port", "local-port"):
            for text, matched in (
                ("1000", True),
                ("999", False),
                ("1-999, 1000", True),
                ("999-1001", True),
                ("1001-65535; 0-10", False),
            ):
                self.expect_both(matched, option, text, client=client)

    def test_sides(self) -> None:
        self.expect(True, {"local-port": "443", "remote-port": "50000"})
        self.expect(False, {"local-port": "50000"})

    def test_texts(self) -> None:
        self.assertEqual(parse_ports(" 1 - 2 "), (1, 2))
        for text in ("", "a", "2-1", "65536", "-1", "1-", "1-2-3"):
            self.assertRaises(ValueError, parse_ports, text)


class ServerNameTests(MatchingCase):
    def test_names(self) -> None:
        for text, name, matched in (
            ("shop.example.org", "shop.example.org", True),
            ("Shop.Example.ORG.", "shop.example.org", True),
            ("shop.example.org", "SHOP.example.org", True),
            ("shop.example.org", "other.example.org", False),
            ("a.example, shop.example.org", "shop.example.org", True),
            ("a.example; shop.example.org", "shop.example.org", True),
            ("*.example.org", "shop.example.org", True),
            ("*.example.org", "a.shop.example.org", False),
            ("*.example.org", "example.org", False),
            ("example.org", "shop.example.org", False),
        ):
            self.expect_both(matched, "sni", text, client_hello(name))

    def test_without_a_name(self) -> None:
        self.expect_both(False, "sni", "shop.example.org", client_hello(None))

    def test_another_protocol(self) -> None:
        self.expect_both(False, "sni", "shop.example.org", REQUEST)

    def test_undecided_either_way(self) -> None:
        hello = client_hello("shop.example.org")
        for option in ("sni", "sni!"):
            for length in (1, 5, 40, len(hello) - 1):
                verdict = self.expect(None, {option: "shop.example.org"}, hello[:length])
                self.assertGreater(verdict.octets_needed, length)

    def test_final(self) -> None:
        hello = client_hello("shop.example.org")
        self.expect_both(False, "sni", "shop.example.org", hello[:1], b"")
        for option in ("sni", "sni!"):
            verdict = self.expect(False, {option: "shop.example.org"}, hello[:-1], b"")
            self.assertEqual(verdict.fault, "tls: truncated TLS ClientHello")

    def test_texts(self) -> None:
        for text in ("", "*", "*.", "a.*", "*.*.a", "a b", "ä.example", "a" * 254):
            with self.assertRaises(ConfigurationError, msg=text):
                make_condition({"sni": text})


class ALPNTests(MatchingCase):
    def test_offers(self) -> None:
        for text, matched in (
            ("h2", True),
            ("H2", True),
            ("http/1.1", True),
            ("h3", False),
            ("h3, h2", True),
        ):
            self.expect_both(matched, "alpn", text, client_hello())

    def test_undecided(self) -> None:
        for option in ("alpn", "alpn!"):
            self.expect(None, {option: "h2"}, client_hello()[:50])


class DetectTests(MatchingCase):
    def test_protocols(self) -> None:
        for text, octets, matched in (
            ("ssh", BANNER, True),
            ("ssh", REQUEST, False),
            ("ssh, http", REQUEST, True),
            ("ssh; http", REQUEST, True),
            ("tls, ssh", REQUEST, False),
        ):
            self.expect_both(matched, "detect", text, octets)

    def test_undecided_while_one_of_them_is(self) -> None:
        verdict = self.expect(None, {"detect": "ssh, tls"}, b"SS")
        self.assertEqual(verdict.octets_needed, 3)
        self.expect(None, {"detect!": "ssh, tls"}, b"SS")

    def test_refused_at_the_first_octet(self) -> None:
        self.expect(False, {"detect": "ssh"}, b"X")
        self.expect(True, {"detect!": "ssh"}, b"X")

    def test_a_protocol_of_datagrams(self) -> None:
        condition = make_condition({"detect": "quic"}, ("quic",))
        self.assertIs(condition.evaluate(make_inspection(b"x", probes=PROBES)).matched, False)

    def test_unknown_name(self) -> None:
        with self.assertRaises(ConfigurationError) as caught:
            make_condition({"detect": "shh"}, NAMES)
        self.assertIn("shh", str(caught.exception))


class PreviewOptionTests(MatchingCase):
    def test_prefixes(self) -> None:
        for text, octets, matched in (
            ("hex:160301", b"\x16\x03\x01rest", True),
            ("hex:16 03 01", b"\x16\x03\x01", True),
            ("hex:160301", b"\x16\x03\x02", False),
            ("hex:aa; hex:16", b"\x16", True),
        ):
            self.expect_both(matched, "preview", text, octets)

    def test_prefix_is_refused_at_the_first_wrong_octet(self) -> None:
        self.assertEqual(self.expect(None, {"preview": "hex:160301"}, b"\x16").octets_needed, 3)
        self.expect(False, {"preview": "hex:160301"}, b"\x17")

    def test_patterns(self) -> None:
        for text, octets, matched in (
            ("(GET|HEAD) /x", b"GET /xyz", True),
            ("GET", b" GET", False),
            (r"\x00+\xff", b"\x00\x00\xff", True),
            ("POST; GET", b"GET /", True),
            ("hex:ff; GET", b"GET /", True),
        ):
            self.expect_both(matched, "preview", text, octets)

    def test_patterns_are_refused_outside_their_bounds(self) -> None:
        self.expect(False, {"preview": "GET"}, b"P")
        self.expect(True, {"preview!": "GET"}, b"P")
        self.expect(None, {"preview": "GET"}, b"G")

    def test_patterns_without_bounds_wait(self) -> None:
        verdict = self.expect(None, {"preview": ".*x"}, b"abc")
        self.assertEqual(verdict.octets_needed, 4)
        self.expect(False, {"preview": ".*x"}, b"abc", b"")

    def test_what_looks_ahead_waits(self) -> None:
        """C{$} is the end of the data, not of what has arrived by chance."""
        for text in ("GET$", r"GET\b"):
            self.expect(None, {"preview": text}, b"GET")
            self.expect(None, {"preview!": text}, b"GET")
            self.expect_both(True, "preview", text, b"GET", b"")
        self.expect_both(True, "preview", r"GET\b", b"GET /")
        self.expect_both(False, "preview", r"GET\b", b"GETS", b"")

    def test_texts(self) -> None:
        for text in ("hex:", "hex:1", "hex:xx", "(", "a(?=b)"):
            with self.assertRaises(ConfigurationError, msg=text):
                make_condition({"preview": text})

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(["hex:6162", "hex:61", "a+b", "[ab]{3}", "ab$", r"a\b", ".*c", "b|ca", "(?i)AB"]),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
        st.text("abc ", max_size=7),
    )
    def test_a_prefix_never_contradicts_the_whole(
        self, texts: list[str], negated: bool, subject: str
    ) -> None:
        written = {"preview!" if negated else "preview": ";".join(texts)}
        octets = subject.encode()
        final = evaluate(written, *([octets] if octets else []), b"").matched
        self.assertIsNotNone(final)
        for length in range(len(octets) + 1):
            so_far = evaluate(written, octets[:length]) if length else evaluate(written)
            self.assertIn(so_far.matched, (None, final))
            if so_far.matched is None:
                self.assertGreater(so_far.octets_needed, length)


class PropertyTests(MatchingCase):
    def test_whole_value(self) -> None:
        for text, matched in (
            ("blue", True),
            ("blu", False),
            ("b.*", True),
            (".*u", False),
            ("red; blue", True),
            ("red|blue", True),
            ("Blue", False),
            (".+; x", True),
        ):
            self.expect_both(matched, "property[my.colour]", text, properties={"my.colour": "blue"})

    def test_absent(self) -> None:
        self.expect_both(False, "property[my.colour]", ".*")

    def test_names_ignore_case(self) -> None:
        for text in (r"SHOP\.example\.org", "SHOP.*"):
            self.expect_both(True, "property[tls.sni]", text, client_hello("shop.example.org"))
        self.expect_both(True, "property[http.host]", r"SHOP\.example\.org", REQUEST)

    def test_protocol(self) -> None:
        self.expect_both(True, "property[protocol]", "http", REQUEST)
        self.expect_both(False, "property[protocol]", "tls", REQUEST)
        self.expect(None, {"property[protocol]": "http"}, b"GE")


class HTTPOptionTests(MatchingCase):
    def test_options(self) -> None:
        for option, text, matched in (
            ("host", r"shop\.example\.org", True),
            ("host", r"SHOP\..*", True),
            ("host", "other", False),
            ("path", "/a/b", True),
            ("path", "/a", False),
            ("path", "/a/.*", True),
            ("path", "/A/b", False),
            ("method", "GET", True),
            ("method", "get", False),
            ("method", "POST;GET", True),
            ("protocol-version", r"1\.1", True),
            ("protocol-version", r"1\.0", False),
            ("header[x-kind]", "one", True),
            ("header[X-Kind]", "one|two", True),
            ("header[x-kind]", "two", False),
            ("header[x-other]", ".*", False),
        ):
            self.expect_both(matched, option, text, REQUEST)

    def test_undecided_until_the_head_tells(self) -> None:
        line = REQUEST[: REQUEST.index(b"\r\n") + 2]
        self.expect(None, {"host": "x"}, line)
        self.expect(None, {"host!": "x"}, line)
        self.expect(True, {"path": "/a/b"}, line)
        self.expect(True, {"path!": "/x"}, line)


class AllOfTests(MatchingCase):
    def test_provides(self) -> None:
        condition = make_condition(
            {
                "remote-ip": "::/0",
                "local-port": "1",
                "property[a]": "b",
                "detect": "ssh",
                "sni": "a.b",
                "alpn": "h2",
                "preview": "x",
            },
            NAMES,
        )
        verifyObject(ICondition, condition)
        for each in condition.conditions:
            verifyObject(ICondition, each)

    def test_nothing_stated_is_anything(self) -> None:
        self.expect(True, {})
        self.assertTrue(ANYTHING.evaluate(make_inspection()).matched)

    def test_refuses_as_soon_as_one_does(self) -> None:
        self.expect(False, {"detect": "ssh", "local-port": "1"})
        self.expect(False, {"preview": ".*x", "detect": "ssh"}, b"X")
        self.expect(False, {"detect": "ssh", "preview": ".*x"}, b"X")

    def test_waits_for_what_needs_least(self) -> None:
        verdict = self.expect(None, {"preview": "hex:5353482d", "detect": "ssh"}, b"SS")
        self.assertEqual(verdict.octets_needed, 3)

    def test_depends_on_octets(self) -> None:
        for written, depends in (
            ({}, False),
            ({"detect": "ssh"}, True),
            ({"sni": "a.b"}, True),
            ({"alpn": "h2", "preview!": "x"}, True),
            ({"host": "a"}, True),
            ({"property[tls.ja4]": "a"}, True),
            ({"property[my.own]": "a"}, False),
            ({"detect": "ssh", "remote-ip": "::/0"}, False),
            ({"detect": "quic"}, False),
            ({"detect!": "quic"}, False),
        ):
            condition = make_condition(written, (*NAMES, "quic"))
            self.assertIs(condition.depends_on_octets(NAMES), depends, written)
            if depends:
                self.expect(None, written)

    def test_can_match_silence(self) -> None:
        silence = make_inspection(probes=PROBES)
        silence.preview.finish()
        for written, can in (
            ({}, True),
            ({"local-port": "1", "remote-ip": "::1", "property[socket.peer-ip]": "x"}, True),
            ({"detect": "ssh"}, False),
            ({"detect": "ssh", "remote-ip": "::1"}, False),
            ({"detect!": "ssh"}, True),
            ({"detect!": "ssh", "sni": "a.b"}, False),
            ({"property[protocol]": "ssh"}, False),
            ({"property[protocol]!": "ssh"}, True),
            ({"sni!": "a.b"}, True),
            ({"alpn": "h2"}, False),
            ({"preview": "a*"}, True),
            ({"preview": "a+"}, False),
            ({"preview": "hex:00"}, False),
            ({"preview!": "hex:00"}, True),
        ):
            self.assertIs(make_condition(written, NAMES).can_match_silence(silence), can, written)

    def test_what_another_transport_speaks_cannot_match(self) -> None:
        for written, can in (
            ({}, True),
            ({"detect": "ssh"}, True),
            ({"detect": "quic"}, False),
            ({"detect": "quic, ssh"}, True),
            ({"detect": "quic", "sni": "a.b"}, False),
            ({"detect!": "quic"}, True),
        ):
            self.assertIs(make_condition(written, (*NAMES, "quic")).can_match(NAMES), can, written)
        for port, can in (("443", True), ("1-500", True), ("444", False)):
            self.assertIs(make_condition({"local-port": port}, NAMES).can_match(NAMES, 443), can)
            self.assertIs(make_condition({"local-port!": port}, NAMES).can_match(NAMES, 443), not can)
            self.assertTrue(make_condition({"local-port": port, "remote-port": "1"}, NAMES).can_match(NAMES))

    def test_describes_itself_as_written(self) -> None:
        for option, text, described in (
            ("remote-ip!", "10.0.0.0/8,::1", "remote-ip! = 10.0.0.0/8;::1/128"),
            ("local-port", "1-2;3", "local-port = 1-2;3"),
            ("detect", "ssh,tls", "detect = ssh;tls"),
            ("sni", "*.a.b", "sni = *.a.b"),
            ("alpn!", "h2", "alpn! = h2"),
            ("preview", "hex:1603;GET", "preview = hex:1603;GET"),
            ("property[a.b]!", "x;y", "property[a.b]! = x;y"),
            ("header[X-A]", "x", "header[X-A] = x"),
            ("host", "x", "host = x"),
        ):
            self.assertEqual(make_condition({option: text}, NAMES).describe(), described)


class FaultTests(MatchingCase):
    """What begins as TLS and is broken is taken by no rule that has to do with it, negated or not."""

    broken = BROKEN_HELLO

    def fault_of(self, written: Mapping[str, str], *chunks: bytes) -> str | None:
        return self.expect(False, written, *chunks).fault

    def test_single_conditions(self) -> None:
        for option, text in (
            ("detect", "tls"),
            ("detect", "ssh, tls"),
            ("sni", "a.b"),
            ("alpn", "h2"),
            ("property[tls.ja4]", ".*"),
            ("property[protocol]", "http"),
        ):
            for written in ({option: text}, {option + "!": text}):
                self.assertIn("tls: ", self.fault_of(written, self.broken) or "", written)

    def test_only_where_nothing_else_refuses(self) -> None:
        for written in (
            {"sni": "a.b", "remote-ip": "10.0.0.0/8"},
            {"sni": "a.b", "detect": "ssh"},
            {"detect": "ssh", "sni": "a.b"},
            {"sni": "a.b", "preview": "hex:17"},
        ):
            self.assertIsNone(self.fault_of(written, self.broken), written)
        self.assertIsNotNone(self.fault_of({"sni": "a.b", "preview": "hex:16"}, self.broken))

    def test_undecided_comes_first(self) -> None:
        self.expect(None, {"sni": "a.b", "preview": ".*never"}, self.broken)

    def test_other_rules_are_not_concerned(self) -> None:
        self.expect(True, {"preview": "hex:16"}, self.broken)
        self.assertIsNone(self.fault_of({"host": "x"}, self.broken))


class PriorityTests(SynchronousTestCase):
    def test_tier_and_weight(self) -> None:
        values = read_options(standard_options(()), {"priority": "VIP", "weight": "7"})
        self.assertEqual((values.get("priority"), values.get("weight")), (PriorityTier.VIP, 7))
        self.assertEqual(read_options(standard_options(()), {}).get("weight"), 1)
        for written in ({"priority": "best"}, {"weight": "0"}, {"weight": "1001"}, {"weight": "x"}):
            with self.assertRaises(ConfigurationError):
                read_options(standard_options(()), written)
