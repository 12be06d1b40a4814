"""
The contracts between the floors, and the doors for extensions.

Everything here is looked up in the component registry by its interface and, where there are
several, by name. Unless a method says otherwise it is called in the reactor's thread, must not
block, and may be called any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from zope.interface import Attribute, Interface

from pmmux.errors import Fault
from pmmux.model import Status, Verdict


class IProbe(Interface):
    """
    Recognises one protocol from the first octets a client sends.

    A probe is a pure function without state. It runs at most once per connection per new chunk,
    however many backends ask.
    """

    name = Attribute("The name that C{detect} uses, unique per transport: C{'ssh'}.")
    transport = Attribute("C{'tcp'} or C{'udp'}.")
    provides = Attribute(
        "A tuple of property names, or prefixes ending in a dot, that it may find: C{('ssh.',)}."
    )

    def inspect(octets: bytes) -> Verdict:
        """
        Judge C{octets}: for TCP all that has arrived so far, possibly none, for UDP one datagram.

        Must give the same answer for any way the octets were split on arrival, must refuse at the
        first octet that cannot match, and must never raise, whatever the octets are. A prefix may
        leave undecided what the whole decides, and never says otherwise.

        @return: L{pmmux.model.Verdict}
        """

    # A probe of datagrams may also have C{inspect_several(datagrams)}: see L{pmmux.probes.probe.Probe}.


class ICondition(Interface):
    """What has to be true of a connection for a backend to take it; compiled once."""

    def evaluate(inspection: Any) -> Any:
        """
        @param inspection: the L{pmmux.inspection.Inspection} of this connection or datagram.
        @return: L{pmmux.model.Verdict}; undecided as long as octets that may come could change it.
        """

    def describe() -> str:
        """@return: the condition as text, as it would be written in the configuration."""


class INegotiator(Interface):
    """
    Processes what comes before the routed octets: PROXY headers, TLS.

    Negotiators run in the configured order, each once per connection.
    """

    name = Attribute("Its name in the configuration and in the trace.")

    # Where a negotiator also has C{annotate(properties, client, listener)}, that is all it does: it
    # neither waits nor consumes nor rejects, and it is called in place of L{negotiate} where every
    # other one of the chain is like it.
    #
    # Where it has C{for_listener(listener, settings, services)}, that is called once for each listener,
    # with its L{ListenerSpec}, the L{Settings} and the L{Services}: it returns the negotiator that runs
    # there, or C{None} where that listener does not need it and is not to pay for it.
    #
    # Where it has C{validate(settings)}, that is called when the configuration is loaded, and returns a
    # sequence of L{Fault}.

    def negotiate(connection: Any, proceed: Any) -> Any:
        """
        Act on C{connection} and let the rest of the chain run.

        A coroutine function. To pass on or accept: C{return await proceed(connection)}, with the
        same connection or with one whose stream was replaced; properties are added to
        C{connection.properties}. To reject: raise L{pmmux.errors.RouteError} with
        C{OUTCOME_NEGOTIATION_FAILED} and the reason. What may be awaited is
        C{connection.preview.changed()} and the like; one absolute deadline covers the whole chain,
        and when it passes the coroutine is cancelled at its C{await}.

        @param connection: L{pmmux.connection.Connection}
        @return: the connection to be routed.
        """


class IBackend(Interface):
    """
    A place that traffic can go to.

    Provides besides one of L{IConnectionBackend}, L{IProtocolBackend}, L{IDatagramBackend}.
    """

    name = Attribute("Unique among the backends.")
    spec = Attribute("The L{pmmux.model.BackendSpec} it was made from.")
    tier = Attribute("Its L{pmmux.model.PriorityTier}.")
    weight = Attribute("Its share against others of its tier: an integer from 1 to 1000.")
    condition = Attribute("The L{ICondition} under which it takes a connection or datagram.")

    def start() -> Any:
        """Called once before it is offered. @return: a Deferred, or C{None}."""

    def stop() -> Any:
        """Called once after its last connection ended. @return: a Deferred, or C{None}."""


class IConnectionBackend(IBackend):
    """A TCP backend whose traffic is relayed to an upstream."""

    target = Attribute("The upstream in text, for logs and traces.")

    def connect(connection: Any) -> Any:
        """
        Reach the upstream for C{connection}; a coroutine function. The router relays then.

        @param connection: L{pmmux.connection.Connection}, whose client is kept waiting meanwhile.
        @return: the upstream's stream, from L{IDataPath.connect}.
        @raises pmmux.errors.UpstreamError: it could not be reached, and no octet was sent: another
            backend may be tried.
        """


class IProtocolBackend(IBackend):
    """A TCP backend that answers the client itself, with a Twisted Protocol."""

    def build_protocol(connection: Any) -> Any:
        """
        @return: an L{twisted.internet.interfaces.IProtocol} that will be connected to the
            client's stream and be given the preview first.
        """


class IDatagramBackend(IBackend):
    """A UDP backend."""

    def open_session(client: Any, peer: Any, address: Any = None) -> Any:
        """
        Open a session for one client; a coroutine function.

        @param client: L{pmmux.model.Client}
        @param peer: whom the upstream's datagrams are for: C{peer.reply(octets)} with each of them,
            C{peer.failed(error)} with the L{OSError} where the upstream is not there; then the
            session is closed, and the next datagram opens another.
        @param address: the L{pmmux.model.Address} that a session of the same client went to before its
            own address changed; C{None} for a new one.
        @return: an L{IDatagramSession}.
        @raises pmmux.errors.UpstreamError: it could not be opened.
        """


class IDatagramSession(Interface):
    """The way of one client's datagrams to an upstream."""

    address = Attribute("The upstream's L{pmmux.model.Address}, or C{None} where there is none.")

    def send(octets: Any) -> None:
        """
        Send one datagram upstream.

        @param octets: a buffer whose content is valid during the call only.
        @raises OSError: it was not sent.
        """

    def close() -> None:
        """Release what it holds; idempotent."""


