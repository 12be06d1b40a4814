"""Sessions: routed, answered, bounded, evicted, ended."""

from __future__ import annotations

import errno
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pmmux.datagrams.admission import ROUNDS_FROM_HERE, ROUNDS_FROM_OTHERS, ROUNDS_FROM_UPSTREAMS
from pmmux.datagrams.options import SessionLimits
from pmmux.interfaces import IConnectionBackend, IDatagramBackend, IDatagramSession
from pmmux.model import Address, Status
from pmmux.test.datagram_doubles import (
    CLIENT,
    IDLE_SECONDS,
    OURS,
    FakeDatagramBackend,
    FakeUpstream,
    World,
)
from pmmux.test.samples.udp_dns import MATCHING as DNS
from pmmux.test.samples.udp_wireguard import MATCHING as WIREGUARD

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
OTHER = ("198.51.100.8", 50001)
UPSTREAM_HOST = "192.0.2.1"


class RoutingTests(SynchronousTestCase):
    """From a first datagram to a backend, and back."""

    def test_doubles(self) -> None:
        """The doubles are what they stand for."""
        verifyObject(IDatagramBackend, FakeDatagramBackend("a", {}))
        verifyObject(IDatagramSession, FakeUpstream(OURS, None, ("127.0.0.1", 1)))

    def test_by_content(self) -> None:
        """The first datagram chooses; what follows needs not match."""
        world = World(dns={"detect": "dns"}, vpn={"detect": "wireguard"})
        world.client_sends(DNS[0])
        world.client_sends(WIREGUARD[0], OTHER)
        world.client_sends(b"anything")
        self.assertEqual(world.backends["dns"].last.received, [DNS[0], b"anything"])
        self.assertEqual(world.backends["vpn"].last.received, [WIREGUARD[0]])
        self.assertEqual(world.session().detected, "dns")

    def test_reply(self) -> None:
        """Replies go to the client that asked, from the address it wrote to."""
        world = World(any={})
        world.client_sends(b"one")
        world.client_sends(b"two", OTHER)
        world.backends["any"].opened[0].says(b"to one")
        world.backends["any"].opened[1].says(b"")
        self.assertEqual(world.sent, [(CLIENT, b"to one"), (OTHER, b"")])
        self.assertEqual(str(world.backends["any"].clients[0].local), str(OURS))

    def test_empty(self) -> None:
        """An empty datagram is one like any other."""
        world = World(any={})
        world.client_sends(b"")
        world.client_sends(b"")
        self.assertEqual(world.backends["any"].last.received, [b"", b""])

    def test_unmatched_is_silence(self) -> None:
        """Nothing is sent, nothing is kept, and the log says why."""
        world = World(dns={"detect": "dns"})
        world.client_sends(b"no question")
        self.assertEqual(world.sent, [])
        self.assertEqual(world.port.sessions, {})
        self.assertEqual(world.outcomes(), ["no-backend"])
        self.assertEqual(world.total("router.message.failed", outcome="no-backend"), 1)

    def test_tcp_only_condition(self) -> None:
        """A rule for a protocol of connections does not match, and breaks nothing."""
        world = World(ssh={"detect": "ssh"}, rest={"detect!": "ssh"})
        world.client_sends(b"x")
        self.assertEqual(world.backends["rest"].last.received, [b"x"])

    def test_socket_properties(self) -> None:
        """The same properties as those of connections."""
        world = World(
            other={"property[socket.remote-ip]": "192.0.2.9"},
            mine={"property[socket.protocol-type]": "udp", "remote-ip": "198.51.100.0/24"},
        )
        world.client_sends(b"x")
        self.assertEqual(len(world.backends["mine"].opened), 1)

    def test_short_prefix_is_final(self) -> None:
        """A datagram is whole: a prefix longer than it cannot match, and is not waited for."""
        world = World(long={"preview": "hex:0102030405"}, rest={})
        world.client_sends(b"\1\2")
        self.assertEqual(world.backends["rest"].last.received, [b"\1\2"])

    def test_backends_of_connections(self) -> None:
        """A backend that takes connections only is not offered."""

        @implementer(IConnectionBackend)
        class ConnectionsOnly:
            name = "tcp"
            tier, weight = 1, 1
            spec = FakeDatagramBackend("tcp", {}).spec
            condition = FakeDatagramBackend("tcp", {}).condition

            def start(self) -> None:
                pass

        world = World()
        world.add(ConnectionsOnly())
        world.add(FakeDatagramBackend("udp", {}))
        world.client_sends(b"x")
        self.assertEqual(len(world.backends["udp"].opened), 1)

    def test_unhealthy(self) -> None:
        """What is not offered is not chosen."""
        world = World(first={}, second={})
        world.member("first").status = Status.UNHEALTHY
        world.client_sends(b"x")
        self.assertEqual(len(world.backends["second"].opened), 1)

    def test_waits_for_the_upstream(self) -> None:
        """What arrives while the upstream is being opened is held, and sent in order."""
        world = World(any={})
        backend = world.backends["any"]
        backend.waits = True
        for octets in (b"1", b"2", b"3"):
            world.client_sends(octets)
        self.assertEqual(backend.opened, [])
        backend.gates[0].callback(None)
        self.assertEqual(backend.last.received, [b"1", b"2", b"3"])
        world.table.close()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_selection_timeout(self) -> None:
        """An upstream that is never found ends the session."""
        world = World(any={})
        world.backends["any"].waits = True
        world.client_sends(b"1")
        world.clock.pump([1.0] * 6)
        self.assertEqual(world.outcomes(), ["selection-timeout"])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_another_backend(self) -> None:
        """One that cannot be opened is passed over, and reported."""
        world = World(first={}, second={})
        world.backends["first"].refuses = True
        world.client_sends(b"x")
        self.assertEqual(world.backends["second"].last.received, [b"x"])
        self.assertEqual(world.failures, [("first", "refused")])

    def test_no_other_backend(self) -> None:
        """Where there is no other, it failed."""
        world = World(only={})
        world.backends["only"].refuses = True
        world.client_sends(b"x")
        self.assertEqual(world.outcomes(), ["connect-failed"])

    def test_counts(self) -> None:
        """Datagrams and octets are counted where they went."""
        world = World(any={})
        world.client_sends(b"12345")
        world.client_sends(b"678")
        world.backends["any"].last.says(b"answer")
        world.table.close()
        self.assertEqual(world.total("router.message.total"), 2)
        self.assertEqual(world.total("router.message.bytes"), 8)
        self.assertEqual(world.total("router.message.routed"), 2)
        self.assertEqual(world.total("backend.message.accepted", backend="any"), 2)
        self.assertEqual(world.total("backend.message.bytes", backend="any"), 8)
        self.assertEqual(world.total("client.egress.bytes"), 6)
        self.assertEqual(world.member("any").active, 0)
        self.assertEqual(world.member("any").routed, 1)

    def test_record(self) -> None:
        """A session's log line."""
        world = World(any={})
        world.client_sends(b"12345")
        world.backends["any"].last.says(b"answer")
        world.clock.advance(2)
        world.table.close()
        session, outcome = world.finished[0]
        record = session.record(outcome)
        self.assertEqual(
            (record.transport, record.client, record.backend, record.upstream, record.outcome),
            ("udp", "198.51.100.7:50000", "any", "any.example:1", "listener-closed"),
        )
        self.assertEqual((record.octets_from_client, record.octets_from_upstream), (5, 6))
        self.assertEqual(record.duration_seconds, 2)


