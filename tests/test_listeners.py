"""Where pmmux listens, and what it connects to."""

from __future__ import annotations

import socket

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, one_upstream, read_all, read_exactly
from tests.support.peers import Peer, answer_with, echo
from tests.support.process import Pmmux
from tests.support.waiting import wait_for

REST = "[backend rest]\nprotocol = pass\ntarget = {target}\n"


class AddressTests:
    def check_echo(self, where: object, family: int, octets: bytes = b"hello") -> None:
        client = self.connect(where, family)
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(client), octets)
        client.close()

    def clients(self, pmmux: Pmmux, count: int) -> list[str]:
        return [line["client"] for line in pmmux.wait_finished(count)]

    def test_ipv6(self) -> None:
        peer = Peer(self, echo, socket.AF_INET6)
        pmmux = self.start(
            "[listener front]\nbind = ::1\nport = ?\n" + REST.format(target=f"[::1]:{peer.port}")
        )
        self.assertEqual(pmmux.places, {"front": [f"[::1]:{pmmux.port}"]})
        self.check_echo(("::1", pmmux.port), socket.AF_INET6)
        self.assertTrue(self.clients(pmmux, 1)[0].startswith("[::1]:"))

    def test_dual_stack(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start("[listener front]\nport = ?\n" + REST.format(target=f"127.0.0.1:{peer.port}"))
        self.check_echo(("::1", pmmux.port), socket.AF_INET6)
        self.check_echo(("127.0.0.1", pmmux.port), socket.AF_INET)
        hosts = [client.rpartition(":")[0] for client in self.clients(pmmux, 2)]
        self.assertEqual(sorted(hosts), ["127.0.0.1", "[::1]"])

    def test_both_families_by_address(self) -> None:
        peer = Peer(self, echo)
        pmmux = self.start(
            "[listener front]\nbind = 127.0.0.1, ::1\nport = ?\n"
            + REST.format(target=f"127.0.0.1:{peer.port}")
        )
        self.assertEqual(pmmux.places["front"], [f"127.0.0.1:{pmmux.port}", f"[::1]:{pmmux.port}"])
        self.check_echo(("::1", pmmux.port), socket.AF_INET6)
        self.check_echo(("127.0.0.1", pmmux.port), socket.AF_INET)

    def test_name_with_several_addresses(self) -> None:
        # Whatever else localhost means here, somebody listens on 127.0.0.1 only.
        peer = Peer(self, echo)
        pmmux = self.start(
            "[listener front]\nbind = 127.0.0.1\nport = ?\n" + REST.format(target=f"localhost:{peer.port}")
        )
        for _ in range(3):
            self.check_echo(pmmux.port, socket.AF_INET)

    def test_unix_sockets(self) -> None:
        upstream, front = str(self.directory / "up"), str(self.directory / "front")
        Peer(self, echo, socket.AF_UNIX, where=upstream)
        pmmux = self.start(
            f"[listener front]\nbind = unix:{front}\n" + REST.format(target=f"unix:{upstream}")
        )
        self.check_echo(front, socket.AF_UNIX, b"octets " * 10_000)
        (line,) = pmmux.wait_finished(1)
        self.assertEqual((line["outcome"], line["backend"]), ("closed", "rest"))
        self.assertEqual(pmmux.stop(), 0)
        self.assertFalse((self.directory / "front").exists())

    def test_backends_that_answer_themselves_on_a_unix_socket(self) -> None:
        front = str(self.directory / "front.sock")
        pmmux = self.start(
            f"[listener front]\nbind = unix:{front}\n[backend web]\nprotocol = http-response\n"
            "response.body = {host} {path}\n"
        )
        client = self.connect(front)
        client.sendall(b"GET /a HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")
        self.assertTrue(read_all(client).endswith(b"\r\n\r\nbox /a"))
        pmmux.wait_finished(1)
        self.assertEqual(pmmux.outcomes(), {"closed": 1})

    def test_unix_socket_left_by_a_killed_process(self) -> None:
        front = self.directory / "front"
        config = f"[listener front]\nbind = unix:{front}\n[backend rest]\nprotocol = noop\n"
        first = self.start(config)
        first.process.kill()
        first.wait()
        self.assertTrue(front.exists())
        self.start(config)
        self.connect(str(front), socket.AF_UNIX)

    def test_several_listeners_and_local_port(self) -> None:
        one, two = Peer(self, answer_with(b"one")), Peer(self, answer_with(b"two"))
        listening = self.listen()
        port = listening.getsockname()[1]
        listening.close()
        pmmux = self.start(
            f"[listener a]\nbind = 127.0.0.1\nport = {port}\n[listener b]\nbind = 127.0.0.1\nport = ?\n"
            f"[backend one]\nprotocol = pass\ntarget = 127.0.0.1:{one.port}\nlocal-port = {port}\n"
            f"[backend two]\nprotocol = pass\ntarget = 127.0.0.1:{two.port}\n",
            listeners=2,
        )
        for name, answer in (("a", b"one"), ("b", b"two")):
            client = self.connect(pmmux.ports[name])
            client.sendall(b"who?")
            self.assertEqual(read_all(client), answer)
            client.close()
        self.assertEqual([line["listener"] for line in pmmux.wait_finished(2)], ["a", "b"])


class FastAddressTests(AddressTests, OnFastPath, PmmuxCase):
    pass


class PortableAddressTests(AddressTests, OnPortablePath, PmmuxCase):
    pass


class UpstreamTests:
    """What happens where an upstream cannot be reached."""

    def refusing_port(self) -> int:
        listening = self.listen()
        port: int = listening.getsockname()[1]
        listening.close()
        return port

    def test_falls_to_the_next_that_matches(self) -> None:
        peer = Peer(self, echo)
        config = one_upstream(self.refusing_port(), condition="detect = http")
        pmmux = self.start(
            f"{config}\n[backend gone]\nprotocol = pass\ntarget = unix:/nowhere/at/all\n"
            f"[backend other]\nprotocol = pass\ntarget = 127.0.0.1:{peer.port}\n"
        )
        client = self.connect(pmmux)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(read_exactly(client, 5), b"GET /")
        client.close()
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(line["backend"], "other")

    def test_none_is_left(self) -> None:
        pmmux = self.start(one_upstream(self.refusing_port()))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.assert_ended(client)
        (line,) = pmmux.wait_finished(1)
        self.assertEqual(line["outcome"], "connect-failed")
        self.assertIn("refused", line["detail"])

    def test_no_more_tries_than_allowed(self) -> None:
        peer = Peer(self, echo)
        port = self.refusing_port()
        more = "".join(
            f"[backend b{number}]\nprotocol = pass\ntarget = 127.0.0.1:{port}\n" for number in range(2)
        )
        pmmux = self.start(
            one_upstream(port, "connect-retries = 2") + more + REST.format(target=f"127.0.0.1:{peer.port}")
        )
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.assert_ended(client)
        (line,) = pmmux.wait_finished(1)
        self.assertEqual((line["outcome"], peer.served), ("connect-failed", 0))

    def test_what_was_said_reaches_the_one_that_was_reached(self) -> None:
        peer = Peer(self, echo)
        port = self.refusing_port()
        pmmux = self.start(one_upstream(port) + REST.format(target=f"127.0.0.1:{peer.port}"))
        octets = bytes(range(256)) * 200
        client = self.connect(pmmux)
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        self.assertTrue(read_all(client) == octets)

    def test_comes_back(self) -> None:
        port = self.refusing_port()
        pmmux = self.start(one_upstream(port))
        client = self.connect(pmmux)
        client.sendall(b"hello")
        self.assert_ended(client)
        Peer(self, echo, where=("127.0.0.1", port))

        def answered() -> bool:
            with socket.create_connection(("127.0.0.1", pmmux.port), timeout=5) as client:
                client.sendall(b"hello")
                return read_exactly(client, 5) == b"hello"

        wait_for(answered, "the upstream reached again")


class FastUpstreamTests(UpstreamTests, OnFastPath, PmmuxCase):
    pass


class PortableUpstreamTests(UpstreamTests, OnPortablePath, PmmuxCase):
    pass
