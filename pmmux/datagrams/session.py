"""
One client's session: its state is which method takes the next datagram, and which the next reply.

C{send} goes from queueing, while it is undecided where to, over watching for the client's answer to the
upstream's own method, after which nothing of ours runs for a datagram but two additions.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from pmmux.access import AccessRecord, peer_of
from pmmux.datagrams.connection_ids import ServerIDs, has_short_header
from pmmux.datagrams.preview import DatagramPreview
from pmmux.members import Member
from pmmux.model import NO_PROPERTIES, Client, Properties, RouteTrace
from pmmux.transport.datagram_ports import DatagramPort, Name

# The upstream is not there; anything else is a matter of one datagram, which is lost.
UNREACHABLE = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


class DatagramSession:
    """
    See the module. Made and ended by L{pmmux.datagrams.table.SessionTable}.

    @ivar name: the client's address as the port has it.
    @ivar send: takes what the client sent; see L{pmmux.transport.datagram_ports.ClientSession}.
    @ivar reply: takes what the upstream sent; see L{pmmux.transport.datagram_ports.Peer}.
    @ivar sends_by: where nothing is to be watched, what several datagrams may be sent on by at once.
    @ivar replies_to: where nothing is to be watched, whom several replies may be sent to at once.
    @ivar announced: what a PROXY header told besides addresses, as properties.
    @ivar beginning: what the loop guard counts it by; C{None} for no more.
    @ivar preview: what the client sent while it was undecided where to; C{None} afterwards.
    @ivar member: the backend it was routed to; C{None} while there is none.
    @ivar upstream: the L{pmmux.interfaces.IDatagramSession}; C{None} while there is none.
    @ivar is_confirmed: whether the client has answered something that came from the upstream.
    @ivar server_ids: of a QUIC session; else C{None}.
    @ivar follows: the session whose client this is, at another address.
    """

    __slots__ = (
        "_destination",
        "_sendto",
        "amplification_limit",
        "announced",
        "beginning",
        "client",
        "datagrams_from_client",
        "datagrams_from_upstream",
        "deferred",
        "detected",
        "ended",
        "excluded",
        "follows",
        "has_replied",
        "identifier",
        "is_confirmed",
        "listener",
        "lost_datagrams",
        "member",
        "name",
        "octets_from_client",
        "octets_from_upstream",
        "opened_at",
        "port",
        "preview",
        "properties",
        "replies_to",
        "reply",
        "reported",
        "send",
        "sends_by",
        "server_ids",
        "table",
        "timeouts",
        "trace",
        "upstream",
        "upstream_name",
    )

    send: Callable[[Any], object]
    reply: Callable[[Any], object]

    def __init__(
        self,
        table: Any,
        identifier: int,
        listener: str,
        port: DatagramPort,
        name: Name,
        client: Client,
        announced: Mapping[str, str] = NO_PROPERTIES,
    ) -> None:
        """
        @param table: the L{pmmux.datagrams.table.SessionTable} that is told what happens.
        @param identifier: unique among connections and sessions of this process.
        @param announced: properties that a PROXY header told.
        """
        self.table = table
        self.identifier = identifier
        self.listener = listener
        self.port = port
        self.name = name
        self.client = client
        self.announced = announced
        self.opened_at: float = table.clock.seconds()
        self.properties = Properties(announced)
        self.trace = RouteTrace()
        self.beginning: Any = None
        self.preview: DatagramPreview | None = None
        self.deferred: Deferred[None] | None = None
        self.timeouts: tuple[Any, Any] | None = None
        self.excluded: set[str] = set()
        self.member: Member | None = None
        self.detected: str | None = None
        self.upstream: Any = None
        self.upstream_name: tuple[Any, ...] | None = None
        self.follows: DatagramSession | None = None
        self.server_ids: ServerIDs | None = None
        self.amplification_limit = 0.0
        self.has_replied = False
        self.is_confirmed = False
        self.ended = False
        self.datagrams_from_client = 0
        self.octets_from_client = 0
        self.datagrams_from_upstream = 0
        self.octets_from_upstream = 0
        self.lost_datagrams = 0
        self.reported = (0, 0, 0)
        self._sendto = port.sendto
        # Made when there is something to send to it: most of a flood's clients are sent nothing.
        self._destination: Any = None
        self.send = self._hold
        self.sends_by: int | None = None
        self.reply = self._reply_first
        self.replies_to: Any = None

    def take(self, datagram: bytes) -> None:
        """What the client sent first, or anew."""
        self.datagrams_from_client += 1
        self.octets_from_client += len(datagram)

    # What the port calls.

    def _hold(self, octets: Any) -> None:
        assert self.preview is not None
        if not self.table.hold(self, bytes(octets)):
            self.lost_datagrams += 1

    def _send_again(self, octets: Any) -> None:
        self.table.route_again(self, bytes(octets))

    def _send_answer(self, octets: Any) -> None:
        # What comes after a reply is the client's answer to it, as far as can be told.
        self._confirm()
        self._be_plain()
        self.send(octets)

    def _send_quic(self, octets: Any) -> None:
        ids = self.server_ids
        assert ids is not None
        if self.has_replied and ids.is_answered_by(octets):
            if not self.is_confirmed:
                self._confirm()
            self.table.known_by(self, ids.seen)
            if has_short_header(octets):
                self._be_plain()
                self.send(octets)
                return
        self.upstream.send(octets)

    def send_failed(self, error: OSError, octets: memoryview) -> None:
        """
        Sending on failed: because the upstream refused what was sent before, and then this was not
        sent and finds another way; or the system has no room, and then this is lost.
        """
        if error.errno in UNREACHABLE and self.upstream is not None:
            datagram = bytes(octets)
            self.failed(error)
            if not self.ended:
                self.send(datagram)
        else:
            self.lost_datagrams += 1

    # What the upstream calls.

    def failed(self, error: OSError) -> None:
        """The upstream cannot be reached: the next datagram is routed again."""
        if self.upstream is not None:
            self._watch_sending(self._send_again)
            self.table.upstream_failed(self, error.strerror or str(error))

    def _reply_first(self, octets: Any) -> None:
        self.has_replied = True
        self._destination = self.port.destination(self.name)
        if self.server_ids is None and not self.is_confirmed:
            self._watch_sending(self._send_answer)
        self.table.replied(self)
        if self.server_ids is not None:
            self.reply = self._reply_quic
        elif self.amplification_limit and not self.is_confirmed:
            self.reply = self._reply_limited
        else:
            self._reply_plainly()
        self.reply(octets)

    def _reply(self, octets: Any) -> None:
        self.datagrams_from_upstream += 1
        self.octets_from_upstream += len(octets)
        try:
            self._sendto(octets, self._destination)
        except OSError:
            # No room, no route, or a filter's refusal: datagrams may be lost.
            self.lost_datagrams += 1

    def _reply_limited(self, octets: Any) -> None:
        allowed = self.amplification_limit * self.octets_from_client
        if self.octets_from_upstream + len(octets) > allowed:
            self.lost_datagrams += 1
        else:
            self._reply(octets)

    def _reply_quic(self, octets: Any) -> None:
        assert self.server_ids is not None
        self.server_ids.read_reply(octets)
        if self.amplification_limit and not self.is_confirmed:
            self._reply_limited(octets)
        else:
            self._reply(octets)

    # What the table calls.

    def route_to(self, member: Member, upstream: Any, is_quic: bool, limit: float) -> None:
        """
        Send to C{upstream} from now on, beginning with what was held.

        @param limit: how many times what the client sent it may be sent before it is confirmed.
        """
        self.member = member
        self.upstream = upstream
        self.amplification_limit = limit
        if is_quic:
            if self.server_ids is None:
                self.server_ids = ServerIDs()
            self._watch_sending(self._send_quic)
            self._watch_replies(self._reply_first)
        else:
            self._send_plainly()
            if self.is_confirmed:
                self._reply_plainly()
            else:
                self._watch_replies(self._reply_first)
        preview, self.preview = self.preview, None
        if preview is not None:
            for datagram in preview.datagrams:
                if self.upstream is not upstream:
                    return
                try:
                    self.send(datagram)
                except OSError as error:
                    self.lost_datagrams += 1
                    if error.errno in UNREACHABLE:
                        self.failed(error)

    def hold(self, preview: DatagramPreview) -> None:
        """Hold what arrives in C{preview} until it is routed."""
        self.preview = preview
        self._watch_sending(self._hold)

    def close_upstream(self) -> None:
        """Idempotent."""
        self.sends_by = None
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()

    def end(self) -> None:
        """Take and give nothing any more."""
        self.ended = True
        # Methods of its own would keep it until the garbage is collected.
        self._watch_sending(_discard)
        self._watch_replies(_discard)
        self.close_upstream()

    def _confirm(self) -> None:
        self.is_confirmed = True
        self.table.confirmed(self)

    def _be_plain(self) -> None:
        self._send_plainly()
        self._reply_plainly()

    def _send_plainly(self) -> None:
        self.send = self.upstream.send
        self.sends_by = getattr(self.upstream, "sends_by", None)

    def _watch_sending(self, method: Callable[[Any], object]) -> None:
        self.send = method
        self.sends_by = None

    def _reply_plainly(self) -> None:
        self.reply = self._reply
        self.replies_to = self._destination if self.port.is_batching else None

    def _watch_replies(self, method: Callable[[Any], object]) -> None:
        self.reply = method
        self.replies_to = None

    def record(self, outcome: str) -> AccessRecord:
        """What its log line says, now that it ended with C{outcome}."""
        trace = self.trace
        return AccessRecord(
            time.time(),
            self.table.clock.seconds() - self.opened_at,
            self.listener,
            "udp",
            str(self.client.remote),
            outcome,
            self.identifier,
            "" if self.member is None else self.member.name,
            trace.attempts[-1].target if trace.attempts else "",
            self.octets_from_client,
            self.octets_from_upstream,
            self.detected or "",
            self.properties.get("tls.sni", ""),
            "",
            trace.detail,
            peer_of(self.client),
        )

    # For the idle queue.

    def progress(self) -> int:
        """Datagrams both ways."""
        return self.datagrams_from_client + self.datagrams_from_upstream

    def moved(self) -> None:
        """There was a datagram since the last look."""
        self.table.report(self)

    def expire(self) -> None:
        """There was no datagram for too long."""
        self.table.expired(self)


def _discard(octets: Any) -> None:
    """What a session that has ended does with datagrams."""
