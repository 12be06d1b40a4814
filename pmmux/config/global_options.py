"""The options of C{[pmmux]}, which hold for the whole service."""

from __future__ import annotations

from pmmux.config import values
from pmmux.config.draft import PMMUX
from pmmux.config.grammar import BACKEND_FORM, HEALTH_CHECK_FORM, PORT_BINDING_FORM
from pmmux.config.options import Option, SectionSchema
from pmmux.config.steering_options import STEERING_OPTIONS

PORT_BINDINGS = "port-bindings"
BACKENDS = "backends"
HEALTH_CHECKS = "health-checks"

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
MINUTE_SECONDS = 60.0
HOUR_SECONDS = 3600.0
SHORTEST_TIMEOUT_SECONDS = 0.001
LARGEST_COUNT = 10_000_000

_TIMEOUT = "a duration such as 500 (milliseconds), 5s or 2m, above 0"
_LEASE = "a duration such as 3600 (seconds) or 1h"
BOOLEAN_WORDS = "true or false"
_timeout = values.duration_between(SHORTEST_TIMEOUT_SECONDS)
_count = values.integer(1, LARGEST_COUNT)
_COUNT = f"a number from 1 to {LARGEST_COUNT}"


def timeout_option(name: str, default_seconds: float, description: str) -> Option:
    """An option for a time above 0, of which a bare number counts milliseconds."""
    return Option(name, _timeout, _TIMEOUT, default_seconds, description=description)


def _compact_list(name: str, form: str) -> Option:
    description = f"In compact form, one a line: {form}."
    return Option(name, values.text, form, description=description, listed=True)


def _read_mapping_protocol(text: str) -> str:
    # The reference's word, from when there were two.
    name = values.name(text).lower()
    return "all" if name == "both" else name


_ROUTING = (
    Option(
        "routing-strategy",
        values.name,
        "a routing strategy",
        "first-available",
        description="How to choose among the backends that match.",
    ),
    Option(
        "negotiators",
        values.name,
        "names of negotiators",
        ("proxy-protocol", "tls", "socket"),
        description="What processes a connection before it is routed, in this order.",
        listed=True,
    ),
    Option(
        "extensions", values.name, "names of extensions", (), description="Extensions to load.", listed=True
    ),
    timeout_option("selection-timeout", 5.0, "Bound on choosing a backend."),
    timeout_option(
        "detect-timeout", 3.0, "How long a silent client is waited for; then what has arrived decides."
    ),
    timeout_option("negotiation-timeout", 5.0, "Bound on all negotiators together."),
    timeout_option("connect-timeout", 5.0, "Bound on reaching an upstream, for each try."),
    Option(
        "connect-retries",
        values.integer(0, 100),
        "a number from 0 to 100",
        3,
        description="How often another backend is tried when the chosen one cannot be reached.",
    ),
    Option(
        "preview-buffer-limit",
        values.size_between(KIB, MIB),
        "a size from 1KiB to 1MiB",
        32 * KIB,
        description="How much of what a client sends may be looked at.",
    ),
)

_LIMITS = (
    timeout_option("idle-timeout", HOUR_SECONDS, "How long a TCP connection may be silent."),
    timeout_option(
        "half-closed-timeout", MINUTE_SECONDS, "How long a TCP connection may be silent after one side ended."
    ),
    timeout_option("udp-idle-timeout", MINUTE_SECONDS, "How long a UDP session may be silent."),
    Option(
        "drain-timeout",
        values.duration_between(0.0),
        "a duration such as 10s, or 0",
        10.0,
        description="How long connections may go on at shutdown.",
    ),
    Option(
        "queue-length",
        values.integer(1, 65535),
        "a number from 1 to 65535",
        1024,
        description="Listen backlog.",
    ),
    Option(
        "max-connections",
        _count,
        _COUNT,
        description="Connections at a time; absent, and at most: what the descriptor limit allows.",
    ),
    Option(
        "max-connections-per-address",
        _count,
        _COUNT,
        description="Connections at a time from one client address; absent: any number.",
    ),
    Option("max-udp-sessions", _count, _COUNT, 4096, description="UDP sessions at a time on each listener."),
)

