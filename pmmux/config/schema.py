"""What may be configured: the core's own sections, and how extensions add to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from attrs import evolve, field, frozen

from pmmux.config import values
from pmmux.config.draft import BACKEND, HEALTH_CHECK, LISTENER, PMMUX
from pmmux.config.global_options import (
    BACKENDS,
    BOOLEAN_WORDS,
    HEALTH_CHECKS,
    PMMUX_SECTION,
    PORT_BINDINGS,
    timeout_option,
)
from pmmux.config.options import Option, SectionSchema
from pmmux.config.settings import Settings
from pmmux.errors import Fault
from pmmux.model import BackendSpec, SectionValues

# Options of [pmmux] that hold whole sections in compact form.
COMPACT_LISTS: Mapping[str, str] = MappingProxyType(
    {PORT_BINDINGS: LISTENER, BACKENDS: BACKEND, HEALTH_CHECKS: HEALTH_CHECK}
)

# Other spellings, by kind of section.
ALIASES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        PMMUX: MappingProxyType(
            {
                "port-binding": PORT_BINDINGS,
                "backend": BACKENDS,
                "health-check": HEALTH_CHECKS,
                "extension": "extensions",
                "negotiator": "negotiators",
                "log-level": "verbosity",
            }
        ),
        LISTENER: MappingProxyType({"bind-address": "bind"}),
    }
)

# What options of [pmmux] may name, where the registry does not say it.
KNOWN_NAMES: Mapping[str, Collection[str]] = MappingProxyType(
    {"port-map-protocol": ("all", "pcp", "pmp", "upnp")}
)

LISTENER_SECTION = SectionSchema(
    LISTENER,
    True,
    (
        Option(
            "bind",
            values.bind_address,
            "IP addresses, or unix: and a path",
            listed=True,
            description="Addresses to listen on; absent: all, of both families.",
        ),
        Option(
            "port",
            values.listening_port,
            "a port number, or ? to let the system choose",
            description="Port to listen on.",
        ),
        Option(
            "protocol", values.choice("tcp", "udp"), "tcp or udp", "tcp", description="What to listen for."
        ),
        Option(
            "public-port",
            values.public_port,
            "a port number, ? for any, or ! for none",
            description="Port to be mapped here by the gateway; absent: LAN only.",
        ),
        Option(
            "listen",
            values.boolean,
            BOOLEAN_WORDS,
            True,
            description="Whether to listen, or only to keep the port mapping.",
        ),
    ),
)

BACKEND_SECTION = SectionSchema(
    BACKEND,
    True,
    (
        Option(
            "protocol",
            values.name,
            "a backend protocol",
            required=True,
            description="What kind of backend it is.",
        ),
    ),
)

HEALTH_CHECK_SECTION = SectionSchema(
    HEALTH_CHECK,
    True,
    (
        Option(
            "protocol",
            values.name,
            "a backend protocol",
            description="Backends of which protocol to check; absent: of any.",
        ),
        Option(
            "backend",
            values.name,
            "the name of a backend",
            description="The backend to check; absent: all of the protocol.",
        ),
        Option(
            "initial-delay",
            values.duration_between(0.0),
            "a duration such as 500 (milliseconds) or 5s, or 0",
            0.0,
            description="Wait before the first check.",
        ),
        timeout_option("interval", 10.0, "Time from one check to the next."),
        timeout_option("timeout", 5.0, "Bound on one check."),
        Option(
            "failure-threshold",
            values.integer(1, 1000),
            "a number from 1 to 1000",
            3,
            description="Failures in a row that make a backend unhealthy.",
        ),
        Option(
            "recovery-threshold",
            values.integer(1, 1000),
            "a number from 1 to 1000",
            5,
            description="Successes in a row that make it healthy again.",
        ),
    ),
)


def core_sections() -> dict[str, SectionSchema]:
    """The sections of the core, by kind; a new mapping at each call."""
    sections = (PMMUX_SECTION, LISTENER_SECTION, BACKEND_SECTION, HEALTH_CHECK_SECTION)
    return {section.kind: section for section in sections}


@frozen
class Schema:
    """
    All that may be configured.

    @ivar sections: by kind; the core's own and those of extensions.
    @ivar backend_protocols: by the protocol's name, the options that only its backends have.
    @ivar standard_backend_options: the options that every backend has.
    @ivar check_protocols: by the protocol's name, the parameters of its health checks besides the
        standard ones; a protocol that is not here has no health check.
    @ivar known_names: by the name of an option of C{[pmmux]}, what it may name; an option that is
        not here may name anything.
    @ivar validators: by the protocol's name, what checks a backend whose single options are right.
    @ivar validate_backend: checks a backend that is right in itself beside the options of C{[pmmux]}.
    @ivar validate_check: checks a C{health-check} section whose single options are right.
    @ivar validate: checks everything but backends and health checks, where its single options are right.
    """

    sections: Mapping[str, SectionSchema] = field(factory=core_sections)
    backend_protocols: Mapping[str, Sequence[Option]] = field(factory=dict)
    standard_backend_options: Sequence[Option] = ()
    check_protocols: Mapping[str, Sequence[Option]] = field(factory=dict)
    known_names: Mapping[str, Collection[str]] = field(factory=dict)
    validators: Mapping[str, Callable[[BackendSpec], Sequence[Fault]]] = field(factory=dict)
    validate_backend: Callable[[BackendSpec, SectionValues], Sequence[Fault]] = lambda spec, globals_: ()
    validate_check: Callable[[SectionValues], Sequence[Fault]] = lambda section: ()
    validate: Callable[[Settings], Sequence[Fault]] = lambda settings: ()

    def options(self, kind: str) -> Sequence[Option]:
        """The options of sections of C{kind}; none for an unknown one."""
        section = self.sections.get(kind)
        return () if section is None else section.options

    def names_for(self, option: str) -> Collection[str] | None:
        """What C{option} of C{[pmmux]} may name; C{None} for anything."""
        return self.known_names.get(option, KNOWN_NAMES.get(option))

    def with_options(self, kind: str, *options: Option) -> Schema:
        """This, with C{options} added to the sections of C{kind}; of equal names the later wins."""
        section = self.sections[kind]
        merged = {option.name: option for option in (*section.options, *options)}
        return self.with_section(evolve(section, options=tuple(merged.values())))

    def with_section(self, section: SectionSchema) -> Schema:
        """This, with C{section} added, or in place of that of its kind."""
        return evolve(self, sections={**self.sections, section.kind: section})


def canonical_name(kind: str, option: str) -> str:
    """C{option} of a section of C{kind} in its first spelling."""
    return ALIASES.get(kind, {}).get(option, option)
