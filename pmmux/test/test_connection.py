"""A connection on its way."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pmmux.test.doubles import make_connection


class ConnectionTests(SynchronousTestCase):
    def test_preview_is_the_streams(self) -> None:
        connection = make_connection(Clock(), b"hello")
        self.assertIs(connection.preview, connection.stream.preview)
        self.assertEqual(connection.preview.octets, b"hello")

    def test_properties_and_traces_are_its_own(self) -> None:
        first, second = make_connection(Clock()), make_connection(Clock())
        first.properties["a"] = "b"
        self.assertEqual(dict(second.properties), {})
        self.assertIsNot(first.trace, second.trace)