_DATA_PATH = (
    Option(
        "splice",
        values.choice("auto", "never"),
        "auto or never",
        "auto",
        description="Whether connections that move much are spliced, which copies nothing.",
    ),
    Option(
        "congestion-control",
        values.name,
        "an algorithm the system has, such as cubic or bbr",
        description="Congestion control of all TCP connections; absent: the system's.",
    ),
    Option(
        "buffer-size",
        values.size_between(4 * KIB, 16 * MIB),
        "a size from 4KiB to 16MiB",
        512 * KIB,
        description="The one buffer that all connections are read into.",
    ),
    Option(
        "defer-accept",
        values.boolean,
        "true or false",
        False,
        description="Whether the system holds connections back until the client has said something; a "
        "backend that could be reached by one that says nothing is a fault then.",
    ),
    Option(
        "tcp-fast-open",
        values.boolean,
        "true or false",
        False,
        description="Whether clients may send their first octets with the first packet (RFC 7413).",
    ),
)

_LOGGING = (
    Option(
        "log-format", values.choice("text", "json"), "text or json", "text", description="Form of the log."
    ),
    Option(
        "verbosity",
        values.choice(
            "trace",
            "debug",
            "information",
            "warning",
            "error",
            "critical",
            also={"info": "information", "warn": "warning"},
        ),
        "trace, debug, information, warning, error or critical",
        "information",
        description="The least important events that are logged.",
    ),
    Option(
        "log-file", values.text, "a path", description="Where the log is written; absent: standard output."
    ),
    Option("log-directory", values.text, "a path", description="Where log files are written and rotated."),
    Option(
        "log-file-max-size",
        values.size_between(KIB, 1024 * GIB),
        "a size such as 10MiB",
        10 * MIB,
        description="Size at which a log file is rotated.",
    ),
    Option(
        "log-file-max-retain",
        values.integer(1, 10_000),
        "a number from 1 to 10000",
        10,
        description="Rotated log files that are kept.",
    ),
    Option(
        "log-metrics",
        values.boolean,
        BOOLEAN_WORDS,
        False,
        description="Whether metrics are written to the log.",
    ),
    timeout_option("metrics-interval", MINUTE_SECONDS, "How often metrics are written."),
)

_PORT_MAPPING = (
    Option(
        "mux-only",
        values.boolean,
        BOOLEAN_WORDS,
        False,
        description="Listen, but ask no gateway for port mappings.",
    ),
    Option(
        "portmap-only",
        values.boolean,
        BOOLEAN_WORDS,
        False,
        description="Keep port mappings, but do not listen.",
    ),
    Option(
        "gateway",
        values.optional(lambda text: str(values.address(text)), "auto"),
        "an IP address, or auto",
        description="The gateway to ask for port mappings; absent: the default route's.",
    ),
    Option(
        "network-interface",
        values.optional(values.name, "all"),
        "an interface, or all",
        description="Where to look for gateways.",
    ),
    Option(
        "port-map-protocol",
        _read_mapping_protocol,
        "all, pcp, pmp or upnp",
        "all",
        description="How to ask for port mappings.",
    ),
    Option(
        "port-map-lifetime",
        values.duration_between(1.0, read=values.duration_in_seconds),
        _LEASE,
        HOUR_SECONDS,
        description="How long a mapping is asked for at a time.",
    ),
    Option(
        "port-map-renewal-lead",
        values.duration_between(0.0, read=values.duration_in_seconds),
        _LEASE,
        description="How long before its end a mapping is renewed; absent: half its life.",
    ),
)

PMMUX_SECTION = SectionSchema(
    PMMUX,
    False,
    (
        *_ROUTING,
        *_LIMITS,
        *_DATA_PATH,
        *_LOGGING,
        *_PORT_MAPPING,
        *STEERING_OPTIONS,
        _compact_list(PORT_BINDINGS, PORT_BINDING_FORM),
        _compact_list(BACKENDS, BACKEND_FORM),
        _compact_list(HEALTH_CHECKS, HEALTH_CHECK_FORM),
    ),
)
