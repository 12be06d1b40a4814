"""The sinks that the configuration asks for; each of their packages is imported only where it is."""

from __future__ import annotations

from typing import Any

from pmmux.errors import ListenError
from pmmux.metrics.log_sink import LogSink
from pmmux.model import SectionValues

PROMETHEUS_EXTRA = "prometheus"
OTLP_EXTRA = "otlp"


def make_sinks(reactor: Any, globals_: SectionValues) -> tuple[list[Any], list[ListenError]]:
    """
    Make the sinks, and open what they listen on.

    @param globals_: C{[pmmux]}.
    @return: the sinks, to be added to the reporter; and every fault: what is missing, and why.
    """
    option = globals_.get
    sinks: list[Any] = []
    faults: list[ListenError] = []
    if option("log-metrics"):
        sinks.append(LogSink(reactor, option("metrics-interval")))
    place = option("metrics-listen")
    if place is not None:
        try:
            sinks.append(_open_prometheus(reactor, place))
        except ListenError as error:
            faults.append(error)
    url = option("otlp-endpoint")
    if url is not None:
        try:
            sinks.append(_make_otlp(reactor, url, globals_))
        except ListenError as error:
            faults.append(error)
    return sinks, faults


def _open_prometheus(reactor: Any, place: Any) -> Any:
    try:
        from pmmux.metrics.prometheus import PrometheusSink
    except ImportError as error:
        raise ListenError("metrics", str(place), _missing(PROMETHEUS_EXTRA, error)) from None
    sink = PrometheusSink(reactor)
    sink.open(place)
    return sink


def _make_otlp(reactor: Any, url: str, globals_: SectionValues) -> Any:
    try:
        from pmmux.metrics.otlp import OTLPSink, make_agent
    except ImportError as error:
        raise ListenError("metrics", url, _missing(OTLP_EXTRA, error)) from None
    interval_seconds = globals_.get("metrics-interval")
    return OTLPSink(reactor, make_agent(reactor), url, interval_seconds, globals_.get("otlp-authorization"))


def _missing(extra: str, error: ImportError) -> str:
    return f"{error.name or error} is not installed: pip install 'pmmux[{extra}]'"