class IBackendProtocol(Interface):
    """Makes backends of one protocol; the name in C{protocol = …}."""

    name = Attribute("Its name in the configuration: C{'pass'}.")
    transports = Attribute("A tuple of C{'tcp'} and/or C{'udp'}.")
    options = Attribute(
        "A sequence of L{pmmux.config.options.Option}: those of its own, besides the standard ones."
    )
    # Where its backends are L{IHealthCheckable}, it has C{default_check} as they have.

    def validate(spec: Any) -> Sequence[Fault]:
        """
        Check what single options cannot tell (two that exclude each other, say).

        @param spec: L{pmmux.model.BackendSpec}
        @return: a sequence of L{pmmux.errors.Fault}; empty where it is right.
        """

    def create(spec: Any, condition: Any, services: Any) -> Any:
        """
        @param spec: a L{pmmux.model.BackendSpec} without faults.
        @param condition: the compiled standard L{ICondition} of C{spec}.
        @param services: the L{pmmux.registry.Services} (reactor, data path, resolver, registry).
        @return: an L{IBackend}, not yet started.
        """


class IHealthCheckable(Interface):
    """A backend whose upstream can be asked whether it works; for backends of any kind."""

    health_target = Attribute(
        "What a check is given: the L{pmmux.config.values.Target} of the upstream, or whatever the "
        "backend's own kind of check needs."
    )
    default_check = Attribute(
        "The name of the L{pmmux.checks.interfaces.IHealthCheck} where C{type} is not set: C{'connect'}."
    )


class IRoutingStrategy(Interface):
    """One way to choose among the backends that match."""

    name = Attribute("Its name in the configuration: C{'first-available'}.")

    def choose(client: Any, properties: Any, candidates: Any) -> Any:
        """
        Choose one backend; a coroutine function.

        @param client: L{pmmux.model.Client}
        @param properties: a read-only mapping of the connection properties found so far.
        @param candidates: an asynchronous iterator of L{pmmux.members.Member}, in definition
            order, each matching and offered. Asking for the next one waits only while that
            backend's own verdict needs octets that may still come. Stop asking any time.
        @return: one of the candidates, or C{None}.
        """


class IRouter(Interface):
    """Routes connections and datagrams, and owns the backends' lifecycle."""

    def select(inspection: Any, trace: Any, exclude: Set[str] = frozenset()) -> Any:
        """
        Choose a backend without connecting; a coroutine function.

        @param inspection: L{pmmux.inspection.Inspection}
        @param trace: the L{pmmux.model.RouteTrace} to record into.
        @param exclude: names of backends not to offer.
        @return: L{pmmux.members.Member}
        @raises pmmux.errors.RouteError: none was chosen, and why.
        """

    def select_now(inspection: Any, refused: Any) -> Any:
        """As L{select} where that need not wait, else C{None}; C{refused} takes those that do not match."""

    def asks_names_first() -> bool:
        """Whether L{select_named} may find something."""

    def select_named(server_name: str, refused: Any) -> Any:
        """As L{select_now}, by nothing but the name in a TLS hello."""

    def must_hear_first(probes: Any) -> bool:
        """Whether all depends on what the client says; C{probes} are the names of those for connections."""

    def opened(member: Any) -> None:
        """Traffic was routed to C{member}."""

    def closed(member: Any) -> None:
        """What was L{opened} has ended."""

    def add(backend: Any, before: Any = None) -> Any:
        """Start C{backend} and offer it after the others, or before one of them. @return: Deferred."""

    def replace(backend: Any) -> Any:
        """Put C{backend} in the place of the one of its name; that one drains. @return: Deferred."""

    def remove(name: str) -> Any:
        """Offer it no more, let its connections end, stop it. @return: Deferred."""

    def backends() -> Any:
        """@return: a tuple of L{pmmux.model.BackendInfo} in definition order."""


