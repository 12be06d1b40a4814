"""Which flows a capture's packets are, and whose."""

from __future__ import annotations

import random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pmmux.explain.flow import Flow, Kind
from pmmux.explain.flows import DATAGRAMS_KEPT, flows_of
from pmmux.test.captures import CLIENT, DNS_QUERY, SERVER, Talk, datagram, timed

KEPT_OCTETS = 32768
SAID = bytes(range(256)) * 8


def flow_of(talk: Talk) -> Flow:
    (flow,) = flows_of(talk.packets, KEPT_OCTETS)
    return flow


class ConnectionTests(SynchronousTestCase):
    def test_segments_and_end(self) -> None:
        flow = flow_of(Talk().open().say(b"abcd", 2).end())
        self.assertEqual([event.octets for event in flow.events], [b"ab", b"cd", b""])
        self.assertEqual(flow.events[-1].kind, Kind.END)
        self.assertEqual((flow.client, flow.server, flow.missing_octets), (CLIENT, SERVER, 0))

    def test_any_order_after_the_syn(self) -> None:
        packets = Talk().open().say(SAID, 50).end().packets
        order = list(range(1, len(packets)))
        random.Random(1).shuffle(order)
        (flow,) = flows_of(timed(packets, [0, *order, *order]), KEPT_OCTETS)
        self.assertEqual(flow.octets(), SAID)
        self.assertTrue(flow.has_ended())

    def test_repeated_syn_is_the_same_connection(self) -> None:
        packets = Talk().open().say(b"x").packets
        self.assertEqual(len(flows_of([packets[0], *packets], KEPT_OCTETS)), 1)

    def test_ports_used_again(self) -> None:
        first = Talk().open().say(b"one").end().packets
        second = [evolve(packet, sequence=packet.sequence // 2) for packet in Talk().open().packets]
        flows = flows_of([*first, *second], KEPT_OCTETS)
        self.assertEqual([flow.number for flow in flows], [1, 2])
        self.assertEqual([flow.octets() for flow in flows], [b"one", b""])

    def test_reset(self) -> None:
        flow = flow_of(Talk().open().say(b"x").reset())
        self.assertEqual([event.kind for event in flow.events], [Kind.OCTETS, Kind.LOST])

    def test_without_the_beginning_the_higher_port_is_the_client(self) -> None:
        talk = Talk().open().reply(b"hello").say(b"x")
        (flow,) = flows_of(talk.packets[3:], KEPT_OCTETS)
        self.assertEqual(flow.client, CLIENT)

    def test_without_the_beginning_a_listeners_port_is_the_server(self) -> None:
        packets = Talk(evolve(CLIENT, port=1000), evolve(SERVER, port=8443)).open().say(b"x").packets
        (flow,) = flows_of(packets[3:], KEPT_OCTETS, {8443})
        self.assertEqual(flow.server.port, 8443)
        self.assertEqual(flow.octets(), b"x")

    def test_only_the_answer_to_the_syn(self) -> None:
        (flow,) = flows_of(Talk().open().packets[1:2], KEPT_OCTETS)
        self.assertEqual(flow.client, CLIENT)

    def test_only_one_side(self) -> None:
        packets = [packet for packet in Talk().open().say(b"abc").end().packets if packet.source == CLIENT]
        (flow,) = flows_of(packets, KEPT_OCTETS)
        self.assertEqual(flow.octets(), b"abc")

    def test_server_that_speaks_first(self) -> None:
        self.assertEqual(flow_of(Talk().open().reply(b"220 hi").say(b"EHLO")).prompted_from, 0)
        self.assertIsNone(flow_of(Talk().open().say(b"GET /").reply(b"200")).prompted_from)

    def test_octets_that_were_not_captured(self) -> None:
        packets = Talk().open().say(b"a" * 100, 50).reply(b"ok").packets
        packets[3] = evolve(packets[3], octets=packets[3].octets[:20], missing_octets=30)
        (flow,) = flows_of(packets, KEPT_OCTETS)
        self.assertEqual((flow.octets(), flow.missing_octets), (b"a" * 20, 80))

    def test_lost_segment(self) -> None:
        packets = Talk().open().say(b"a" * 100, 50).packets
        (flow,) = flows_of([*packets[:3], *packets[4:]], KEPT_OCTETS)
        self.assertEqual((flow.octets(), flow.missing_octets), (b"", 50))

    def test_what_is_kept_is_bounded(self) -> None:
        flow = flow_of(Talk().open().say(bytes(200_000)))
        self.assertLess(len(flow.octets()), 2 * KEPT_OCTETS)


class DatagramTests(SynchronousTestCase):
    def test_who_speaks_first_is_the_client(self) -> None:
        packets = [datagram(DNS_QUERY), datagram(b"answer", SERVER, CLIENT), datagram(b"more")]
        (flow,) = flows_of(packets, KEPT_OCTETS)
        self.assertEqual(flow.client, CLIENT)
        self.assertEqual([event.octets for event in flow.events], [DNS_QUERY, b"more"])

    def test_tcp_and_udp_of_the_same_ports_are_two(self) -> None:
        self.assertEqual(len(flows_of([datagram(b"x"), *Talk().open().packets], KEPT_OCTETS)), 2)

    def test_what_is_kept_is_bounded(self) -> None:
        (flow,) = flows_of([datagram(b"")] * 1000, KEPT_OCTETS)
        self.assertEqual(len(flow.events), DATAGRAMS_KEPT)