class FailureTests(SynchronousTestCase):
    """Upstreams that are not there."""

    def test_refused_on_send(self) -> None:
        """The datagram that meets the error finds another backend at once."""
        world = World(first={}, second={})
        world.client_sends(b"1")
        world.backends["first"].last.error = REFUSED
        world.client_sends(b"2")
        self.assertEqual(world.backends["second"].last.received, [b"2"])
        self.assertTrue(world.backends["first"].last.is_closed)
        self.assertEqual(world.failures, [("first", "Connection refused")])
        self.assertEqual([world.member(name).active for name in ("first", "second")], [0, 1])

    def test_refused_later(self) -> None:
        """An error that is told by itself lets the next datagram be routed again."""
        world = World(first={}, second={})
        world.client_sends(b"1")
        world.backends["first"].last.peer.failed(REFUSED)
        self.assertEqual(world.backends["second"].opened, [])
        world.client_sends(b"2")
        self.assertEqual(world.backends["second"].last.received, [b"2"])

    def test_comes_back(self) -> None:
        """Where there is no other backend, the same one is tried again, each time."""
        world = World(only={})
        for octets in (b"1", b"2", b"3"):
            world.client_sends(octets)
            world.backends["only"].last.peer.failed(REFUSED)
        self.assertEqual([each.received for each in world.backends["only"].opened], [[b"1"], [b"2"], [b"3"]])
        self.assertEqual(len(world.table.sessions), 1)

    def test_no_room(self) -> None:
        """A datagram that the system has no room for is lost, and nothing else."""
        world = World(any={})
        world.client_sends(b"1")
        world.backends["any"].last.error = BlockingIOError(errno.EAGAIN, "later")
        world.client_sends(b"2")
        world.client_sends(b"3")
        self.assertEqual(world.backends["any"].last.received, [b"1", b"3"])
        self.assertEqual(world.session().lost_datagrams, 1)
        self.assertEqual(world.failures, [])


