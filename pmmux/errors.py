"""
What can go wrong, told apart by whose fault it is.

Every error has an C{outcome}: the slug used alike in logs, metrics and the route trace.
"""

from __future__ import annotations

from attrs import field, frozen

from pmmux.model import Location


class PmmuxError(Exception):
    """Anything that pmmux reports on purpose."""

    outcome = "error"


@frozen(slots=True)
class Fault:
    """
    One thing wrong with the configuration.

    @ivar expected: what would have been accepted; may be empty.
    @ivar nearest: the closest valid spelling; empty where none is close.
    """

    location: Location
    message: str
    expected: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        text = f"{self.location}: {self.message}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text


@frozen(auto_exc=True, slots=False)
class ConfigurationError(PmmuxError):
    """The configuration's fault: nothing was started. Holds every fault found."""

    faults: tuple[Fault, ...]
    outcome = "configuration-error"

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


@frozen(auto_exc=True, slots=False)
class ListenError(PmmuxError):
    """The system's fault: a listener could not be opened."""

    listener: str
    address: str
    reason: str
    outcome = "listen-failed"

    def __str__(self) -> str:
        return f"listener {self.listener}: cannot listen on {self.address}: {self.reason}"


@frozen(auto_exc=True, slots=False)
class PluginError(PmmuxError):
    """A plugin's fault: missing, duplicate or broken."""

    plugin: str
    reason: str
    outcome = "plugin-error"

    def __str__(self) -> str:
        return f"plugin {self.plugin}: {self.reason}"


@frozen(auto_exc=True, slots=False)
class RouteError(PmmuxError):
    """
    A connection or datagram that was not routed.

    @ivar outcome: one of the C{OUTCOME_*} slugs below.
    @ivar detail: in words, client text escaped.
    """

    outcome: str = field()
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.detail}" if self.detail else self.outcome


@frozen(auto_exc=True, slots=False)
class UpstreamError(PmmuxError):
    """The upstream's fault: it could not be reached, or refused."""

    target: str
    reason: str
    outcome = "connect-failed"

    def __str__(self) -> str:
        return f"{self.target}: {self.reason}"


# The client's side, before a backend was chosen.
OUTCOME_NEGOTIATION_FAILED = "negotiation-failed"
OUTCOME_NO_BACKEND = "no-backend"
OUTCOME_SELECTION_TIMEOUT = "selection-timeout"
OUTCOME_MALFORMED = "malformed"
OUTCOME_CLIENT_GONE = "client-gone"
OUTCOME_LIMIT_REACHED = "limit-reached"
# A datagram from an address or port that nothing is taken from.
OUTCOME_SOURCE_REFUSED = "source-refused"
# The upstream's side.
OUTCOME_CONNECT_FAILED = "connect-failed"
# After routing: how the connection ended.
OUTCOME_CLOSED = "closed"
OUTCOME_RESET_BY_CLIENT = "reset-by-client"
OUTCOME_RESET_BY_UPSTREAM = "reset-by-upstream"
OUTCOME_IDLE_TIMEOUT = "idle-timeout"
OUTCOME_HALF_CLOSED_TIMEOUT = "half-closed-timeout"
OUTCOME_DRAIN_TIMEOUT = "drain-timeout"
OUTCOME_KILLED = "killed"
# A datagram session made room for another: its client had not answered anything yet.
OUTCOME_EVICTED = "evicted"
# Its listener is gone, and with it the address that replies leave from.
OUTCOME_LISTENER_CLOSED = "listener-closed"
# Ours.
OUTCOME_INTERNAL_ERROR = "internal-error"
