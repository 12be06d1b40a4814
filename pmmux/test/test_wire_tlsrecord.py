"""Records counted from outside."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pmmux.wire.tlsrecord import count_application_records

CHANGE = b"\x14\x03\x03\x00\x01\x01"
SEALED = b"\x17\x03\x03\x00\x05hello"


class CountTests(SynchronousTestCase):
    def test_what_follows_the_handshake(self) -> None:
        for octets, expected in (
            (SEALED, 0),
            (CHANGE + SEALED, 0),
            (SEALED * 2, 1),
            (CHANGE + SEALED * 3, 2),
        ):
            self.assertEqual(count_application_records(octets), expected)

    def test_cut_short(self) -> None:
        """Nothing can be told of a record that is not all there."""
        for octets in (CHANGE + SEALED, SEALED * 2):
            for end in range(1, len(octets)):
                if end not in (len(CHANGE), len(SEALED)) or (octets[:1] == b"\x14" and end != len(CHANGE)):
                    self.assertIsNone(count_application_records(octets[:end]), octets[:end])