class LimitTests(SynchronousTestCase):
    """What bounds sessions."""

    def test_idle(self) -> None:
        """A session ends when nothing moves; either direction keeps it."""
        world = World(any={})
        world.client_sends(b"1")
        world.clock.pump([1.0] * 50)
        world.backends["any"].last.says(b"")
        world.clock.pump([1.0] * 50)
        self.assertEqual(world.outcomes(), [])
        world.clock.pump([1.0] * int(IDLE_SECONDS))
        self.assertEqual(world.outcomes(), ["idle-timeout"])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_evicts_the_oldest_unanswered(self) -> None:
        """Established sessions are kept, then those that were answered, then the younger."""
        world = World(SessionLimits(3), any={})
        established, answered, silent = (("198.51.100.1", 1000 + n) for n in range(3))
        for name in (established, answered, silent):
            world.client_sends(b"hello", name)
        opened = world.backends["any"].opened
        opened[0].says(b"answer")
        opened[1].says(b"answer")
        world.client_sends(b"thanks", established)
        spoofed = [("192.0.2.1", 2000 + n) for n in range(5)]
        for name in spoofed:
            world.client_sends(b"%d" % name[1], name)
        self.assertEqual(set(world.port.sessions), {established, answered, spoofed[-1]})
        self.assertEqual(world.outcomes(), ["evicted"] * 5)
        world.backends["any"].last.says(b"answer")
        world.client_sends(b"new", ("192.0.2.2", 1))
        self.assertEqual(set(world.port.sessions), {established, spoofed[-1], ("192.0.2.2", 1)})

    def test_full_of_established(self) -> None:
        """Where all are established, nobody else gets in."""
        world = World(SessionLimits(1), any={})
        world.client_sends(b"hello")
        world.backends["any"].last.says(b"answer")
        world.client_sends(b"thanks")
        world.client_sends(b"hello", OTHER)
        self.assertEqual(set(world.port.sessions), {CLIENT})
        self.assertEqual(world.total("router.message.failed", outcome="limit-reached"), 1)

    def test_per_address(self) -> None:
        """So many of one address, and again when one has ended."""
        world = World(SessionLimits(100, per_address=2), any={})
        for number in range(4):
            world.client_sends(b"%d" % number, ("198.51.100.1", 2000 + number))
        world.client_sends(b"x", ("198.51.100.2", 2000))
        self.assertEqual(len(world.table.sessions), 3)
        world.table.finish(world.session(("198.51.100.1", 2000)), "killed")
        world.client_sends(b"y", ("198.51.100.1", 2010))
        self.assertEqual(len(world.table.sessions), 3)

    def test_per_site(self) -> None:
        """Of IPv6 addresses, the /64 counts."""
        world = World(SessionLimits(100, per_address=2), any={})
        for number in range(4):
            world.client_sends(b"%d" % number, (f"2001:db8::{number + 1}", 2000, 0, 0))
        world.client_sends(b"x", ("2001:db8:0:1::1", 2000, 0, 0))
        self.assertEqual(len(world.table.sessions), 3)

    def test_per_second(self) -> None:
        """So many new ones each second."""
        world = World(SessionLimits(100, per_address_second=2), any={})
        for number in range(4):
            world.client_sends(b"%d" % number, ("198.51.100.1", 2000 + number))
        self.assertEqual(len(world.table.sessions), 2)
        world.clock.advance(1)
        world.client_sends(b"x", ("198.51.100.1", 2010))
        self.assertEqual(len(world.table.sessions), 3)

    def test_held_octets(self) -> None:
        """What undecided sessions hold together is bounded: the oldest gives way."""
        world = World(any={})
        world.backends["any"].waits = True
        big = bytes(30000)
        for number in range(300):
            world.client_sends(big, (f"198.51.100.{number % 200 + 1}", 2000 + number))
        self.assertLess(len(world.table.sessions), 150)
        self.assertEqual(set(world.outcomes()), {"evicted"})
        world.table.close()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_held_per_session(self) -> None:
        """One session holds so many datagrams; the others are lost."""
        world = World(any={})
        world.backends["any"].waits = True
        for number in range(30):
            world.client_sends(b"%d" % number)
        world.backends["any"].gates[0].callback(None)
        self.assertEqual(len(world.backends["any"].last.received), 16)
        self.assertEqual(world.session().lost_datagrams, 14)

    def test_drain(self) -> None:
        """A drain ends when sessions have fallen silent, and begins no new ones."""
        world = World(any={})
        world.client_sends(b"1")
        ended: list[int] = []
        world.table.drain(lambda: ended.append(1))
        world.clock.pump([0.4, 0.4])
        world.client_sends(b"2")
        world.client_sends(b"new", OTHER)
        self.assertEqual(world.backends["any"].last.received, [b"1", b"2"])
        self.assertEqual((ended, len(world.backends["any"].opened)), ([], 1))
        world.clock.pump([1.0] * 5)
        self.assertEqual(ended, [1])
        self.assertEqual(world.clock.getDelayedCalls(), [])


