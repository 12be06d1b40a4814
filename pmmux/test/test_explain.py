"""Explanations: what the router decides for given flows, and the reasons."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pmmux.explain.capture import Packet
from pmmux.explain.explaining import UnknownListenerError, explain
from pmmux.explain.explanation import Explanation
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.flows import flows_of
from pmmux.explain.openings import client_hello, from_hexadecimal, http_request
from pmmux.explain.stage import Stage
from pmmux.loading import load_settings
from pmmux.model import Address
from pmmux.test.captures import CLIENT, DNS_QUERY, SERVER, Talk, datagram
from pmmux.test.samples.udp_quic import SEVERAL as THREE_DATAGRAMS

LISTENERS = """
[listener front]
port = 8443
[listener datagrams]
port = 8444
protocol = udp
"""
RULES = """
[backend shop]
protocol = pass
target = 127.0.0.1:1
sni = shop.example.org
[backend blog]
protocol = pass
target = 127.0.0.1:1
sni = blog.example.org
[backend ssh]
protocol = pass
target = 127.0.0.1:1
detect = ssh
[backend api]
protocol = pass
target = 127.0.0.1:1
path = /api/.*
[backend dns]
protocol = pass
target = 127.0.0.1:1
detect = dns
[backend mail]
protocol = pass
target = 127.0.0.1:1
"""
SHOP_HELLO = client_hello("shop.example.org", ["h2", "http/1.1"])


class ExplainCase(SynchronousTestCase):
    """Explains flows under a configuration."""

    def stage(self, config: str = LISTENERS + RULES) -> Stage:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        return Stage(*load_settings([], {}, path))

    def explain(
        self, packets: Sequence[Packet], config: str = LISTENERS + RULES, listener: str | None = None
    ) -> Explanation:
        (found,) = explain(self.stage(config), flows_of(packets, 32768), listener)
        return found

    def say(self, octets: bytes, config: str = LISTENERS + RULES) -> Explanation:
        return self.explain(Talk().open().say(octets).packets, config)


class OutcomeTests(ExplainCase):
    def test_by_name(self) -> None:
        found = self.say(SHOP_HELLO)
        self.assertEqual((found.backend, found.outcome, found.detected), ("shop", "routed", "tls"))
        self.assertEqual(found.octets_needed, len(SHOP_HELLO))
        self.assertEqual(found.properties["tls.alpn"], "h2,http/1.1")

    def test_passed_over_by_the_index_and_yet_explained(self) -> None:
        found = self.say(client_hello("blog.example.org"))
        self.assertEqual([each.backend for each in found.candidates], ["shop", "blog"])
        self.assertEqual(found.candidates[0].reason, "sni = shop.example.org (it is blog.example.org)")

    def test_only_as_many_octets_as_it_took(self) -> None:
        found = self.say(b"SSH-2.0-OpenSSH_9.9\r\n" + bytes(1000))
        self.assertEqual((found.backend, found.octets_needed), ("ssh", len(b"SSH-2.0-")))

    def test_any_cut_is_explained_alike(self) -> None:
        whole = self.say(SHOP_HELLO).as_json()
        for size in (1, 7, 400):
            cut = self.explain(Talk().open().say(SHOP_HELLO, size).packets).as_json()
            for name in ("waited_seconds",):
                del cut[name]
            self.assertEqual(cut, {name: value for name, value in whole.items() if name in cut})

    def test_detected_although_no_rule_asks(self) -> None:
        found = self.say(http_request("/x", "h"), LISTENERS + "[backend all]\nprotocol = noop\n")
        self.assertEqual((found.backend, found.detected, found.octets_needed), ("all", "http", 0))
        self.assertEqual(found.properties["http.path"], "/x")

    def test_silent_client_gets_what_needs_no_octets(self) -> None:
        found = self.explain(Talk().open().packets)
        self.assertEqual((found.backend, found.detected, found.decided_by), ("mail", None, "detect-timeout"))
        self.assertEqual((found.waited_seconds, found.octets_needed), (3.0, 1))

    def test_silent_until_after_the_timeout(self) -> None:
        found = self.explain(Talk().open().wait(3.5).say(b"SSH-2.0-late\r\n").packets)
        self.assertEqual((found.backend, found.detected, found.decided_by), ("mail", "ssh", "detect-timeout"))

    def test_slow_but_in_time(self) -> None:
        found = self.explain(Talk().open().say(b"SSH-").wait(2.5).say(b"2.0-slow\r\n").packets)
        self.assertEqual((found.backend, found.decided_by), ("ssh", "octets"))
        self.assertAlmostEqual(found.waited_seconds, 2.502, 2)

    def test_server_that_speaks_first_has_a_client_that_waits(self) -> None:
        rules = LISTENERS + "[backend odd]\nprotocol = noop\npreview = EHLO\n" + RULES
        found = self.explain(Talk().open().reply(b"220 hi\r\n").say(b"EHLO x\r\n").packets, rules)
        self.assertEqual((found.backend, found.decided_by), ("mail", "detect-timeout"))
        self.assertIn("the server spoke first", found.detail)

    def test_client_that_speaks_without_waiting_is_heard_whoever_was_first(self) -> None:
        found = self.explain(Talk().open().reply(b"SSH-2.0-s\r\n").say(b"SSH-2.0-c\r\n").packets)
        self.assertEqual((found.backend, found.decided_by), ("ssh", "octets"))

    def test_nothing_and_the_end(self) -> None:
        config = LISTENERS + "[backend ssh]\nprotocol = noop\ndetect = ssh\n"
        found = self.explain(Talk().open().end().packets, config)
        self.assertEqual((found.backend, found.outcome), (None, "client-gone"))

    def test_reset_before_the_decision(self) -> None:
        found = self.explain(Talk().open().say(b"SSH").reset().packets)
        self.assertEqual((found.backend, found.outcome), (None, "client-gone"))

    def test_broken_hello(self) -> None:
        found = self.explain(Talk().open().say(SHOP_HELLO[:200]).end().packets)
        self.assertEqual((found.backend, found.outcome), (None, "malformed"))
        self.assertEqual(found.octets_needed, len(SHOP_HELLO))

    def test_no_backend(self) -> None:
        found = self.say(b"?\r\n", LISTENERS + "[backend ssh]\nprotocol = noop\ndetect = ssh\n")
        self.assertEqual((found.backend, found.outcome), (None, "no-backend"))
        self.assertEqual(found.candidates[0].reason, "detect = ssh")

    def test_undecided_at_the_end_says_what_it_wanted(self) -> None:
        found = self.say(b"SSH-2")
        self.assertEqual((found.decided_by, found.octets_needed), ("detect-timeout", 6))

    def test_no_listener(self) -> None:
        found = self.say(SHOP_HELLO, "[listener d]\nport = 1\nprotocol = udp\n" + RULES)
        self.assertEqual((found.backend, found.outcome, found.detected), (None, "no-listener", "tls"))
        self.assertEqual(found.listener, None)

    def test_selection_timeout(self) -> None:
        config = "[pmmux]\nselection-timeout = 1s\n" + LISTENERS + RULES
        found = self.explain(Talk().open().packets, config)
        self.assertEqual((found.backend, found.outcome), (None, "selection-timeout"))

    def test_lost_octets_are_told(self) -> None:
        packets = Talk().open().say(SHOP_HELLO, 100).packets
        found = self.explain([*packets[:4], *packets[5:]])
        self.assertIn("the capture lacks 100 octets", found.detail)
        self.assertEqual((found.backend, found.outcome), (None, "incomplete-capture"))

    def test_octets_lost_after_the_decision_do_not_matter(self) -> None:
        packets = Talk().open().say(b"SSH-2.0-x\r\n" + bytes(300), 100).packets
        found = self.explain([*packets[:4], *packets[5:]])
        self.assertEqual((found.backend, found.outcome), ("ssh", "routed"))


class AddressTests(ExplainCase):
    rules = """
