"""From flows and a configuration to explanations: all flows rehearsed beside one another, in their time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve

from pmmux.config.settings import ListenerSpec
from pmmux.datagrams.preview import DatagramPreview
from pmmux.errors import PmmuxError
from pmmux.explain.detection import Detection, detect_datagrams, detect_stream
from pmmux.explain.explanation import INCOMPLETE, NO_LISTENER, Explanation
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.judgement import NO_MATCH_WORD, UNDECIDED_WORD, Judgement
from pmmux.explain.rehearsal import ROUTED, ConnectionRehearsal, DatagramRehearsal, Rehearsal
from pmmux.explain.stage import Stage
from pmmux.explain.sufficing import DatagramMeasure, StreamMeasure
from pmmux.model import Address, Client

BY_OCTETS = "octets"
BY_TIMEOUT = "detect-timeout"
BY_END = "end"
BY_LIMIT = "limit"
PROMPTED = "the server spoke first; what its client then said is taken for an answer, and left out"

TLS = "tls"
TERMINATED = "the listener may terminate TLS, and then goes by what is within, which nobody sees here"


class UnknownListenerError(PmmuxError):
    """The listener that was named is not there."""

    outcome = "unknown-listener"


@define(slots=True, eq=False)
class _Part:
    """One flow's part in the play."""

    flow: Flow
    events: Sequence[Event]
    detection: Detection
    client: Client
    listener: ListenerSpec | None
    rehearsal: Rehearsal | None
    is_prompted: bool


def explain(stage: Stage, flows: Sequence[Flow], listener: str | None = None) -> list[Explanation]:
    """
    Route C{flows} as the service would, each at its own time.

    @param listener: the name of the listener that all are taken to have come in by; where it is
        C{None}, the first one of each flow's transport.
    @raises UnknownListenerError: there is none of that name.
    """
    if listener is not None and all(spec.name != listener for spec in stage.settings.listeners):
        names = ", ".join(spec.name for spec in stage.settings.listeners)
        raise UnknownListenerError(f"there is no listener {listener!r}; there are {names}")
    parts = [_cast(stage, flow, listener) for flow in flows]
    _play(stage, parts)
    return [_conclude(stage, part) for part in parts]


def _cast(stage: Stage, flow: Flow, listener: str | None) -> _Part:
    spec = stage.listener(flow.transport, listener)
    client = Client(flow.transport, flow.client, _local_address(flow.server, spec))
    detection = _detect(stage, flow, client)
    events: Sequence[Event] = flow.events
    # Every protocol that is detected is one whose client speaks first.
    is_prompted = flow.prompted_from is not None and detection.protocol is None
    if is_prompted:
        events = flow.events[: flow.prompted_from]
    rehearsal: Rehearsal | None = None
    if spec is not None:
        kind = ConnectionRehearsal if flow.transport == "tcp" else DatagramRehearsal
        rehearsal = kind(stage, flow, client, spec)
    return _Part(flow, events, detection, client, spec, rehearsal, is_prompted)


def _local_address(server: Address, spec: ListenerSpec | None) -> Address:
    if spec is None:
        return server
    if spec.port is not None:
        server = evolve(server, port=spec.port)
    if spec.binds and server.host not in spec.binds:
        family = [bind for bind in spec.binds if (":" in bind) == (server.family == "ipv6")]
        if family and family[0] not in ("0.0.0.0", "::"):
            server = evolve(server, host=family[0])
    return server


def _detect(stage: Stage, flow: Flow, client: Client) -> Detection:
    catalogue = stage.catalogues[flow.transport]
    limit_octets = stage.bounds.preview_octets
    if flow.transport == "tcp":
        return detect_stream(flow.octets(), client, catalogue, limit_octets)
    datagrams = [event.octets for event in flow.events]
    return detect_datagrams(datagrams, client, catalogue, limit_octets)


def _play(stage: Stage, parts: Sequence[_Part]) -> None:
    start = min((part.flow.opened_at for part in parts), default=0.0)
    script: list[tuple[float, int, Rehearsal, Event | None]] = []
    for part in parts:
        if part.rehearsal is not None:
            script.append((part.flow.opened_at, len(script), part.rehearsal, None))
            for said in part.events:
                script.append((said.time, len(script), part.rehearsal, said))
    script.sort(key=lambda line: line[:2])
    begun_at = stage.clock.seconds()
    for time, _, rehearsal, event in script:
        stage.turn_to(begun_at + time - start)
        if event is None:
            rehearsal.begin()
            continue
        rehearsal.hear(event)
        if event.kind is not Kind.OCTETS:
            rehearsal.close()
    rehearsals = [part.rehearsal for part in parts if part.rehearsal is not None]
    for rehearsal in rehearsals:
        rehearsal.stop_waiting()
    bounds = stage.bounds
    rest_seconds = bounds.negotiation_seconds + bounds.detect_seconds + bounds.selection_seconds + 1
    stage.turn_to(stage.clock.seconds() + rest_seconds)


