"""The composition root: one service from settings, started and stopped."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pmmux.interfaces import IHealthMonitor, IMultiplexer, IRouter
from pmmux.loading import load_settings
from pmmux.registry import Registry
from pmmux.router import Router
from pmmux.service import PmmuxService
from pmmux.test.tiny_reactor import TinyReactor
from pmmux.transport.fast import FastDataPath
from pmmux.transport.interfaces import IDataPath
from pmmux.transport.portable import PortableDataPath

CONFIGURATION = """
[pmmux]
drain-timeout = 1s
control-socket = off
log-metrics = no

[listener front]
bind = 127.0.0.1
port = ?

[backend hello]
protocol = http-response
response.body = hello from {path}
detect = http

[backend rest]
protocol = noop
"""
REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = TinyReactor()
        self.before = set(os.listdir("/proc/self/fd"))

    def make(
        self, text: str = CONFIGURATION, prepare: Callable[[Registry], None] = lambda registry: None
    ) -> PmmuxService:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "pmmux.ini").write_text(text)
        settings, registry = load_settings((), {}, str(folder / "pmmux.ini"))
        prepare(registry)
        service = PmmuxService(self.reactor, settings, registry)
        self.assertEqual(service.open(), [])
        return service

    def stop(self, service: PmmuxService) -> None:
        stopped: Deferred[Any] = service.stopService()
        for _ in range(8):
            self.reactor.advance(0.25)
            self.reactor.settle()
        self.successResultOf(stopped)
        if isinstance(service.data_path, FastDataPath):
            service.data_path.close()
        self.assertEqual(self.reactor.getReaders(), [])

    def ask(self, service: PmmuxService) -> bytes:
        address = service.multiplexer.listeners()[0].addresses()[0]
        client = socket.create_connection((address.host, address.port))
        self.addCleanup(client.close)
        client.setblocking(False)
        client.send(REQUEST)
        self.reactor.settle()
        return client.recv(9999)

    def test_services_replaced(self) -> None:
        class GreetsAll(Router):
            async def select(self, *given: Any) -> Any:
                return self.member("hello")

        def prepare(registry: Registry) -> None:
            registry.provide(IRouter, lambda ours, *given: GreetsAll(*given))
            for interface in (IMultiplexer, IHealthMonitor, IDataPath):
                registry.provide(interface, lambda ours, *given: ours(*given))

        service = self.make(CONFIGURATION.replace("detect = http\n", "detect = ssh\n"), prepare)
        service.startService()
        self.assertTrue(self.ask(service).endswith(b"hello from /x"))
        for interface, made in (
            (IRouter, service.router),
            (IMultiplexer, service.multiplexer),
            (IHealthMonitor, service.health),
            (IDataPath, service.data_path),
        ):
            self.assertIs(service.registry.get(interface), made)
        self.stop(service)

    def test_answers(self) -> None:
        for variable, path in (("", FastDataPath), ("1", PortableDataPath)):
            self.patch(os, "environ", {**os.environ, "PMMUX_PORTABLE": variable})
            service = self.make()
            self.assertIsInstance(service.data_path, path)
            service.startService()
            self.assertTrue(self.ask(service).endswith(b"hello from /x"))
            self.assertEqual([info.name for info in service.router.backends()], ["hello", "rest"])
            self.stop(service)

    def test_a_taken_port_is_said_before_the_start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            text = CONFIGURATION.replace("port = ?", f"port = {taken.getsockname()[1]}")
            folder = Path(self.mktemp())
            folder.mkdir()
            (folder / "pmmux.ini").write_text(text)
            settings, registry = load_settings((), {}, str(folder / "pmmux.ini"))
            service = PmmuxService(self.reactor, settings, registry)
            (fault,) = service.open()
            self.assertEqual(fault.listener, "front")
            service.data_path.close()

    def test_drain_ends_what_is_left(self) -> None:
        service = self.make()
        service.startService()
        address = service.multiplexer.listeners()[0].addresses()[0]
        client = socket.create_connection((address.host, address.port))
        self.addCleanup(client.close)
        client.send(b"EHLO\r\n")
        self.reactor.settle()
        self.assertEqual(len(service.multiplexer.courses), 1)
        self.stop(service)
        self.assertEqual(len(service.multiplexer.courses), 0)