class IHealthMonitor(Interface):
    """Runs health checks, counts what clients' connections come to, and keeps each member's status."""

    is_observing = Attribute("Whether the four methods that take a member are of any use.")
    left_out = Attribute("Set by the service: to be called with each member that becomes unhealthy.")
    gets_connections = Attribute("Set by the service: whether a member may get more than datagrams.")

    def start() -> None:
        """Check from now on."""

    def stop() -> Any:
        """A coroutine function that returns when nothing of the monitor is left."""

    def status(name: str) -> Status:
        """@return: L{pmmux.model.Status} of the backend C{name}."""

    def sections() -> Any:
        """@return: the C{health-check} sections in force, as L{pmmux.model.SectionValues}."""

    def use(sections: Any) -> None:
        """Check by C{sections} from now on, and by no others; what is the same goes on."""

    def look_again() -> None:
        """Listeners have changed, and with them what C{gets_connections} answers."""

    def add_check(section: Any) -> None:
        """Check by C{section} too; in the place of the one of its name."""

    def remove_check(name: str) -> None:
        """Check by the section C{name} no more. @raises KeyError: there is none."""

    def connect_failed(member: Any) -> None:
        """A client's connection to C{member} could not be made."""

    def connected(member: Any) -> None:
        """A client's connection to C{member} was made."""

    def early_reset(member: Any) -> None:
        """C{member} reset a client's connection before it had sent an octet."""

    def answered(member: Any) -> None:
        """C{member} sent an octet of a client's connection, or ended one in order."""


class IListener(Interface):
    """One listener: a port, or a unix socket, on any number of addresses."""

    spec = Attribute("The L{pmmux.config.settings.ListenerSpec} it was made from.")

    def addresses() -> Any:
        """@return: a tuple of L{pmmux.model.Address} it really listens on."""

    def start() -> Any:
        """Accept from now on; its sockets are open already."""

    def stop() -> Any:
        """Accept no more and close the listening sockets. @return: Deferred."""


class IMultiplexer(Interface):
    """Owns the listeners."""

    def add_listener(spec: Any) -> None:
        """
        Open and start one more listener.

        @raises pmmux.errors.ListenError: and nothing of it stays open.
        """

    def remove_listener(name: str) -> Any:
        """Stop the listener C{name}; its connections live on. @return: Deferred."""

    def listeners() -> Any:
        """@return: a tuple of L{IListener}."""


class INATDriver(Interface):
    """
    One protocol to ask gateways for port mappings; one object for the whole process.
    """

    name = Attribute("Its name in C{protocol = …} of C{[nat]} and in reports: C{'pcp'}.")
    families = Attribute("A tuple of C{4} and/or C{6}: the versions of IP it is for.")

    def open(context: Any) -> Any:
        """
        Called each time a gateway was found, before any request.

        @param context: L{pmmux.nat.mapping.DriverContext}
        @return: a L{pmmux.nat.interfaces.INATClient}.
        @raises pmmux.nat.mapping.NATUnavailable: it cannot work on this machine, and why.
        """


class IMetricSink(Interface):
    """Takes metrics and events somewhere: a log, an exporter."""

    def event(name: str, fields: Mapping[str, str]) -> None:
        """Something happened: C{'backend.added'}, with a mapping of text to text."""

    def start(reporter: Any) -> Any:
        """Called once with the L{pmmux.metrics.reporter.MetricReporter} to read from."""

    def stop() -> Any:
        """Called once at shutdown; may report a last time. @return: C{None}, or a Deferred, waited for."""


class IExtension(Interface):
    """
    A third party's door: a plugin that changes the service before it is composed.
    """

    name = Attribute("Its name in C{extensions = …}.")

    def register(registry: Any) -> None:
        """
        Register, replace or wrap components; add options and sections.

        @param registry: L{pmmux.registry.Registry}
        """
