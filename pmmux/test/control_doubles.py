"""A service as commands see it, without sockets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from pmmux.access import AccessRecord
from pmmux.config.settings import Settings
from pmmux.control.connection import ControlConnection
from pmmux.control.feed import EventFeed
from pmmux.control.ring import TraceRing
from pmmux.errors import ListenError
from pmmux.lifecycle import Lifecycle
from pmmux.metrics.reporter import MetricReporter
from pmmux.model import Address, Attempt, Client, RouteTrace, SectionValues, Step
from pmmux.registry import Registry
from pmmux.router import Router
from pmmux.test.doubles import FakeBackend, FirstStrategy, run_now
from pmmux.test.stream_doubles import ClientTransport


def make_record(identifier: int = 1, **more: Any) -> AccessRecord:
    fields: dict[str, Any] = {
        "time": 1000.0,
        "duration_seconds": 0.5,
        "listener": "front",
        "transport": "tcp",
        "client": "198.51.100.7:50000",
        "outcome": "closed",
        "connection_id": identifier,
        "backend": "web",
        **more,
    }
    return AccessRecord(**fields)


def make_trace(backend: str = "web", seconds: float = 0.25) -> RouteTrace:
    return RouteTrace(
        steps=[Step(backend, "match", "", 18)],
        attempts=[Attempt(backend, "127.0.0.1:80", seconds)],
        strategy="first-available",
        chosen=backend,
        outcome="routed",
    )


class FakeCourse:
    """A connection that is open."""

    def __init__(self, identifier: int, member: Any = None, client: str = "198.51.100.7") -> None:
        self.identifier = identifier
        self.member = member
        self.listener = "front"
        self.client = Client("tcp", Address(client, 50000), Address("203.0.113.1", 443))
        self.trace = make_trace()
        self.octets_from_client = 10
        self.octets_from_upstream = 20
        self.closed: list[str] = []

    def record(self, outcome: str) -> AccessRecord:
        backend = "" if self.member is None else self.member.name
        return make_record(self.identifier, client=str(self.client.remote), backend=backend, outcome=outcome)

    def close(self, outcome: str) -> None:
        self.closed.append(outcome)


class FakeObserver:
    level = "info"

    def set_level(self, level: str) -> None:
        self.level = level


class FakeListener:
    """@ivar table: of a datagram listener."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.table = SimpleNamespace(sessions={})

    def addresses(self) -> tuple[Address, ...]:
        return (Address("127.0.0.1", self.spec.port or 50001),)


class FakeMultiplexer:
    """
    Listens on nothing.

    @ivar taken: the ports that cannot be opened.
    """

    def __init__(self, courses: dict[int, Any], listening: list[Any]) -> None:
        self.courses = courses
        self.listening = listening
        self.taken: set[int] = set()

    def listeners(self) -> tuple[Any, ...]:
        return tuple(self.listening)

    def session_tables(self) -> list[Any]:
        return [listener.table for listener in self.listening]

    def add_listener(self, spec: Any) -> None:
        self.listening.append(self._open(spec))

    def prepare(self, specs: Any, leaving: Any) -> tuple[list[Any], list[ListenError]]:
        try:
            return [self._open(spec) for spec in specs], []
        except ListenError as error:
            return [], [error]

    def put(self, made: Any, leaving: Any, order: Any) -> None:
        kept = [each for each in self.listening if each.spec.name not in leaving]
        self.listening[:] = [*kept, *made]

    def remove_listener(self, name: str) -> None:
        self.put((), (name,), ())

    def _open(self, spec: Any) -> FakeListener:
        if spec.port in self.taken:
            raise ListenError(spec.name, f"127.0.0.1:{spec.port}", "it is taken")
        return FakeListener(spec)


class FakeMonitor:
    """Checks nothing."""

    def __init__(self) -> None:
        self.kept: dict[str, SectionValues] = {}

    def reports(self) -> tuple[Any, ...]:
        return ()

    def sections(self) -> tuple[SectionValues, ...]:
        return tuple(self.kept.values())

    def add_check(self, section: SectionValues) -> None:
        self.kept[section.name] = section

    def remove_check(self, name: str) -> None:
        del self.kept[name]

    def look_again(self) -> None:
        pass


class FakeService:
    """What L{pmmux.control.interfaces.ICommand.run} is given."""

    def __init__(self, registry: Registry) -> None:
        self.clock = Clock()
        self.registry = registry
        self.reporter = MetricReporter()
        self.ring = TraceRing()
        self.feed = EventFeed(now=lambda: 1000.0)
        self.reporter.add_sink(self.feed)
        self.router = Router(FirstStrategy(), self.reporter)
        self.courses: dict[int, Any] = {}
        self.listening: list[Any] = []
        self.multiplexer = FakeMultiplexer(self.courses, self.listening)
        self.wiring = SimpleNamespace(reactor=self.clock)
        self.control = SimpleNamespace(places=lambda: ("unix:/run/pmmux/control.sock",))
        self.settings = Settings(SectionValues("pmmux", ""), (), (), (), {}, "pmmux.ini")
        self.observer: Any = FakeObserver()
        self.health = FakeMonitor()
        self.nat: Any = None
        self.made: list[Any] = []
        self.lifecycle = Lifecycle(self.clock, self.router, self.multiplexer, self.health, self.make_backend)

    def make_backend(self, spec: Any) -> FakeBackend:
        self.made.append(spec)
        return FakeBackend(spec.name)

    def make_room(self, backends: int) -> None:
        """There is room for any number."""

    def log_listener(self, listener: Any) -> None:
        """Not logged."""

    def add(self, backend: Any) -> Any:
        return run_now(self.router.add(backend))


class Peer:
    """One connection of the protocol, with its client's side."""

    def __init__(self, service: FakeService, token: str | None = None) -> None:
        self.transport = ClientTransport(service.clock)
        self.finished: list[Any] = []
        self.connection = ControlConnection(service, service.clock, token, self.finished.append)
        self.transport.connect(self.connection)

    def say(self, octets: bytes) -> None:
        self.transport.deliver(octets)

    def ask(self, command: str, identifier: Any = 1, /, **arguments: Any) -> None:
        request = {"version": 1, "id": identifier, "command": command, "arguments": arguments}
        self.say(json.dumps(request).encode() + b"\n")

    def heard(self) -> list[dict[str, Any]]:
        """Every answer since it was asked before."""
        octets = self.transport.value()
        self.transport.clear()
        return [json.loads(line) for line in octets.split(b"\n")[:-1]]