class SafetyTests(SynchronousTestCase):
    """What datagrams from anywhere must not bring about."""

    def assert_ignored(self, name: Any, world: World | None = None) -> None:
        """Nothing comes of a datagram from C{name}."""
        world = world or World(any={})
        before = len(world.table.sessions)
        world.client_sends(b"x", name)
        self.assertEqual(len(world.table.sessions), before)
        self.assertNotIn(name, world.port.sessions)
        self.assertEqual(world.sent, [])

    def test_impossible_sources(self) -> None:
        """Port 0, multicast, broadcast, unspecified."""
        for name in (
            ("198.51.100.1", 0),
            ("224.0.0.251", 5353),
            ("239.255.255.250", 1900),
            ("255.255.255.255", 68),
            ("0.0.0.0", 68),
            ("ff02::fb", 5353, 0, 0),
            ("::", 5353, 0, 0),
        ):
            self.assert_ignored(name)

    def test_our_own_address(self) -> None:
        """A source that is our listener would make us talk to ourselves."""
        world = World(any={})
        self.assert_ignored((OURS.host, OURS.port), world)
        other = world.make_port(Address("203.0.113.2", 53))
        world.client_sends(b"x", CLIENT, other)
        self.assert_ignored(("203.0.113.2", 53), world)

    def test_our_own_upstream_socket(self) -> None:
        """A backend that is our own listener does not make a loop."""
        world = World(any={})
        world.client_sends(b"x")
        ours = world.backends["any"].last.local_name
        self.assert_ignored(ours, world)
        world.table.finish(world.session(), "killed")
        world.client_sends(b"x", ours)
        self.assertIn(ours, world.port.sessions)

    def test_facing_each_other(self) -> None:
        """The same datagram from new ports of an upstream's host again and again is stopped, also slowly."""
        for seconds in (0.0, 0.1):
            world = World(any={})
            for number in range(ROUNDS_FROM_UPSTREAMS + 20):
                world.client_sends(b"round and round", (UPSTREAM_HOST, 2000 + number))
                world.clock.advance(seconds)
            self.assertEqual(len(world.table.sessions), ROUNDS_FROM_UPSTREAMS)

    def test_many_behind_one_address(self) -> None:
        """Clients behind one address may all begin alike; where nobody answers any, it ends somewhere."""
        world = World(any={})
        for number in range(ROUNDS_FROM_OTHERS + 20):
            world.client_sends(b"the usual beginning", ("198.51.100.7", 2000 + number))
        self.assertEqual(len(world.table.sessions), ROUNDS_FROM_OTHERS)

    def test_answered_is_no_loop(self) -> None:
        """What the upstream answers is not counted, wherever it comes from."""
        for host in (UPSTREAM_HOST, OURS.host):
            world = World(any={})
            for number in range(ROUNDS_FROM_HERE + 50):
                world.client_sends(b"the usual beginning", (host, 2000 + number))
                world.backends["any"].last.says(b"welcome")
            self.assertEqual(len(world.table.sessions), ROUNDS_FROM_HERE + 50)

    def test_programs_of_this_machine(self) -> None:
        """A socket for each message is usual there, and answers are not."""
        for host in (OURS.host, "127.0.0.1"):
            world = World(any={})
            for number in range(ROUNDS_FROM_HERE + 50):
                world.client_sends(b"app.up:1|c", (host, 2000 + number))
            self.assertEqual(len(world.table.sessions), ROUNDS_FROM_HERE)

    def test_upstream_hosts_are_forgotten(self) -> None:
        """Where no session has an upstream any more, nobody is suspected."""
        world = World(any={}, nowhere={"preview": "^nowhere"})
        world.client_sends(b"x")
        world.client_sends(b"y", OTHER)
        self.assertEqual(dict(world.services.upstream_hosts), {UPSTREAM_HOST: 2})
        world.table.close()
        self.assertEqual(dict(world.services.upstream_hosts), {})

    def test_amplification(self) -> None:
        """Before it has answered, a client gets a multiple of what it sent."""
        world = World(any={"amplification-limit": "2"})
        world.client_sends(bytes(100))
        upstream = world.backends["any"].last
        upstream.says(bytes(150))
        upstream.says(bytes(60))
        upstream.says(bytes(50))
        self.assertEqual([len(octets) for _, octets in world.sent], [150, 50])
        world.client_sends(b"answer")
        upstream.says(bytes(1000))
        self.assertEqual(len(world.sent), 3)

    def test_no_amplification_limit(self) -> None:
        """Of itself only QUIC is limited."""
        world = World(any={})
        world.client_sends(b"x")
        world.backends["any"].last.says(bytes(5000))
        self.assertEqual(len(world.sent), 1)

    def test_low_ports(self) -> None:
        """Refused where that is asked for."""
        world = World(any={"refuse-low-ports": "true"})
        world.client_sends(b"x", ("198.51.100.7", 53))
        world.client_sends(b"x", ("198.51.100.7", 1024))
        self.assertEqual(world.outcomes(), ["source-refused"])
        self.assertEqual(len(world.backends["any"].opened), 1)


