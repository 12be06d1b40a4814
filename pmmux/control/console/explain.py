"""C{pmmuxctl explain}: why a connection or datagram would go where it goes, without a running pmmux."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence

from pmmux.config.settings import Settings
from pmmux.config.values import address as read_address
from pmmux.config.values import port as read_port
from pmmux.control import exits
from pmmux.control.commands import routes
from pmmux.control.console.command import (
    ConsoleCommand,
    add_config_argument,
    add_json_argument,
    complain,
    load_config,
)
from pmmux.control.console.online import add_connection_arguments, ask
from pmmux.control.tables import cell, table
from pmmux.explain.capture import EXTRA, CaptureError, read_capture
from pmmux.explain.explaining import UnknownListenerError, explain
from pmmux.explain.explanation import Explanation
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.flows import flows_of
from pmmux.explain.openings import client_hello, from_hexadecimal, http_request
from pmmux.explain.stage import Stage
from pmmux.model import Address

STANDARD_INPUT = "-"
# A client of whom nothing is said comes from the documentation's networks (RFC 5737, RFC 3849).
DEFAULT_CLIENT_PORT = 49152
DEFAULT_SERVER_PORT = 443
_SERVERS = {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}
REASON_LIMIT_CHARACTERS = 100

_SUMMARY_COLUMNS = (
    ("flow", "FLOW"),
    ("proto", "PROTO"),
    ("client", "CLIENT"),
    ("server", "SERVER"),
    ("detected", "DETECTED"),
    ("backend", "BACKEND"),
    ("outcome", "OUTCOME"),
    ("octets_needed", "OCTETS"),
    ("why", "WHY"),
)
_CANDIDATE_COLUMNS = (
    ("backend", "BACKEND"),
    ("verdict", "VERDICT"),
    ("octets_needed", "OCTETS"),
    ("reason", "WHY"),
)


(_SHOW_ROUTE,) = (command for command in routes.commands if command.name == "trace.show")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the client says, who it is, and how to answer."""
    add_config_argument(parser)
    add_json_argument(parser)
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--hex", metavar="OCTETS", help="the client's first octets, in hexadecimal")
    said.add_argument("--file", metavar="FILE", help="a file with the client's first octets; - to read them")
    said.add_argument("--sni", metavar="NAME", help="a TLS ClientHello with this server name")
    said.add_argument("--http", metavar="REQUEST", help="an HTTP request: 'GET /x', or just the path")
    said.add_argument("--silent", action="store_true", help="a client that says nothing")
    said.add_argument(
        "--id", type=int, metavar="NUMBER", help="a connection of a running pmmux, open or one of the last"
    )
    said.add_argument(
        "--pcap",
        metavar="FILE",
        help=f"every flow of a pcap or pcapng capture (extra: {EXTRA}); - to read it",
    )
    add_connection_arguments(parser)
    parser.add_argument(
        "--alpn", metavar="PROTOCOLS", help="with --sni: application protocols offered, with commas"
    )
    parser.add_argument("--host", metavar="NAME", help="with --http: the host of the request")
    parser.add_argument(
        "--header", metavar="LINE", action="append", default=[], help="with --http: 'Name: value'; repeatable"
    )
    parser.add_argument(
        "--from", metavar="ADDRESS[:PORT]", dest="client", help="who the client is; not with --pcap"
    )
    parser.add_argument(
        "--listener", metavar="NAME", help="where it comes in; absent: the first listener of its protocol"
    )
    parser.add_argument(
        "--proto", choices=("tcp", "udp"), help="of --hex and --file; absent: as the listener, else tcp"
    )


def run(arguments: argparse.Namespace) -> int:
    """Explain, and print."""
    fault = _fault(arguments)
    if fault:
        complain(fault, "explain")
        return exits.USAGE
    if arguments.id is not None:
        # What was recorded as it was decided: nothing is played again.
        return ask(_SHOW_ROUTE, {"id": arguments.id}, arguments)
    settings, registry = load_config(arguments.config)
    stage = Stage(settings, registry)
    try:
        flows = _flows(arguments, settings, stage)
        explanations = explain(stage, flows, arguments.listener)
    except CaptureError as error:
        complain(error, "explain")
        return exits.MISSING if error.is_missing_extra else exits.USAGE
    except (UnknownListenerError, ValueError) as error:
        complain(error, "explain")
        return exits.USAGE
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}", "explain")
        return exits.USAGE
    if arguments.json:
        for explanation in explanations:
            print(json.dumps(explanation.as_json()))
    elif arguments.pcap is not None:
        _print_summary(explanations)
    else:
        _print_whole(explanations[0])
    return exits.OK


def _fault(arguments: argparse.Namespace) -> str:
    """What does not go together; empty where everything does."""
    if arguments.alpn is not None and arguments.sni is None:
        return "--alpn goes with --sni"
    if (arguments.host is not None or arguments.header) and arguments.http is None:
        return "--host and --header go with --http"
    if arguments.client is not None and arguments.pcap is not None:
        return "--from does not go with --pcap: a capture says who its clients are"
    if arguments.proto == "udp" and (
        arguments.sni is not None or arguments.http is not None or arguments.silent
    ):
        return "--proto udp goes with --hex and --file"
    return ""