[backend near]
protocol = noop
remote-ip = 10.0.0.0/8
local-port = 8443
[backend far]
protocol = noop
"""

    def test_the_listeners_port_counts(self) -> None:
        found = self.say(b"x", LISTENERS + self.rules)
        self.assertEqual((found.backend, found.server), ("near", "10.0.0.1:443"))

    def test_reason_names_what_was_found(self) -> None:
        talk = Talk(evolve(CLIENT, host="192.0.2.1")).open().say(b"x")
        found = self.explain(talk.packets, LISTENERS + self.rules)
        self.assertEqual(found.backend, "far")
        self.assertEqual(found.candidates[0].reason, "remote-ip = 10.0.0.0/8 (it is 192.0.2.1)")

    def test_named_listener(self) -> None:
        config = LISTENERS + "[listener back]\nport = 9000\n" + self.rules
        found = self.explain(Talk().open().say(b"x").packets, config, "back")
        self.assertEqual((found.backend, found.listener), ("far", "back"))

    def test_unknown_listener(self) -> None:
        self.assertRaises(UnknownListenerError, self.explain, [datagram(b"x")], LISTENERS + RULES, "no")

    def test_ipv6_is_written_in_brackets(self) -> None:
        talk = Talk(Address("2001:db8::9", 1, "ipv6"), Address("2001:db8::1", 2, "ipv6")).open()
        found = self.explain(talk.packets).as_json()
        self.assertEqual((found["client"], found["server"]), ("[2001:db8::9]:1", "[2001:db8::1]:2"))


class DatagramTests(ExplainCase):
    def test_by_content(self) -> None:
        found = self.explain([datagram(DNS_QUERY)])
        self.assertEqual((found.backend, found.outcome, found.detected), ("dns", "routed", "dns"))
        self.assertEqual((found.listener, found.octets_needed), ("datagrams", len(DNS_QUERY)))

    def test_hello_in_several_datagrams(self) -> None:
        packets = [datagram(each, at=1000.0 + at) for at, each in enumerate(THREE_DATAGRAMS)]
        packets.insert(1, datagram(b"answer", SERVER, CLIENT, 1000.5))
        alone = self.explain(packets, LISTENERS + "[backend all]\nprotocol = noop\n")
        self.assertEqual((alone.detected, alone.octets_needed), ("quic", 0))
        name = alone.properties["tls.sni"]
        rules = f"[backend name]\nprotocol = noop\nsni = {name}\n"
        found = self.explain(packets, LISTENERS + rules)
        self.assertEqual((found.backend, found.outcome), ("name", "routed"))
        self.assertEqual(found.octets_needed, sum(map(len, THREE_DATAGRAMS)))
        self.assertAlmostEqual(found.waited_seconds, len(THREE_DATAGRAMS) - 1)

    def test_backends_of_connections_only_are_left_out(self) -> None:
        config = LISTENERS + "[backend page]\nprotocol = http-response\n" + RULES
        found = self.explain([datagram(DNS_QUERY)], config)
        self.assertNotIn("page", [each.backend for each in found.candidates])

    def test_silence_of_rules_that_ask_nothing(self) -> None:
        found = self.explain([datagram(b"?")], LISTENERS + "[backend all]\nprotocol = noop\n")
        self.assertEqual((found.backend, found.octets_needed), ("all", 0))

    def test_cut_by_the_snap_length(self) -> None:
        cut = evolve(datagram(DNS_QUERY[:20]), missing_octets=len(DNS_QUERY) - 20)
        self.assertEqual(self.explain([cut]).outcome, "incomplete-capture")
        found = self.explain([cut], LISTENERS + "[backend all]\nprotocol = noop\n")
        self.assertEqual(found.backend, "all")

    def test_multicast_source(self) -> None:
        found = self.explain([datagram(DNS_QUERY, Address("224.0.0.1", 5353))])
        self.assertEqual((found.backend, found.outcome), (None, "source-refused"))


class ManyFlowsTests(ExplainCase):
    def test_load_counts_as_in_the_service(self) -> None:
        config = "[pmmux]\nrouting-strategy = least-requests\n" + LISTENERS
        config += "[backend a]\nprotocol = noop\n[backend b]\nprotocol = noop\n"
        config = config.replace("protocol = noop", "protocol = noop\npriority = normal")
        packets = [
            packet
            for number in range(6)
            for packet in Talk(evolve(CLIENT, port=2000 + number), at=1000.0 + number)
            .open()
            .say(b"x")
            .packets
        ]
        found = explain(self.stage(config), flows_of(packets, 32768))
        self.assertEqual([each.backend for each in found], ["a", "b"] * 3)

    def test_no_call_is_left(self) -> None:
        stage = self.stage()
        explain(stage, flows_of(Talk().open().packets, 32768))
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_json_is_one_line_of_ascii(self) -> None:
        line = json.dumps(self.say(http_request("/\x1b[2J\u202e", "h\x1b.example")).as_json())
        self.assertTrue(line.isascii() and line.isprintable())


class ProxyProtocolTests(ExplainCase):
    def test_header_is_taken_off(self) -> None:
        config = """
