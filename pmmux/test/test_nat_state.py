"""What outlives the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pmmux.nat.mapping import PERMANENT, Grant, Link
from pmmux.nat.state import FORGET_PERMANENT_SECONDS, Journal

LINK = Link("192.168.77.1", "192.168.77.2", "eth0")
GRANT = Grant("pcp", "tcp", 8080, 8443, 3600)
NONCE = bytes(range(12))


class JournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.now = 1000.0

    def open(self, path: str | None = None, nonce: bytes = NONCE) -> Journal:
        return Journal(
            str(self.path) if path is None else path, lambda: self.now, lambda length: nonce[:length]
        )

    def test_survives(self) -> None:
        journal = self.open()
        journal.remember("front", LINK, GRANT)
        again = self.open(nonce=bytes(12))
        self.assertEqual(again.nonce, NONCE)
        [record] = again.records()
        self.assertEqual((record.name, record.gateway, record.ends_at), ("front", LINK.gateway, 4600.0))
        self.assertEqual(record.to_grant(), Grant("pcp", "tcp", 8080, 8443, PERMANENT))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        again.forget(record)
        self.assertEqual(self.open().records(), ())

    def test_mappings_end(self) -> None:
        journal = self.open()
        journal.remember("front", LINK, GRANT)
        journal.remember("ever", LINK, Grant("upnp", "tcp", 1, 2, PERMANENT))
        self.now += 3601
        self.assertEqual([record.name for record in journal.records()], ["ever"])
        self.now += FORGET_PERMANENT_SECONDS
        self.assertEqual(journal.records(), ())

    def test_renewal_replaces(self) -> None:
        journal = self.open()
        journal.remember("front", LINK, GRANT)
        self.now += 1800
        journal.remember("front", LINK, GRANT)
        self.assertEqual([record.ends_at for record in journal.records()], [6400.0])
        self.assertEqual(journal.find(LINK, GRANT), journal.records()[0])

    def test_without_a_file(self) -> None:
        journal = self.open("")
        journal.remember("front", LINK, GRANT)
        self.assertEqual(len(journal.records()), 1)

    def test_cannot_write(self) -> None:
        with capturedLogs() as events:
            journal = self.open("/dev/null/nat.json")
            journal.remember("front", LINK, GRANT)
            journal.remember("more", LINK, Grant("pcp", "tcp", 1, 2, 60))
        self.assertEqual(len(events), 1)
        self.assertEqual(len(journal.records()), 2)

    def test_directory_is_made_when_needed(self) -> None:
        path = self.path / "state" / "nat.json"
        journal = self.open(str(path))
        self.assertFalse(self.path.exists())
        journal.remember("front", LINK, GRANT)
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.open(str(path)).records(), journal.records())

    def test_used_by_another_process(self) -> None:
        """It is left alone, until that process has ended."""
        self.open().remember("front", LINK, GRANT)
        before = self.path.read_text()
        command = (
            "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX);"
            "print(flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", command, f"{self.path}.lock"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(other.wait)
        assert other.stdin is not None and other.stdout is not None
        self.addCleanup(other.stdout.close)
        self.addCleanup(other.stdin.close)
        other.stdout.readline()
        with capturedLogs() as events:
            journal = self.open(nonce=bytes(12))
            journal.remember("more", LINK, GRANT)
        self.assertEqual([event["error"] for event in events], ["another process uses it"])
        self.assertEqual([record.name for record in journal.records()], ["more"])
        self.assertEqual(self.path.read_text(), before)
        other.stdin.close()
        other.wait()
        journal.remember("still", LINK, Grant("pcp", "tcp", 1, 2, 60))
        self.assertEqual([record.name for record in self.open().records()], ["more", "still"])

    def test_damaged_files(self) -> None:
        self.open().remember("front", LINK, GRANT)
        right = json.loads(self.path.read_text())
        [mapping] = right["mappings"]
        for content in (
            b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"x" * 300_000,
            json.dumps({**right, "version": 2}).encode(),
            json.dumps({**right, "nonce": "00"}).encode(),
            json.dumps({**right, "mappings": [{}]}).encode(),
            json.dumps({**right, "mappings": [{**mapping, "internal_port": 70000}]}).encode(),
            json.dumps({**right, "mappings": [{**mapping, "transport": "sctp"}]}).encode(),
        ):  # fmt: skip
            self.path.write_bytes(content)
            with capturedLogs() as events:
                journal = self.open(nonce=b"x" * 12)
            self.assertEqual((journal.nonce, journal.records()), (b"x" * 12, ()), content[:80])
            self.assertEqual(len(events), 1)

    @settings(deadline=None)
    @given(st.binary(max_size=100))
    def test_never_raises(self, content: bytes) -> None:
        self.path.write_bytes(content)
        with capturedLogs():
            self.open()