def _flows(arguments: argparse.Namespace, settings: Settings, stage: Stage) -> Sequence[Flow]:
    if arguments.pcap is not None:
        listening = {spec.port for spec in settings.listeners if spec.port is not None}
        return _captured(arguments.pcap, stage.bounds.preview_octets, listening)
    transport = arguments.proto or _transport(arguments, settings)
    client = _read_client(arguments.client)
    server = Address(_SERVERS[client.family], _port(settings, transport), client.family)
    flow = Flow(1, transport, client, server, 0.0)
    octets = _octets(arguments)
    if octets or transport == "udp":
        flow.events.append(Event(0.0, Kind.OCTETS, octets))
    return [flow]


def _captured(path: str, kept_octets: int, listening: Collection[int]) -> list[Flow]:
    if path == STANDARD_INPUT:
        packets = read_capture("standard input", sys.stdin.buffer)
    else:
        packets = read_capture(path)
    return flows_of(packets, kept_octets, listening)


def _transport(arguments: argparse.Namespace, settings: Settings) -> str:
    named = [spec.transport for spec in settings.listeners if spec.name == arguments.listener]
    takes_datagrams = arguments.hex is not None or arguments.file is not None
    return named[0] if named and takes_datagrams else "tcp"


def _port(settings: Settings, transport: str) -> int:
    ports = [spec.port for spec in settings.listeners if spec.transport == transport and spec.port]
    return ports[0] if ports else DEFAULT_SERVER_PORT


def _octets(arguments: argparse.Namespace) -> bytes:
    if arguments.hex is not None:
        return from_hexadecimal(arguments.hex)
    if arguments.file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    if arguments.file is not None:
        with open(arguments.file, "rb") as file:
            return file.read()
    if arguments.sni is not None:
        protocols = [each.strip() for each in (arguments.alpn or "").split(",") if each.strip()]
        return client_hello(arguments.sni, protocols)
    if arguments.http is not None:
        return http_request(arguments.http, arguments.host, arguments.header)
    return b""


def _read_client(text: str | None) -> Address:
    """
    C{ADDRESS}, C{ADDRESS:PORT} or C{[ADDRESS]:PORT}.

    @raises ValueError: it is none of these.
    """
    if text is None:
        return Address("192.0.2.1", DEFAULT_CLIENT_PORT)
    host, number = text, str(DEFAULT_CLIENT_PORT)
    before, colon, after = text.rpartition(":")
    if colon and (before.endswith("]") or ":" not in before):
        host, number = before, after
    try:
        found, number_read = read_address(host), read_port(number)
    except ValueError as error:
        raise ValueError(f"--from {text}: {error}") from None
    return Address(str(found), number_read, f"ipv{found.version}")


def _print_summary(explanations: Sequence[Explanation]) -> None:
    rows = [
        {**explanation.as_json(), "why": _why(explanation)[:REASON_LIMIT_CHARACTERS]}
        for explanation in explanations
    ]
    for line in table(rows, _SUMMARY_COLUMNS, "the capture holds neither TCP nor UDP"):
        print(line)


def _why(explanation: Explanation) -> str:
    """The condition that the chosen backend was chosen by; what went wrong where there is none."""
    if explanation.backend is None:
        return explanation.detail
    chosen = [each.reason for each in explanation.candidates if each.backend == explanation.backend]
    late = f"{explanation.decided_by}: " if explanation.decided_by != "octets" else ""
    return late + (chosen[0] if chosen else "")


def _print_whole(explanation: Explanation) -> None:
    listener = cell(explanation.listener)
    print(f"{explanation.client} -> {explanation.transport} listener {listener}", end=": ")
    print(f"to {cell(explanation.backend)}" if explanation.backend else explanation.outcome)
    facts = {
        "detected": explanation.detected,
        "decided by": f"{explanation.decided_by}, after {explanation.waited_seconds:g} s",
        "octets needed": explanation.octets_needed,
        "detail": explanation.detail,
    }
    for name, value in facts.items():
        if value not in (None, ""):
            print(f"  {name.ljust(13)}  {cell(value, 1000)}")
    for name, value in sorted(explanation.properties.items()):
        print(f"  {'property'.ljust(13)}  {cell(name)} = {cell(value)}")
    if explanation.candidates:
        print()
        rows = [
            {
                "backend": each.backend,
                "verdict": each.verdict,
                "octets_needed": each.octets_needed,
                "reason": each.reason[:REASON_LIMIT_CHARACTERS],
            }
            for each in explanation.candidates
        ]
        for line in table(rows, _CANDIDATE_COLUMNS, ""):
            print(line)


command = ConsoleCommand("explain", "Tell which backend would be chosen, and why.", run, add_arguments)
