"""What the socket knows, told only when asked for."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.connection import Connection
from pmmux.model import Address
from pmmux.negotiators.socket import negotiator
from pmmux.test.doubles import make_client, make_connection, run_now


class SocketNegotiatorTests(SynchronousTestCase):
    def negotiate(self, connection: Connection) -> Connection:
        async def proceed(passed_on: Connection) -> Connection:
            return passed_on

        result: Connection = run_now(negotiator.negotiate(connection, proceed))
        return result

    def test_properties(self) -> None:
        connection = make_connection(Clock(), b"octets")
        self.assertIs(self.negotiate(connection), connection)
        found = {name: value for name, value in connection.properties.items() if name.startswith("socket.")}
        self.assertEqual(
            found,
            {
                "socket.address-family": "internetwork",
                "socket.protocol-type": "tcp",
                "socket.remote-ip": "198.51.100.7",
                "socket.remote-port": "50000",
                "socket.local-ip": "203.0.113.1",
                "socket.local-port": "443",
                "socket.listener": "front",
            },
        )
        self.assertIsNone(connection.properties.get("socket.nosuch"))
        self.assertEqual(connection.preview.octets, b"octets")

    def test_families(self) -> None:
        for address, family in (
            (Address("2001:db8::1", 1, "ipv6"), "internetworkv6"),
            (Address("/run/x", 0, "unix"), "unix"),
        ):
            connection = make_connection(Clock(), client=make_client(address, address))
            self.negotiate(connection)
            self.assertEqual(connection.properties["socket.address-family"], family)
