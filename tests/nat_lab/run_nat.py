"""
Runs the NAT service alone, for the tests: settings on the command line, orders on standard input, a line
of JSON on standard output for each change; and a backend on each mapped local port.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import attrs
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import FileLogObserver, eventAsText, globalLogBeginner
from twisted.protocols.basic import LineReceiver

from pmmux.nat.service import NATService
from pmmux.nat.settings import NATSettings, WantedMapping


def say(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


class Reporter:
    def count(self, name: str, value: int = 1, /, **labels: str) -> None:
        say("count", name=name, value=value, labels=labels)

    def duration(self, name: str, /, **labels: str) -> Reporter:
        return self

    def observe(self, seconds: float) -> None:
        say("duration", seconds=seconds)

    def event(self, name: str, /, **fields: Any) -> None:
        say("event", name=name, fields=fields)


class Greeter(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"hello from port %d\n" % self.transport.getHost().port)
        self.transport.loseConnection()


class DatagramGreeter(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.transport.write(b"hello " + datagram, addr)


class Orders(LineReceiver):
    delimiter = b"\n"

    def __init__(self, service: NATService) -> None:
        self.service = service

    def lineReceived(self, line: bytes) -> None:
        order, _, argument = line.decode().partition(" ")
        if order == "add":
            self.service.add(WantedMapping(**json.loads(argument)))
        elif order == "remove":
            self.service.remove(argument).addCallback(lambda _: say("removed", name=argument))
        elif order == "report":
            tell(self.service)


class Backends:
    def __init__(self, service: NATService) -> None:
        self.service = service
        self.open: set[tuple[str, int]] = set()

    def listen(self) -> None:
        for port in self.service.report().ports:
            key = (port.transport, port.local_port)
            if not port.local_port or key in self.open:
                continue
            self.open.add(key)
            if port.transport == "tcp":
                factory = Factory.forProtocol(Greeter)
                factory.noisy = False
                reactor.listenTCP(port.local_port, factory, interface="::")
            else:
                reactor.listenUDP(port.local_port, DatagramGreeter())


def tell(service: NATService) -> None:
    report = service.report()
    say(
        "report",
        text=report.render(),
        **attrs.asdict(
            report,
            value_serializer=lambda _, __, value: getattr(value, "value", value),
        ),
    )


def main() -> None:
    arguments = json.loads(sys.argv[1])
    globalLogBeginner.beginLoggingTo(
        [FileLogObserver(sys.stderr, lambda event: eventAsText(event) + "\n")], redirectStandardIO=False
    )
    settings = arguments["settings"]
    settings["protocols"] = tuple(settings.get("protocols", ("pcp", "pmp", "upnp")))
    wanted = [WantedMapping(**fields) for fields in arguments["wanted"]]
    service = NATService(reactor, NATSettings(**settings), wanted, Reporter())
    backends = Backends(service)
    service.changed += [backends.listen, lambda: tell(service)]

    def stop(*_: object) -> None:
        reactor.callFromThread(end)

    def end() -> None:
        began = reactor.seconds()

        def finish(_: object) -> None:
            # First, since nobody may be there to read what we say.
            reactor.callLater(0, reactor.stop)
            timers = [str(call) for call in reactor.getDelayedCalls() if call.func != reactor.stop]
            sockets = [repr(reader) for reader in reactor.getReaders() if "pmmux.nat" in repr(reader)]
            say("stopped", seconds=reactor.seconds() - began, timers=timers, sockets=sockets)

        service.stop().addBoth(finish)

    reactor.callWhenRunning(service.start)
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, stop)
    StandardIO(Orders(service), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main()