[pmmux]
negotiators = proxy-protocol, socket
[listener front]
port = 8443
proxy-protocol = use
proxy-protocol-from = 10.0.0.0/8
[backend near]
protocol = noop
remote-ip = 198.51.100.0/24
detect = ssh
"""
        header = b"PROXY TCP4 198.51.100.7 10.0.0.1 5000 443\r\n"
        found = self.say(header + b"SSH-2.0-x\r\n", config)
        self.assertEqual((found.backend, found.outcome), ("near", "routed"))
        self.assertEqual(found.octets_needed, len(header) + len(b"SSH-2.0-"))


class OpeningTests(SynchronousTestCase):
    def test_request(self) -> None:
        self.assertEqual(http_request("/x"), b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(
            http_request("POST /x HTTP/1.0", "h", ["A: b"]), b"POST /x HTTP/1.0\r\nHost: h\r\nA: b\r\n\r\n"
        )
        self.assertRaises(ValueError, http_request, "/x", "h\r\nEvil: 1")

    def test_hexadecimal(self) -> None:
        self.assertEqual(from_hexadecimal("0x16 03:01\n"), b"\x16\x03\x01")
        self.assertRaises(ValueError, from_hexadecimal, "0g")

    def test_hello_without_a_name(self) -> None:
        self.assertEqual(client_hello(None)[:1], b"\x16")

    def test_hello_that_no_client_sends(self) -> None:
        self.assertRaises(ValueError, client_hello, "a" * 300)
        self.assertRaises(ValueError, client_hello, "h", ["x" * 300])


class FlowTests(SynchronousTestCase):
    def test_what_it_said(self) -> None:
        flow = Flow(1, "tcp", CLIENT, SERVER, 0.0, [Event(0.0, Kind.OCTETS, b"a"), Event(1.0, Kind.END)])
        self.assertEqual((flow.octets(), flow.has_spoken(), flow.has_ended()), (b"a", True, True))


class HouseTests(SynchronousTestCase):
    def test_needs_no_network(self) -> None:
        """Nothing is connected to, nothing resolved."""

        def refuse(*arguments: object, **more: object) -> None:
            raise AssertionError("a socket was opened")

        self.patch(socket, "socket", refuse)
        case = OutcomeTests("test_by_name")
        case.test_by_name()
