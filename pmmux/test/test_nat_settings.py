"""The C{[nat]} section."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.nat.settings import ANY_PORT, OPTIONS, NATSettings, WantedMapping, parse_port

BY_NAME = {option.name: option for option in OPTIONS}


def parse(name: str, text: str) -> Any:
    return BY_NAME[name].parse(text)


class OptionTests(SynchronousTestCase):
    def test_right(self) -> None:
        for name, text, expected in (
            ("protocol", "upnp, PCP", ("upnp", "pcp")),
            ("gateway", "auto", ""),
            ("gateway", "192.168.1.1", "192.168.1.1"),
            ("interface", "enp3s0.100", "enp3s0.100"),
            ("interface", "auto", ""),
            ("lifetime", "3600", 3600.0),
            ("lifetime", "2h", 7200.0),
            ("renewal-lead", "1.5m", 90.0),
            ("strict", "no", False),
            ("timeout", "4000", 4.0),
            ("timeout", "4s", 4.0),
            ("poll-interval", "30s", 30.0),
            ("state-file", " /var/lib/pmmux/nat.json ", "/var/lib/pmmux/nat.json"),
        ):
            self.assertEqual(parse(name, text), expected, name)

    def test_wrong(self) -> None:
        for name, text in (
            ("protocol", ""), ("protocol", "pcp,,pmp"), ("protocol", "pcp, pcp"), ("protocol", "p c p"),
            ("gateway", "router.lan"), ("gateway", "::1"), ("gateway", "0.0.0.0"), ("gateway", "224.0.0.1"),
            ("interface", ""), ("interface", "a/b"), ("interface", "x" * 16), ("interface", "a b"),
            ("lifetime", "1s"), ("lifetime", "8d"), ("lifetime", "0"), ("lifetime", "-1"), ("lifetime", "1 2"),
            ("lifetime", "\u0661h"), ("strict", "maybe"), ("timeout", "1"), ("timeout", "2m"),
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=f"{name} = {text}"):
                parse(name, text)

    def test_defaults_are_those_of_the_settings(self) -> None:
        settings = NATSettings()
        for name, value in (
            ("protocol", settings.protocols),
            ("gateway", settings.gateway),
            ("interface", settings.interface),
            ("lifetime", settings.lifetime_seconds),
            ("renewal-lead", settings.renewal_lead_seconds),
            ("strict", settings.strict),
            ("timeout", settings.timeout_seconds),
            ("poll-interval", settings.poll_seconds),
            ("state-file", settings.state_path),
        ):
            self.assertEqual(BY_NAME[name].default, value, name)

    @given(st.sampled_from(sorted(BY_NAME)), st.text(max_size=20))
    def test_faults_are_value_errors(self, name: str, text: str) -> None:
        try:
            parse(name, text)
        except ValueError as error:
            self.assertTrue(str(error))


class PortTests(SynchronousTestCase):
    def test_ports(self) -> None:
        self.assertEqual(parse_port("?"), ANY_PORT)
        self.assertEqual(parse_port(" 443 "), 443)
        for text in ("", "0", "65536", "-1", "+1", "1e3", "\u0661", "9" * 5000):
            with self.assertRaises(ValueError):
                parse_port(text)

    def test_wanted(self) -> None:
        for fields in ({"transport": "sctp"}, {"local_port": -1}, {"public_port": 65536}, {"family": 5}):
            with self.assertRaises(ValueError):
                WantedMapping(
                    **{"name": "x", "transport": "tcp", "local_port": 1, "public_port": 1, **fields}
                )
