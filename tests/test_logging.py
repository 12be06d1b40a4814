"""What is in the log about a connection, and what its client cannot put there."""

from __future__ import annotations

import contextlib
import socket

from tests.support.case import PmmuxCase, one_upstream, read_all
from tests.support.peers import Peer, answer_with
from tests.support.process import Pmmux
from tests.support.waiting import wait_for

# CR and LF, an escape sequence of terminals, a bidirectional override, quotes and a field of ours.
NASTY_HOST = b'a\x1b[2Jb\xe2\x80\xae" outcome=closed client=6.6.6.6\\'


class LogTests(PmmuxCase):
    def request(self, pmmux: Pmmux, host: bytes) -> None:
        client = self.connect(pmmux)
        client.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        self.port_of_client = client.getsockname()[1]
        with contextlib.suppress(ConnectionResetError):
            read_all(client)
        client.close()

    def test_json(self) -> None:
        peer = Peer(self, answer_with(b"answer"))
        pmmux = self.start(one_upstream(peer.port, condition="detect = http"))
        self.request(pmmux, b"www.example.org")
        (line,) = pmmux.wait_finished(1)
        self.assertTrue(0 <= line.pop("duration_seconds") < 5)
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            line,
            {
                "level": "info",
                "logger": "access",
                "message": "connection closed",
                "client": f"127.0.0.1:{self.port_of_client}",
                "listener": "front",
                "transport": "tcp",
                "backend": "up",
                "upstream": f"127.0.0.1:{peer.port}",
                "octets_from_client": 41,
                "octets_from_upstream": 6,
                "outcome": "closed",
                "connection_id": line["connection_id"],
                "protocol": "http",
                "sni": "",
                "host": "www.example.org",
                "detail": "",
            },
        )

    def test_what_a_client_words_is_escaped_in_json(self) -> None:
        peer = Peer(self, answer_with(b"answer"))
        pmmux = self.start(one_upstream(peer.port, condition="property[http.host] = .*"))
        self.request(pmmux, NASTY_HOST)
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(line["client"], f"127.0.0.1:{self.port_of_client}")
        self.assertTrue(all(0x20 <= octet < 0x7F or octet == 0x0A for octet in pmmux.output().encode()))

    def test_what_a_client_words_is_escaped_in_text(self) -> None:
        peer = Peer(self, answer_with(b"answer"))
        pmmux = self.start(
            one_upstream(peer.port, condition="detect = http"), "--log-format=text", may_trouble=True
        )
        self.request(pmmux, NASTY_HOST)

        def find() -> list[str]:
            return [line for line in pmmux.output().split("\n") if "connection closed" in line]

        (line,) = wait_for(find, "the line in the log")
        self.assertTrue(all(0x20 <= ord(character) < 0x7F for character in line), line)
        self.assertEqual(line.count("outcome="), 1)
        self.assertEqual(line.count("client="), 1)
        self.assertIn(f" client=127.0.0.1:{self.port_of_client} ", line)

    def test_nothing_matches(self) -> None:
        pmmux = self.start(one_upstream(1, condition="detect = tls"))
        self.request(pmmux, b"a")
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(
            (line["outcome"], line["backend"], line["upstream"], line["octets_from_upstream"]),
            ("no-backend", "", "", 0),
        )

    def test_lines_are_there_at_once_after_the_end(self) -> None:
        # They are written together now and then; none may be lost when the process ends.
        peer = Peer(self, answer_with(b"answer"))
        pmmux = self.start(one_upstream(peer.port))
        for _ in range(20):
            self.request(pmmux, b"a")
        self.assertEqual(pmmux.stop(), 0)
        self.assertEqual(len(pmmux.finished()), 20)
