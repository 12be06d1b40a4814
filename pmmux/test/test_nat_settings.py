"""The C{[nat]} section."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.settings import ListenerSpec
from pmmux.model import OptionKey, SectionValues
from pmmux.nat.settings import ANY_PORT, IPV6, OPTIONS, NATSettings, WantedMapping
from pmmux.nat.wanted import list_wanted, read_settings

BY_NAME = {option.name: option for option in OPTIONS}


def parse(name: str, text: str) -> Any:
    return BY_NAME[name].parse(text)


class OptionTests(SynchronousTestCase):
    def test_right(self) -> None:
        for name, text, expected in (
            ("protocol", "upnp, PCP", ("upnp", "pcp")),
            ("gateway", "auto", None),
            ("gateway", "192.168.1.1", "192.168.1.1"),
            ("interface", "enp3s0.100", "enp3s0.100"),
            ("interface", "all", None),
            ("lifetime", "3600", 3600.0),
            ("lifetime", "2h", 7200.0),
            ("renewal-lead", "1.5m", 90.0),
            ("strict", "no", False),
            ("timeout", "4000", 4.0),
            ("timeout", "4s", 4.0),
            ("poll-interval", "30s", 30.0),
            ("state-file", "/var/lib/pmmux/nat.json", "/var/lib/pmmux/nat.json"),
        ):
            self.assertEqual(parse(name, text), expected, name)

    def test_wrong(self) -> None:
        for name, text in (
            ("protocol", ""), ("protocol", "pcp,,pmp"), ("protocol", "pcp, pcp"), ("protocol", "p c p"),
            ("gateway", "router.lan"), ("gateway", "::"), ("gateway", "0.0.0.0"), ("gateway", "224.0.0.1"),
            ("interface", ""), ("interface", "a b"),
            ("lifetime", "1s"), ("lifetime", "8d"), ("lifetime", "0"), ("lifetime", "1 2"),
            ("lifetime", "\u0661h"), ("strict", "maybe"), ("timeout", "1"), ("timeout", "2m"),
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=f"{name} = {text}"):
                parse(name, text)

    def test_defaults_are_those_of_the_settings(self) -> None:
        settings = NATSettings()
        for name, value in (
            ("protocol", settings.protocols),
            ("lifetime", settings.lifetime_seconds),
            ("renewal-lead", settings.renewal_lead_seconds),
            ("strict", settings.strict),
            ("timeout", settings.timeout_seconds),
            ("poll-interval", settings.poll_seconds),
        ):
            self.assertEqual(BY_NAME[name].default, value, name)

    @settings(deadline=None)
    @given(st.sampled_from(sorted(BY_NAME)), st.text(max_size=20))
    def test_faults_are_value_errors(self, name: str, text: str) -> None:
        try:
            parse(name, text)
        except ValueError as error:
            self.assertTrue(str(error))


class WantedTests(SynchronousTestCase):
    def listener(self, **fields: Any) -> ListenerSpec:
        usual = {
            "name": "front", "transport": "tcp", "binds": (), "unix_path": None, "port": 8443,
            "public_port": 443, "listen": True, "options": SectionValues("listener", "front"),
        }  # fmt: skip
        return ListenerSpec(**{**usual, **fields})

    def test_values(self) -> None:
        for fields in ({"transport": "sctp"}, {"local_port": -1}, {"public_port": 65536}, {"family": 5}):
            with self.assertRaises(ValueError):
                WantedMapping(
                    **{"name": "x", "transport": "tcp", "local_port": 1, "public_port": 1, **fields}
                )

    def test_both_families(self) -> None:
        self.assertEqual(
            list_wanted([self.listener()]),
            (WantedMapping("front", "tcp", 8443, 443), WantedMapping("front", "tcp", 8443, 8443, IPV6)),
        )

    def test_one_family(self) -> None:
        ipv4 = WantedMapping("front", "tcp", 8443, 443, addresses=("192.168.1.2",))
        ipv6 = WantedMapping("front", "tcp", 8443, 8443, IPV6, addresses=("fe80::1",))
        self.assertEqual(list_wanted([self.listener(binds=("192.168.1.2",))]), (ipv4,))
        self.assertEqual(list_wanted([self.listener(binds=("fe80::1%eth0",))]), (ipv6,))

    def test_none(self) -> None:
        self.assertEqual(list_wanted([self.listener(public_port=None)]), ())
        self.assertEqual(list_wanted([self.listener(unix_path="/x", port=None)]), ())

    def test_any_ports(self) -> None:
        listener = self.listener(port=None, public_port="?", listen=False)
        self.assertEqual(
            list_wanted([listener]), (WantedMapping("front", "tcp", ANY_PORT, ANY_PORT, listens=False),)
        )

    def test_section(self) -> None:
        written = {OptionKey(name): parse(name, text) for name, text in (
            ("protocol", "upnp"), ("lifetime", "2h"), ("gateway", "auto"), ("state-file", "/x"),
        )}  # fmt: skip
        expected = NATSettings(("upnp",), lifetime_seconds=7200.0, state_path="/x")
        self.assertEqual(read_settings(SectionValues("nat", "", written)), expected)
        self.assertEqual(read_settings(None), NATSettings())

    def test_options_of_the_reference(self) -> None:
        written = {OptionKey("port-map-protocol"): "pmp", OptionKey("network-interface"): "eth0"}
        reference = SectionValues("pmmux", "", written)
        self.assertEqual(read_settings(None, reference), NATSettings(("pmp",), interface="eth0"))
        section = SectionValues("nat", "", {OptionKey("protocol"): ("pcp", "upnp")})
        self.assertEqual(read_settings(section, reference), NATSettings(("pcp", "upnp"), interface="eth0"))
        everything = SectionValues("pmmux", "", {OptionKey("port-map-protocol"): "all"})
        self.assertEqual(read_settings(None, everything), NATSettings())
