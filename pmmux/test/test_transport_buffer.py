"""The shared buffer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.transport.buffer import BUFFER_OCTETS, SharedBuffer


class SharedBufferTests(SynchronousTestCase):
    def test_view_is_of_the_octets(self) -> None:
        buffer = SharedBuffer(4)
        buffer.octets[:2] = b"ab"
        self.assertEqual(bytes(buffer.view), b"ab\0\0")

    def test_size(self) -> None:
        self.assertEqual(len(SharedBuffer().view), BUFFER_OCTETS)