class MessageTests(SynchronousTestCase):
    """Each datagram routed anew."""

    def test_each_anew(self) -> None:
        """One client's datagrams go different ways, and the answers find back."""
        world = World(SessionLimits(10, is_by_message=True), dns={"detect": "dns"}, rest={})
        for octets in (DNS[0], b"other", DNS[1], b"more"):
            world.client_sends(octets)
        dns, rest = world.backends["dns"], world.backends["rest"]
        self.assertEqual(dns.last.received, [DNS[0], DNS[1]])
        self.assertEqual(rest.last.received, [b"other", b"more"])
        dns.last.says(b"answer")
        rest.last.says(b"reply")
        self.assertEqual(world.sent, [(CLIENT, b"answer"), (CLIENT, b"reply")])
        self.assertEqual(len(world.table.sessions), 2)
        world.table.close()
        self.assertEqual(world.total("router.message.total"), 4)
        self.assertEqual(world.total("router.message.routed"), 4)

    def test_status_counts_at_once(self) -> None:
        """A backend that becomes unhealthy gets no further datagram."""
        world = World(SessionLimits(10, is_by_message=True), first={}, second={})
        world.client_sends(b"1")
        world.member("first").status = Status.UNHEALTHY
        world.client_sends(b"2")
        self.assertEqual(world.backends["second"].last.received, [b"2"])

    def test_refused(self) -> None:
        """An upstream that is not there ends the exchange; the next datagram opens another."""
        world = World(SessionLimits(10, is_by_message=True), any={})
        world.client_sends(b"1")
        world.backends["any"].last.peer.failed(REFUSED)
        world.client_sends(b"2")
        self.assertEqual([each.received for each in world.backends["any"].opened], [[b"1"], [b"2"]])
        self.assertEqual(world.outcomes(), ["connect-failed"])

    def test_bounded(self) -> None:
        """The oldest unanswered gives way here too."""
        world = World(SessionLimits(3, is_by_message=True), any={})
        for number in range(10):
            world.client_sends(b"x", ("198.51.100.1", 2000 + number))
        self.assertEqual(len(world.table.sessions), 3)
        self.assertEqual(world.outcomes(), ["evicted"] * 7)
