"""What a flow's first octets are, whatever the rules ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from pmmux.datagrams.preview import DatagramInspection, DatagramPreview
from pmmux.inspection import PROTOCOL_PROPERTY, Inspection, ProbeCatalogue
from pmmux.model import NO_PROPERTIES, Client, Properties, Verdict
from pmmux.preview import Preview


@frozen(slots=True)
class Detection:
    """
    @ivar protocol: the first protocol of the catalogue that matches; C{None} where none does.
    @ivar properties: everything that all probes found.
    @ivar octets_needed: how many octets in all it took to know the protocol.
    """

    protocol: str | None
    properties: Mapping[str, str] = NO_PROPERTIES
    octets_needed: int = 0


def detect_stream(octets: bytes, client: Client, catalogue: ProbeCatalogue, limit_octets: int) -> Detection:
    """Ask every probe of connections."""
    preview = Preview(limit_octets)
    if octets:
        preview.feed(octets)
    inspection = Inspection(client, Properties(), preview, catalogue)
    protocol = inspection.value(PROTOCOL_PROPERTY)
    needed = preview.size
    if isinstance(protocol, Verdict):
        needed = protocol.octets_needed
        preview.finish()
        protocol = inspection.value(PROTOCOL_PROPERTY)
    preview.finish()
    for name in catalogue.probes:
        inspection.verdict(name)
    found = protocol if isinstance(protocol, str) else None
    return Detection(found, dict(inspection.properties), needed)


def detect_datagrams(
    datagrams: Sequence[bytes], client: Client, catalogue: ProbeCatalogue, limit_octets: int
) -> Detection:
    """Ask every probe of datagrams about the first, and those that judge several about the others."""
    if not datagrams:
        return Detection(None)
    preview = DatagramPreview(datagrams[0], limit_octets)
    inspection = DatagramInspection(client, Properties(), preview, catalogue)
    for name in catalogue.probes:
        inspection.verdict(name)
    protocol = inspection.value(PROTOCOL_PROPERTY)
    needed = preview.size
    for datagram in datagrams[1:]:
        if not _wants_more(inspection, catalogue):
            break
        preview.feed(datagram)
    preview.finish()
    _wants_more(inspection, catalogue)
    found = protocol if isinstance(protocol, str) else None
    return Detection(found, dict(inspection.properties), needed)


def _wants_more(inspection: DatagramInspection, catalogue: ProbeCatalogue) -> bool:
    several = [name for name, probe in catalogue.probes.items() if getattr(probe, "inspect_several", None)]
    wanting = [name for name in several if inspection.verdict(name).octets_needed]
    return bool(wanting)
