"""The preview shows the same and replays the same, however the octets were cut and whenever it ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pmmux.preview import Preview, PreviewTransport
from pmmux.test.doubles import make_stream
from pmmux.test.stream_doubles import ClientTransport, HalfCloseableProtocol, RecordingProtocol


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """C{octets} in pieces, none empty."""
    ends = sorted({place % (len(octets) + 1) for place in places} | {len(octets)})
    pieces = [octets[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [piece for piece in pieces if piece]


class PreviewTests(SynchronousTestCase):
    def test_shows_what_came(self) -> None:
        preview = Preview(10)
        self.assertEqual((preview.octets, preview.size), (b"", 0))
        preview.feed(b"ab")
        preview.feed(b"c")
        self.assertEqual((preview.octets, preview.size, preview.final), (b"abc", 3, False))
        preview.feed(b"d")
        self.assertEqual(preview.octets, b"abcd")

    def test_final_at_the_limit(self) -> None:
        preview = Preview(4)
        preview.feed(b"abc")
        self.assertFalse(preview.final)
        preview.feed(b"d")
        self.assertTrue(preview.final)
        self.assertFalse(preview.ended)

    def test_shows_no_more_than_the_limit(self) -> None:
        preview = Preview(4)
        preview.feed(b"abcdefgh")
        self.assertEqual((preview.octets, preview.size), (b"abcd", 4))
        preview.feed(b"i")
        self.assertEqual(preview.octets, b"abcd")
        self.assertEqual(preview.take(), b"abcdefghi")
        self.assertEqual((preview.octets, preview.size), (b"", 0))

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=40), st.integers(1, 50), st.lists(st.integers(0, 50), max_size=8))
    def test_any_split_shows_and_holds_the_same(self, octets: bytes, limit: int, places: list[int]) -> None:
        preview = Preview(limit)
        seen = b""
        for piece in cut(octets, places):
            preview.feed(piece)
            self.assertTrue(preview.octets.startswith(seen))
            self.assertEqual(len(preview.octets), preview.size)
            seen = preview.octets
        self.assertEqual(preview.octets, octets[:limit])
        self.assertEqual(preview.final, len(octets) >= limit)
        self.assertEqual(preview.take(), octets)

    def test_wakes_at_once(self) -> None:
        preview = Preview(10)
        waiter = preview.changed()
        self.assertNoResult(waiter)
        preview.feed(b"a")
        self.successResultOf(waiter)

    def test_wakes_for_as_much_as_is_wanted(self) -> None:
        preview = Preview(10)
        waiter = preview.changed(3)
        preview.feed(b"ab")
        self.assertNoResult(waiter)
        preview.feed(b"c")
        self.successResultOf(waiter)

    def test_wakes_when_it_becomes_final(self) -> None:
        for finish in (Preview.end, Preview.finish, lambda preview: preview.feed(b"0123456789")):
            preview = Preview(10)
            waiter = preview.changed(1000)
            finish(preview)
            self.successResultOf(waiter)

    def test_end_after_finish(self) -> None:
        preview = Preview(10)
        preview.finish()
        self.assertFalse(preview.ended)
        preview.end()
        self.assertTrue(preview.ended)

    def test_cancelled_wait_is_harmless(self) -> None:
        preview = Preview(10)
        waiter = preview.changed()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        preview.feed(b"a")
        self.successResultOf_again(preview)

    def successResultOf_again(self, preview: Preview) -> None:
        waiter = preview.changed()
        preview.feed(b"b")
        self.successResultOf(waiter)
        self.assertEqual(preview.octets, b"ab")

    def test_may_be_asked_again_while_it_wakes(self) -> None:
        preview = Preview(10)
        sizes: list[int] = []

        def woken(_: None) -> None:
            sizes.append(preview.size)
            if not preview.final:
                preview.changed().addCallback(woken)

        preview.changed().addCallback(woken)
        for piece in (b"a", b"b", b"c"):
            preview.feed(piece)
        preview.end()
        self.assertEqual(sizes, [1, 2, 3, 3])

    def test_discard(self) -> None:
        preview = Preview(10)
        preview.feed(b"PROXY")
        preview.feed(b"rest")
        preview.discard(5)
        self.assertEqual((preview.octets, preview.size), (b"rest", 4))
        preview.discard(4)
        self.assertEqual((preview.octets, preview.size), (b"", 0))
        preview.feed(b"more")
        self.assertEqual(preview.octets, b"more")

    def test_discard_takes_the_limit_back(self) -> None:
        preview = Preview(4)
        preview.feed(b"abcd")
        preview.discard(1)
        self.assertFalse(preview.final)
        self.assertEqual(preview.octets, b"bcd")

    def test_discard_of_a_long_preview_leaves_it_final(self) -> None:
        preview = Preview(4)
        preview.feed(b"abcdefgh")
        preview.discard(2)
        self.assertTrue(preview.final)
        self.assertEqual(preview.octets, b"cdef")
        self.assertEqual(preview.take(), b"cdefgh")

    def test_discard_leaves_the_end_an_end(self) -> None:
        preview = Preview(10)
        preview.feed(b"abc")
        preview.end()
        preview.discard(3)
        self.assertTrue(preview.final)
        self.assertTrue(preview.ended)


class StreamCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.closed: list[str] = []

    def stream(self, limit_octets: int = 32) -> tuple[PreviewTransport, ClientTransport]:
        stream = make_stream(self.clock, limit_octets)
        stream.closed = lambda reason: self.closed.append(type(reason.value).__name__)
        return stream, stream.transport


class PreviewTransportTests(StreamCase):
    def test_provides(self) -> None:
        stream, _ = self.stream()
        verifyObject(IProtocol, stream)
        verifyObject(IHalfCloseableProtocol, stream)

    def test_tells_that_it_is_open_with_what_was_read_before(self) -> None:
        seen: list[bytes] = []
        preview = Preview(32)
        preview.feed(b"early")
        stream = PreviewTransport(32, lambda opened: seen.append(opened.preview.octets), preview=preview)
        ClientTransport(self.clock).connect(stream)
        self.assertEqual(seen, [b"early"])
        self.assertEqual(stream.octets_read, 5)

    def test_what_was_read_before_up_to_the_limit_pauses(self) -> None:
        preview = Preview(4)
        preview.feed(b"early")
        stream = PreviewTransport(4, lambda opened: None, preview=preview)
        transport = ClientTransport(self.clock)
        transport.connect(stream)
        self.assertFalse(transport.is_reading)

    def test_stops_reading_at_the_limit(self) -> None:
        stream, transport = self.stream(4)
        transport.deliver(b"abc")
        self.assertTrue(transport.is_reading)
        transport.deliver(b"de")
        self.assertFalse(transport.is_reading)
        self.assertEqual(stream.octets_read, 5)

    def test_reads_on_after_a_discard(self) -> None:
        stream, transport = self.stream(4)
        transport.deliver(b"abcd")
        stream.discard(2)
        self.assertTrue(transport.is_reading)
        transport.deliver(b"e")
        self.assertEqual(stream.preview.octets, b"cde")

    def test_begins_with_octets_once(self) -> None:
        stream, transport = self.stream()
        begun: list[bytes] = []
        stream.begin_with_octets(lambda: begun.append(stream.preview.octets))
        self.assertEqual(begun, [])
        transport.deliver(b"a", b"b")
        self.assertEqual(begun, [b"a"])

    def test_begins_with_the_end(self) -> None:
        for event in ("end", "lose"):
            stream, transport = self.stream()
            begun: list[bool] = []
            stream.begin_with_octets(lambda begun=begun, stream=stream: begun.append(stream.preview.final))
            getattr(transport, event)()
            self.assertEqual(begun, [True])

    def test_begins_no_more(self) -> None:
        stream, transport = self.stream()
        stream.begin_with_octets(lambda: self.fail("begun"))
        stream.begin_with_octets(None)
        transport.deliver(b"a")

    def test_tells_of_its_loss_once(self) -> None:
        stream, transport = self.stream()
        transport.lose(ConnectionDone())
        self.assertEqual(self.closed, ["ConnectionDone"])
        self.assertTrue(stream.preview.ended)

    def test_pause_and_resume_after_the_loss_do_nothing(self) -> None:
        stream, transport = self.stream()
        stream.pause()
        transport.lose()
        stream.resume()
        stream.pause()
        self.assertFalse(transport.is_reading)


class HandOverTests(StreamCase):
    def told_by(self, before: list[bytes], after: list[bytes], half_closeable: bool = True) -> list[Any]:
        stream, transport = self.stream()
        transport.deliver(*before)
        taker = HalfCloseableProtocol() if half_closeable else RecordingProtocol()
        stream.hand_over(taker)
        transport.deliver(*after)
        return taker.told

    def test_replays_and_passes_on(self) -> None:
        self.assertEqual(self.told_by([b"ab", b"c"], [b"d"]), ["made", ("data", b"abcd")])

    def test_end_before_and_after(self) -> None:
        expected = ["made", ("data", b"ab"), "read ended"]
        self.assertEqual(self.told_by([b"ab", b""], []), expected)
        self.assertEqual(self.told_by([b"a"], [b"b", b""]), expected)
        self.assertEqual(self.told_by([], [b"ab", b""]), expected)
        self.assertEqual(self.told_by([b""], []), ["made", "read ended"])

    @settings(max_examples=80, deadline=None)
    @given(
        st.binary(max_size=40),
        st.lists(st.integers(0, 50), max_size=6),
        st.integers(0, 7),
        st.integers(1, 50),
        st.sampled_from(["nothing", "end", "loss", "end and loss"]),
    )
    def test_any_split_with_the_hand_over_anywhere(
        self, octets: bytes, places: list[int], taken_at: int, limit: int, last: str
    ) -> None:
        """The taker is told the same, wherever between two events it took over."""
        self.closed = []
        stream, transport = self.stream(limit)
        events: list[Any] = [lambda piece=piece: transport.deliver(piece) for piece in cut(octets, places)]
        if "end" in last:
            events.append(transport.end)
        if "loss" in last:
            events.append(transport.lose)
        taker = HalfCloseableProtocol()
        taken_at = min(taken_at, len(events))
        for event in events[:taken_at]:
            event()
        stream.hand_over(taker)
        for event in events[taken_at:]:
            event()
        expected: list[Any] = ["made"]
        if octets:
            expected.append(("data", octets))
        if "end" in last and not ("loss" in last and taken_at == len(events)):
            # Where both came before, the loss is the news.
            expected.append("read ended")
        if "loss" in last:
            expected.append(("lost", "ConnectionLost"))
        self.assertEqual(taker.told, expected)
        self.assertEqual(self.closed, ["ConnectionLost"] if "loss" in last else [])
        self.assertEqual(stream.octets_read, len(octets))
        if last == "nothing":
            self.assertTrue(transport.is_reading)

    def test_octets_that_arrive_during_the_replay_come_after_it(self) -> None:
        stream, transport = self.stream()
        transport.deliver(b"first ")

        class Eager(HalfCloseableProtocol):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if data == b"first ":
                    transport.deliver(b"second ", b"third")

        taker = Eager()
        stream.hand_over(taker)
        self.assertEqual(taker.received, b"first second third")

    def test_end_and_loss_during_the_replay(self) -> None:
        for event, expected in (("end", "read ended"), ("lose", ("lost", "ConnectionLost"))):
            stream, transport = self.stream()
            transport.deliver(b"ab")
            taker = HalfCloseableProtocol()
            taker.connectionMade = getattr(transport, event)
            stream.hand_over(taker)
            self.assertEqual(taker.told, [("data", b"ab"), expected])

    def test_resumes_what_the_limit_had_paused(self) -> None:
        stream, transport = self.stream(2)
        transport.deliver(b"abc")
        self.assertFalse(transport.is_reading)
        stream.hand_over(HalfCloseableProtocol())
        self.assertTrue(transport.is_reading)

    def test_end_is_a_close_for_protocols_that_know_no_half_close(self) -> None:
        for before, after in (([b"a", b""], []), ([b"a"], [b""])):
            stream, transport = self.stream()
            transport.deliver(*before)
            taker = RecordingProtocol()
            stream.hand_over(taker)
            transport.deliver(*after)
            self.assertTrue(transport.disconnecting)
            self.clock.advance(0)
            self.assertEqual(taker.told, ["made", ("data", b"a"), ("lost", "ConnectionDone")])

    def test_counts_what_is_written(self) -> None:
        stream, transport = self.stream()
        self.assertEqual(stream.octets_written, 0)
        taker = RecordingProtocol()
        stream.hand_over(taker)
        verifyObject(ITCPTransport, taker.transport)
        taker.transport.write(b"abc")
        taker.transport.writeSequence([b"d", b"e"])
        self.assertEqual(transport.value(), b"abcde")
        self.assertEqual(stream.octets_written, 5)
        self.assertEqual(taker.transport.getPeer(), transport.getPeer())

    def test_tells_the_taker_before_the_owner(self) -> None:
        stream, transport = self.stream()
        order: list[str] = []
        taker = RecordingProtocol()
        taker.connectionLost = lambda reason: order.append("taker")
        stream.closed = lambda reason: order.append("owner")
        stream.hand_over(taker)
        transport.lose()
        self.assertEqual(order, ["taker", "owner"])


class ReleaseTests(StreamCase):
    def test_successor_is_called_from_now_on(self) -> None:
        stream, transport = self.stream()
        transport.deliver(b"ab")
        successor = HalfCloseableProtocol()
        self.assertEqual(stream.release(successor), (b"ab", False))
        transport.deliver(b"cd", b"")
        stream.writeConnectionLost()
        transport.lose()
        self.assertEqual(
            successor.told, [("data", b"cd"), "read ended", "write ended", ("lost", "ConnectionLost")]
        )
        self.assertEqual(stream.preview.octets, b"")
        self.assertEqual(self.closed, [])

    def test_end_that_came_before(self) -> None:
        stream, transport = self.stream()
        transport.deliver(b"ab", b"")
        self.assertEqual(stream.release(HalfCloseableProtocol()), (b"ab", True))

    def test_leaves_a_paused_stream_paused(self) -> None:
        stream, transport = self.stream()
        stream.pause()
        stream.release(HalfCloseableProtocol())
        self.assertFalse(transport.is_reading)
        stream.resume()
        self.assertTrue(transport.is_reading)

    def test_take(self) -> None:
        stream, transport = self.stream(2)
        transport.deliver(b"abc")
        self.assertEqual(stream.take(), (b"abc", False))
        self.assertEqual(stream.take(), (b"", False))


class LossReasonTests(StreamCase):
    def test_kept(self) -> None:
        stream, _ = self.stream()
        self.assertIsNone(stream.lost)
        reason = Failure(ConnectionLost())
        stream.connectionLost(reason)
        self.assertIs(stream.lost, reason)