def _conclude(stage: Stage, part: _Part) -> Explanation:
    flow, detection, rehearsal = part.flow, part.detection, part.rehearsal
    explanation = Explanation(
        number=flow.number,
        transport=flow.transport,
        client=str(flow.client),
        server=str(flow.server),
        listener=None,
        detected=detection.protocol,
        properties=detection.properties,
        backend=None,
        outcome=NO_LISTENER,
        detail=f"there is no listener for {flow.transport}",
        octets_needed=detection.octets_needed,
        decided_by=BY_OCTETS,
        waited_seconds=0.0,
        missing_octets=flow.missing_octets,
    )
    if rehearsal is None or part.listener is None:
        return explanation
    trace = rehearsal.trace
    candidates = _candidates(stage, rehearsal)
    needed = max((each.octets_needed for each in candidates), default=0)
    decided_by = _decided_by(rehearsal)
    outcome = trace.outcome
    if flow.missing_octets and (decided_by in (BY_TIMEOUT, BY_END) or (flow.transport == "udp" and needed)):
        # The service was told what the capture lacks.
        outcome = INCOMPLETE
    return evolve(
        explanation,
        listener=part.listener.name,
        properties={**detection.properties, **rehearsal.properties},
        backend=trace.chosen if outcome == ROUTED else None,
        outcome=outcome,
        detail=_detail(trace.detail, part, stage),
        octets_needed=rehearsal.consumed_octets + needed,
        decided_by=decided_by,
        waited_seconds=rehearsal.decided_at or 0.0,
        candidates=candidates,
    )


def _detail(detail: str, part: _Part, stage: Stage) -> str:
    notes = [detail, PROMPTED if part.is_prompted else ""]
    if part.detection.protocol == TLS and part.listener is not None and stage.terminates_tls(part.listener):
        notes.append(TERMINATED)
    if part.flow.missing_octets:
        notes.append(f"the capture lacks {part.flow.missing_octets} octets of the client's")
    return "; ".join(note for note in notes if note)


def _decided_by(rehearsal: Rehearsal) -> str:
    if rehearsal.by_timeout:
        return BY_TIMEOUT
    preview = rehearsal.preview
    if preview is None or isinstance(preview, DatagramPreview) or not preview.final:
        return BY_OCTETS
    return BY_END if preview.ended else BY_LIMIT


def _candidates(stage: Stage, rehearsal: Rehearsal) -> tuple[Judgement, ...]:
    """What was asked, and what the index passed over because its name is another."""
    inspection = rehearsal.inspection
    if inspection is None:
        return ()
    measure = _measure(stage, rehearsal)
    notes = stage.notes.of(rehearsal.preview)
    members = stage.router.members()
    last = max((position for position, member in enumerate(members) if member.name in notes), default=-1)
    hidden = stage.not_for_datagrams if rehearsal.client.transport == "udp" else frozenset()
    found = []
    for member in members[: last + 1]:
        if member.name in hidden:
            continue
        if member.name not in notes:
            member.condition.evaluate(inspection)
        judgement = notes[member.name]
        if judgement.verdict == UNDECIDED_WORD and rehearsal.is_decided:
            # A fault ended it before this one was asked again.
            judgement = evolve(judgement, verdict=NO_MATCH_WORD)
        needed = measure.octets_needed(member.backend.plain_condition)
        found.append(evolve(judgement, octets_needed=needed))
    stage.notes.forget(rehearsal.preview)
    return tuple(found)


def _measure(stage: Stage, rehearsal: Rehearsal) -> Any:
    catalogue = stage.catalogues[rehearsal.client.transport]
    preview = rehearsal.preview
    if isinstance(preview, DatagramPreview):
        limit_octets = stage.bounds.preview_octets
        return DatagramMeasure(preview.datagrams, rehearsal.client, rehearsal.given, catalogue, limit_octets)
    return StreamMeasure(preview.octets, rehearsal.client, rehearsal.given, catalogue)
