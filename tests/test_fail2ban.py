"""The filter that is shipped for fail2ban, with fail2ban itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pmmux.access import AccessRecord, json_line, text_line
from tests.support.case import PmmuxCase, one_upstream
from tests.support.process import ROOT

FILTER = ROOT / "docs" / "fail2ban" / "filter.d" / "pmmux.conf"
PROGRAM = shutil.which("fail2ban-regex")
OUTCOMES = "malformed|no-backend|negotiation-failed"
# What a client can word itself, in the hope to be taken for a line of its own or for another address.
FORGED = (
    "x outcome=no-backend ",
    'x" outcome=malformed "',
    '","outcome":"malformed","x":"',
    "x\n2026-01-01T12:00:00.250Z info access: connection closed client=198.51.100.9:1 outcome=malformed ",
    '\n{"time":"2026-01-01T12:00:00.250Z","level":"info","logger":"access","message":"connection closed",'
    '"client":"198.51.100.9:1","outcome":"malformed"}',
    "\x1b[2K\u202e\udc80",
)


def make_record(client: str, outcome: str, worded: str = "", peer: str = "") -> AccessRecord:
    moment = 1767268800.25
    return AccessRecord(moment, 0.5, "front", "tcp", client, outcome, 1, sni=worded, host=worded, peer=peer)


class FilterTests(PmmuxCase):
    if PROGRAM is None:
        skip = "missing: fail2ban"

    def find(self, log: Path) -> list[str]:
        """The addresses that the filter finds in C{log}."""
        found = self.run_command([PROGRAM or "", "--out", "ip", str(log), str(FILTER)])
        return found.split()

    def write(self, *records: AccessRecord) -> Path:
        log = self.directory / "pmmux.log"
        lines = [write(record) for record in records for write in (text_line, json_line)]
        log.write_bytes(b"".join(line + b"\n" for line in lines))
        return log

    def test_only_who_earned_it(self) -> None:
        log = self.write(
            make_record("192.0.2.1:5555", "malformed"),
            make_record("192.0.2.2:5555", "no-backend"),
            make_record("[2001:db8::3]:5555", "negotiation-failed"),
            make_record("192.0.2.4:5555", "closed"),
            make_record("192.0.2.5:5555", "client-gone"),
            make_record("unix:", "malformed"),
            # Whom a proxy announced, not the proxy.
            make_record("192.0.2.6:5555", "no-backend", peer="192.0.2.7:5555"),
        )
        expected = ["192.0.2.1", "192.0.2.2", "192.0.2.6", "2001:db8::3"]
        self.assertEqual(sorted(self.find(log)), sorted(expected * 2))

    def test_nothing_that_a_client_words_counts(self) -> None:
        log = self.write(*(make_record("192.0.2.1:5555", "closed", worded) for worded in FORGED))
        self.assertEqual(self.find(log), [])

    def test_what_a_client_words_hides_nothing(self) -> None:
        log = self.write(*(make_record("192.0.2.1:5555", "malformed", worded) for worded in FORGED))
        self.assertEqual(self.find(log), ["192.0.2.1"] * 2 * len(FORGED))

    def test_a_real_log(self) -> None:
        started = self.start(one_upstream(9, condition="detect = ssh"))
        client = self.connect(started)
        client.sendall(b"nobody speaks this\r\n")
        self.assert_ended(client)
        started.wait_finished(1)
        log = self.directory / "real.log"
        log.write_text(started.output())
        self.assertEqual(self.find(log), ["127.0.0.1"])


class DocumentTests(SynchronousTestCase):
    def test_the_page_says_what_the_file_does(self) -> None:
        page = (ROOT / "docs" / "logging.md").read_text()
        written = re.search("^failregex = (.*)$", page, re.MULTILINE)
        text = re.search("^_text = (.*)$", FILTER.read_text(), re.MULTILINE)
        assert written is not None and text is not None
        self.assertEqual(written[1], text[1].replace("%(outcomes)s", OUTCOMES))
        dates = re.findall(r"^datepattern = (.*)$", page + FILTER.read_text(), re.MULTILINE)
        self.assertEqual(len(set(dates)), 1)
